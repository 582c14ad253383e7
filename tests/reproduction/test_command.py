"""``python -m kop_core reproduce``."""

from __future__ import annotations

import argparse
import shutil

import pytest

from kop_core.commands import reproduce as command
from kop_core.errors import DataSetError, RunError
from kop_core.reproduction import page
from tests.reproduction.conftest import TINY


@pytest.fixture(autouse=True)
def in_small(monkeypatch, tiny_network):
    monkeypatch.setattr("kop_core.reproduction.PAPER_SETTINGS", TINY)


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers())
    options = parser.parse_args(["reproduce", *map(str, arguments)])
    return options.run(options)


def test_from_nothing_to_a_page(whole, tmp_path, capsys):
    out, runs = tmp_path / "page", tmp_path / "runs"
    wanted = ("--data", whole.data, "--out", out, "--runs", runs, "--seeds", 5, "--epochs", 1)
    assert run(*wanted) == 0
    said = capsys.readouterr()
    assert f"The page is {out / page.PAGE}." in said.out
    assert "run 1 of 2: random-5" in said.err and "run 2 of 2: radiograph-5" in said.err
    assert {p.name for p in (runs / "knees").iterdir() if p.is_dir()} == {
        "random-5",
        "radiograph-5",
    }
    assert run(*wanted) == 0  # and again: nothing is left to do
    assert "run 1" not in capsys.readouterr().err
    # other settings do not quietly reuse what is there
    with pytest.raises(RunError, match="epochs 1 instead of 2"):
        run(*wanted[:-2])


def test_the_page_alone(whole, tmp_path, capsys):
    out = tmp_path / "page"
    run("--page-only", "--data", whole.data, "--out", out, "--runs", whole.runs)
    text = (out / page.PAGE).read_text()
    assert text == (whole.out / page.PAGE).read_text()
    (out / page.PAGE).unlink()
    run("--page-only", "--out", out)
    assert (out / page.PAGE).read_text() == text
    shutil.rmtree(out)


def test_bad_input_is_named(whole, tmp_path):
    with pytest.raises(RunError, match="--data FOLDER"):
        run("--out", tmp_path / "page")
    with pytest.raises(RunError, match="holds no results"):
        run("--out", tmp_path / "page", "--page-only")
    with pytest.raises(DataSetError, match="not a folder"):
        run("--data", tmp_path / "none", "--out", tmp_path / "page")
    with pytest.raises(RunError, match="epochs"):
        run("--data", whole.data, "--out", tmp_path / "page", "--epochs", 0)
    with pytest.raises(RunError, match="twice"):
        run("--data", whole.data, "--out", tmp_path / "page", "--seeds", 1, 1)
