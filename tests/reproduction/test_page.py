"""The page says what the collected numbers say."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from kop_core import wording
from kop_core.datasets import scan
from kop_core.datasets.audit import audit
from kop_core.evaluation import Estimate, Predictions, evaluate, published
from kop_core.reproduction import page, results, words


@pytest.fixture(scope="module")
def text(whole):
    return (whole.out / page.PAGE).read_text()


@pytest.fixture(scope="module")
def found(whole):
    return results.read(whole.out / "knees")


def rows(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading."""
    below = text.split(heading, 1)[1].splitlines()
    start = next(i for i, line in enumerate(below) if line.startswith("|"))
    lines = []
    for line in below[start:]:
        if not line.startswith("|"):
            break
        lines.append([cell.strip() for cell in line.strip("|").split("|")])
    return lines


def test_table_1_beside_ours(text):
    table = rows(text, "## Table 1")
    assert len(table) == 2 + len(published.TABLE_1) + 3
    assert ["Conv1", "128 of 8 × 8, stride 3, no padding", "73 × 73 × 128", "73 × 73 × 128"] in (
        table
    )
    assert ["Flatten", "", "4609", "4608"] in table
    assert ["Parameters", "", "15,610,499", "15,610,499"] in table
    assert "The numbers of parameters are the same." in text


def test_table_2_has_every_figure_with_its_interval_and_split(text, found):
    table = rows(text, "### Table 2")
    head = table[0]
    assert "random split" in head[2]
    assert re.search(r"random split, \d+ % of test images have copies in training", head[3])
    assert "by radiograph" in head[4] and "2 runs" in head[4] and "radiographs" in head[4]
    accuracy = next(row for row in table if row[1] == "accuracy")
    assert accuracy[2] == "90.25"
    for cell, arm in zip(accuracy[3:], found.arms):
        figure = arm.evaluation.metrics["accuracy"]
        expected = "{:.1f} ({:.1f}–{:.1f})".format(
            *(100 * v for v in (figure.value, figure.low, figure.high))
        )
        assert cell == expected
    for row in table[2:]:
        if "range" in row[1]:
            found_range = [re.fullmatch(r"([\d.]+), ([\d.]+) to ([\d.]+)", c) for c in row[3:]]
            for match, arm in zip(found_range, found.arms):
                shares = [100 * e.metrics["accuracy"].value for e in arm.evaluations]
                assert [float(v) for v in match.groups()] == pytest.approx(
                    [sum(shares) / 2, min(shares), max(shares)], abs=0.06
                )
            continue
        for cell in row[3:]:
            assert cell == "not defined" or re.fullmatch(r"[\d.]+ \([\d.]+–[\d.]+\)", cell), row


def test_figures_of_an_arm_are_those_of_all_its_runs(whole, found):
    parts = [
        Predictions.read(whole.runs / "knees" / f"radiograph-{seed}" / "predictions.csv")
        for seed in (1, 2)
    ]
    right = sum(int((p.predicted == p.true).sum()) for p in parts)
    images = sum(len(p.files) for p in parts)
    arm = found.arms[1]
    assert arm.evaluation.metrics["accuracy"].value == pytest.approx(right / images)
    assert arm.evaluation.images == images
    shown = {r for p in parts for r in p.radiographs}
    assert arm.evaluation.groups == len(shown)  # a radiograph in both test parts counts once
    assert sum(e.confusion for e in arm.evaluations).tolist() == arm.evaluation.confusion.tolist()
    assert arm.evaluations[0].metrics["accuracy"] == evaluate(parts[0]).metrics["accuracy"]


def test_table_3_keeps_the_literature_apart(text, found):
    table = rows(text, "### Table 3")
    assert ["Wani & Arora 2023 [39]", "381", "AlexNet", "90.91", "not given"] in table
    assert ["Ali et al. 2025 (the paper)", "1,947", "Nine convolutions (proposed)", "90.25",
            "random split"] in table  # fmt: skip
    ours = [row for row in table if row[0].startswith("KOP")]
    assert [row[0] for row in ours] == ["KOP, all runs", "KOP, seed 1", "KOP, seed 2"] * 2
    assert table.index(ours[0]) == 2 + len(published.TABLE_3)
    assert all("split" in row[4] or "by radiograph" in row[4] for row in ours)


