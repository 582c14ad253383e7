"""``python -m kop_core split``."""

from __future__ import annotations

import argparse
import csv

import pytest

from kop_core.commands import split as command
from kop_core.errors import DataSetError


@pytest.fixture
def data(small_data):
    """Twelve pictures a class, of six radiographs; one radiograph under two classes."""
    files = sorted(p.relative_to(small_data).as_posix() for p in small_data.rglob("*.png"))
    with (small_data / "radiographs.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(("file", "radiograph"))
        rows.writerows((file, f"R{max(place - 1, 0) // 2}") for place, file in enumerate(files))
    return small_data


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers())
    options = parser.parse_args(["split", *map(str, arguments)])
    return options.run(options)


def table(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_by_radiograph_is_the_default(data, tmp_path, capsys):
    out = tmp_path / "split.csv"
    assert run(data, "--seed", 1, "--out", out) == 0
    rows = table(out)
    assert list(rows[0]) == ["file", "part", "true", "radiograph", "sha256", "patient"]
    assert len(rows) == 36 and {r["part"] for r in rows} == {"training", "test"}
    part = {}
    for row in rows:
        assert part.setdefault(row["radiograph"], row["part"]) == row["part"]
    said = capsys.readouterr().out
    assert "By radiograph: 36 files, seed 1." in said
    assert "same radiograph in training: 0 of" in said and "(0 %)" in said
    assert "same patient in training: not known" in said
    assert "filed under more than one class: 2, treated like the others" in said


def test_random_says_what_leaks(data, tmp_path, capsys):
    out = tmp_path / "s.csv"
    assert run(data, "--by", "random", "--seed", 1, "--test-share", 0.4, "--out", out) == 0
    said = capsys.readouterr().out
    tested = [r for r in table(out) if r["part"] == "test"]
    trained = {r["radiograph"] for r in table(out) if r["part"] == "training"}
    copies = sum(r["radiograph"] in trained for r in tested)
    assert copies and f"same radiograph in training: {copies} of {len(tested)}" in said


def test_the_same_seed_gives_the_same_file(data, tmp_path):
    first, second, third = (tmp_path / f"{i}.csv" for i in range(3))
    run(data, "--seed", 1, "--out", first)
    run(data, "--seed", 1, "--out", second)
    run(data, "--seed", 2, "--out", third)
    assert first.read_bytes() == second.read_bytes() != third.read_bytes()


def test_folds_and_conflicts(data, tmp_path, capsys):
    tested = []
    for fold in (1, 2, 3):
        out = tmp_path / f"{fold}.csv"
        run(data, "--folds", 3, "--fold", fold, "--conflicts", "drop", "--out", out)
        tested += [r["file"] for r in table(out) if r["part"] == "test"]
        assert {r["radiograph"] for r in table(out) if r["part"] == "left out"} == {"R5", "R11"}
    assert len(tested) == len(set(tested)) == 32
    said = capsys.readouterr().out
    assert "fold 2 of 3" in said and "Left out: 4 files of 2 radiographs" in said


def test_nothing_is_overwritten(data, tmp_path):
    out = tmp_path / "split.csv"
    out.write_text("my thesis")
    with pytest.raises(DataSetError, match="exists already"):
        run(data, "--out", out)
    assert out.read_text() == "my thesis"
    assert [p.name for p in tmp_path.glob("*.part")] == []
    assert run(data, "--out", out, "--force") == 0
    assert len(table(out)) == 36
    assert run(data, "--out", out) == 0  # the same again


def test_bad_input_is_named(data, tmp_path):
    with pytest.raises(DataSetError, match="not a folder"):
        run(tmp_path / "none", "--out", tmp_path / "s.csv")
    with pytest.raises(DataSetError, match="no folder"):
        run(data, "--out", tmp_path / "none" / "s.csv")
    with pytest.raises(DataSetError, match="seed"):
        run(data, "--seed", -1, "--out", tmp_path / "s.csv")
    with pytest.raises(DataSetError, match="patient"):
        run(data, "--by", "patient", "--out", tmp_path / "s.csv")
