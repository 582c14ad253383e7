"""``python -m kop_core benchmark``."""

from __future__ import annotations

import argparse

import pytest

from kop_core.benchmarking import planning as plans
from kop_core.commands import benchmark as command
from kop_core.errors import DataSetError, RunError, UnknownNetwork
from tests.benchmarking.conftest import TINY


@pytest.fixture(autouse=True)
def in_small(monkeypatch, tiny_networks):
    monkeypatch.setattr("kop_core.benchmarking.RECIPE", TINY)


def run(*arguments) -> int:
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers())
    options = parser.parse_args(["benchmark", *map(str, arguments)])
    return options.run(options)


def test_a_quick_one_from_nothing_to_a_page(whole, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(plans, "QUICK_NETWORKS", ("small",))
    out, runs = tmp_path / "page", tmp_path / "runs"
    wanted = ("--data", whole.data, "--out", out, "--runs", runs, "--quick", "--split", "random",
              "--networks", "all")  # fmt: skip
    assert run(*wanted) == 0
    said = capsys.readouterr()
    assert f"The page is {out / 'README.md'}." in said.out and "it proves nothing" in said.out
    assert "job 1 of 2: random/small/repeat-1-fold-1-of-2" in said.err
    assert "job 2 of 2" in said.err and "left for all" in said.err
    assert {p.name for p in out.iterdir()} == {"README.md", "knees-quick"}
    assert {p.name for p in runs.iterdir()} == {"knees-quick"}  # no copies of pictures stay
    assert run(*wanted) == 0
    assert "job 1" not in capsys.readouterr().err


def test_the_page_alone(whole, tmp_path):
    wanted = ("--data", whole.data, "--runs", whole.runs, "--networks", "paper", "small",
              "--split", "radiograph", "--folds", 2, "--page-only")  # fmt: skip
    run("--out", tmp_path / "page", *wanted)
    text = (tmp_path / "page" / "README.md").read_text()
    assert "All 2 repeats of networks are done." in text
    run("--out", tmp_path / "page", "--page-only")
    assert (tmp_path / "page" / "README.md").read_text() == text


def test_bad_input_is_named(whole, tmp_path):
    out = ("--out", tmp_path / "page", "--runs", tmp_path / "runs")
    data = ("--data", whole.data)
    for given, error, says in (
        ((), RunError, "--data FOLDER"),
        (("--page-only",), RunError, "holds no results"),
        ((*data, "--networks", "lenet"), UnknownNetwork, "no network called 'lenet'. Known: "),
        ((*data, "--networks", "paper", "all", "paper"), RunError, "named twice"),
        ((*data, "--networks", "paper+hands"), RunError, "does not say how"),
        ((*data, "--epochs", 0), RunError, "epochs"),
        ((*data, "--folds", 9), DataSetError, "9 folds are too many"),
        ((*data, "--networks", "small", "--size", 7), RunError, "7"),
        ((*data, "--weights", tmp_path / "none"), RunError, "no folder"),
        (("--data", tmp_path / "none"), DataSetError, "not a folder"),
        (("--data", tmp_path / "none", "--quick"), DataSetError, "not a folder"),
        ((*data, "--quick", "--epochs", 7), RunError, "leave out --epochs, or --quick"),
        ((*data, "--quick", "--folds", 5), RunError, "leave out --folds, or --quick"),
        ((*data, "--workers", 0), RunError, "At least 1 process"),
        ((*data, "--ray", "auto", "--workers", 2), RunError, "choose one of them"),
        ((*data, "--ray", "auto", "--keep-models"), RunError, "--keep-models cannot"),
        ((*data, "--ray", "auto", "--job-processors", 0), RunError, "at least 1 processor"),
    ):
        with pytest.raises(error, match=says):
            run(*out, *given)