def test_leakage_of_each_split(text, found):
    table = rows(text, "### What each split leaks")
    finished = [run for arm in found.arms for run in arm.finished]
    assert [row[0] for row in table[2:]] == [r["name"] for r in finished]
    assert "audit" in table[0][4] and "audit" in table[0][5] and "data set says" in table[0][6]
    for row, run in zip(table[2:], finished):
        split, seen = run["split"], run["examined"]["leakage"]
        assert row[1:3] == [str(split["training_files"]), str(split["test_files"])]
        assert row[3].startswith(f"{seen['identical']} (")  # the audit and the split agree
        assert row[4].startswith(f"{seen['near']} (") and row[5].startswith(f"{seen['any']} (")
        assert row[6].startswith(f"{split['same_radiograph']} (")
    assert [row[6] for row in table[4:]] == ["0 (0 %)"] * 2


def test_the_look_up_beside_the_network(text, found):
    table = rows(text.split("The look-up learns nothing", 1)[1], "network is ahead.")
    assert [row[0] for row in table[2:]] == ["random-1", "random-2", "radiograph-1", "radiograph-2"]
    runs = {run["name"]: run for run in found.finished}
    accuracies = [e.metrics["accuracy"] for arm in found.arms for e in arm.evaluations]
    for row, accuracy in zip(table[2:], accuracies):
        look_up = runs[row[0]]["examined"]["look_up"]
        for cell, given in ((row[1], accuracy.get_config()), (row[2], look_up)):
            figures = (100 * given[k] for k in ("value", "low", "high"))
            assert cell == "{:.1f} ({:.1f}–{:.1f})".format(*figures)
        ahead = runs[row[0]]["examined"]["ahead"]
        assert row[3] == words.points(Estimate(**ahead))
        assert row[4] == wording.split_badge(runs[row[0]]["split"])[0]


def test_the_data_as_the_audit_sees_it(text, whole, found):
    report = audit(scan(whole.data))
    below = text.split("### The data", 1)[1].split("###", 1)[0]
    assert f"sees {len(report.groups())} radiographs in 36 files" in below
    assert "36 files: 12 healthy, 12 osteopenia, 12 osteoporosis." in below
    assert "they show 18 radiographs, 2 of them filed under more than one class" in below
    table = rows(below, "bone")
    assert [row[0] for row in table[2:]] == [s.title for s in report.shortcuts]
    for row, shortcut in zip(table[2:], report.shortcuts):
        assert row[1].startswith(f"{100 * shortcut.random.value:.1f} (")
        assert row[2].startswith(f"{100 * shortcut.by_radiograph.value:.1f} (")
        assert row[3] == "33.3"
    assert not re.search(r"Normal \d", (whole.out / "knees" / "results.json").read_text())


def test_settings_are_those_of_the_runs(text):
    table = {row[0]: row[1:] for row in rows(text, "### Settings")}
    assert table["optimiser"] == ["not stated", "Adam"]
    assert table["learning rate"] == ["not stated", "0.02, falls to zero as a cosine"]
    assert table["epochs"] == ["30", "2"]
    assert table["dropout"] == ["not stated", "0.2"]
    assert "What the paper does not state was found by trying" not in text  # not these
    assert "rotation 2" in table["augmentation"][1] and "mirror" not in table["augmentation"][1]


def test_figures_are_drawings_with_what_they_show(whole, found):
    for name in ("accuracy.svg", "loss.svg", "confusion.svg"):
        path = whole.out / "knees" / name
        words = " ".join(t.strip() for t in ElementTree.parse(path).getroot().itertext())
        assert "by radiograph" in words and "random split" in words, name
        assert path.stat().st_size < 200_000
    drawn = (whole.out / "knees" / "accuracy.svg").read_text()
    assert "seed 2" in drawn and "look-up, learns nothing" in drawn
    matrix = (whole.out / "knees" / "confusion.svg").read_text()
    assert "4–10" in matrix and ">149<" in matrix
    for arm in found.arms:
        for count in np.diag(arm.evaluation.confusion):
            assert f">{count}<" in matrix


def test_pictures_are_where_the_page_looks_for_them(whole, text):
    targets = re.findall(r"!\[[^\]]+\]\(<([^>]+)>\)", text)
    assert len(targets) == 3
    assert all((whole.out / target).is_file() for target in targets)


def test_no_excuse_for_unfinished_work(text):
    assert "runs done**" not in text and "All 4 runs are done." in text
    assert "!" not in re.sub(r"!\[", "[", text)


def test_a_pause_does_not_make_a_run_longer():
    from kop_core.reproduction.results import _minutes

    assert _minutes([{"seconds": s} for s in (50.0, 60.0, 5400.0, 70.0)]) == 4.3
