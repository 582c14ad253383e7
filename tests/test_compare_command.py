"""``python -m kop_core compare`` as a person types it."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from kop_core import cli
from kop_core.evaluation import published
from tests.altered import another
from tests.conftest import ROOT

QUICK = ["--draws", "199"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, shipped):
    """Three models of one test part and one of other data."""
    place = tmp_path_factory.mktemp("models")
    shutil.copytree(shipped.folder, place / shipped.id)
    another(shipped, place, "worse", noise=2.5, seed=1)
    another(shipped, place, "alike", noise=0.3, seed=2)
    other = {**shipped.card["data"], "fingerprint": "0" * 64, "name": "clinic"}
    another(shipped, place, "clinic", part=np.arange(283) < 150, data=other)
    return place


@pytest.fixture
def compare(folder, tmp_path, capsys):
    def run(*arguments: str) -> tuple[int, str, str]:
        where = ["--models", str(folder), "--runs", str(tmp_path / "runs")]
        status = cli.main(["compare", *arguments, *where, *QUICK])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def test_as_json(compare, shipped):
    status, out, err = compare(shipped.id, "worse", "alike", "--json", "--ensemble")
    found = json.loads(out)
    assert status == 0 and not err and found["comparable"] is True and found["reason"] is None
    assert [m["id"] for m in found["models"]] == [shipped.id, "worse", "alike", "ensemble"]
    card = shipped.card["evaluation"]["metrics"]
    for name, metric in card.items():
        assert found["models"][0]["metrics"][name]["value"] == pytest.approx(metric["value"])
    assert found["models"][0]["badge"].startswith("random split, 100 %")
    assert found["models"][0]["parameters"] == shipped.card["parameters"]
    assert found["models"][0]["speed"] is None  # not measured, so not said
    assert len(found["pairs"]) == 6
    for pair in found["pairs"]:
        assert set(pair["differences"]) == {
            "accuracy", "balanced_accuracy", "macro_f1", "macro_roc_auc",
        }  # fmt: skip
        for d in (*pair["differences"].values(), pair["mcnemar"]):
            assert 0 < d["p"] <= d["p_holm"] <= 1
        d = pair["differences"]["accuracy"]
        assert d["low"] <= d["value"] <= d["high"]
    first = found["pairs"][0]["differences"]["accuracy"]
    values = [m["metrics"]["accuracy"]["value"] for m in found["models"]]
    assert first["value"] == pytest.approx(values[0] - values[1]) and first["p"] < 0.05
    assert [row["images"] for row in found["published"]] == [r.images for r in published.TABLE_3]


def test_other_test_parts_are_shown_and_not_tested(compare, shipped):
    status, out, _ = compare(shipped.id, "clinic", "--json")
    found = json.loads(out)
    assert status == 0 and found["comparable"] is False
    assert found["reason"] == "Clinic: It was tested on other data (clinic)."
    assert found["models"][1]["images"] == 150 and "differences" not in found["pairs"][0]
    status, out, _ = compare(shipped.id, "clinic", "--ensemble")
    assert status == 0 and "There is no ensemble" in out
    assert "No two of these models can be tested against each other" in out


def test_for_people(compare, shipped):
    status, out, err = compare(shipped.id, "worse", "--metric", "recall_osteoporosis")
    assert status == 0 and not err
    for words in (
        shipped.title,
        "Sensitivity, osteoporosis",
        "copies in training",
        "McNemar",
        "for neither",
        "31.3 MB",
        "not measured",
        "both legs",
        "Abubakar",
    ):
        assert words in out
    assert "Macro F1" not in out


def test_files(compare, shipped, tmp_path):
    table, page = tmp_path / "all.csv", tmp_path / "page.html"
    status, _, err = compare(shipped.id, "worse", "--csv", str(table), "--html", str(page))
    assert status == 0 and err.count("Written") == 2
    with table.open(newline="", encoding="utf-8-sig") as stream:
        assert {row["model"] for row in csv.DictReader(stream) if row["kind"] == "metric"} == {
            shipped.id, "worse",
        }  # fmt: skip
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    status, _, err = compare(shipped.id, "worse", "--csv", str(tmp_path / "none" / "a.csv"))
    assert status == 1 and "cannot be written" in err


def test_what_cannot_be_compared_is_named_and_the_rest_is_compared(
    compare, folder, shipped, tmp_path
):
    damaged = another(shipped, tmp_path, "damaged")
    (damaged.folder / "predictions.csv").unlink()
    altered = another(shipped, tmp_path, "altered")
    with (altered.folder / "predictions.csv").open("a") as stream:
        stream.write("extra.png,R1,healthy,1,0,0\n")
    names = (shipped.id, "worse", "gone", str(damaged.folder), str(altered.folder))
    status, out, err = compare(*names, "--json")
    found = json.loads(out)
    assert status == 2 and [m["id"] for m in found["models"]] == [shipped.id, "worse"]
    assert found["pairs"][0]["comparable"] and len(found["not_compared"]) == 3
    for words in (
        "gone is not compared. There is no model called 'gone'",
        "lacks its predictions.csv",
        "altered is not compared. The predictions.csv of Altered was altered",
    ):
        assert words in err
    assert err.count("\n") == 3 and "Traceback" not in err


def test_two_of_one_title_and_two_of_one_id(compare, shipped, tmp_path):
    twin = another(shipped, tmp_path / "here", "worse", noise=1, title="Worse")
    status, out, _ = compare("worse", str(twin.folder), "--json")
    ids = [m["id"] for m in json.loads(out)["models"]]
    assert status == 0 and len(set(ids)) == 2 and ids[1] == str(twin.folder)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["worse"], "Name two or more"),
        (["worse", "worse"], "Name two or more"),
        (["gone", "lost"], "None of these models can be compared"),
        (["worse", "alike", "--metric", "luck"], "There is no figure 'luck'. Known: accuracy"),
        (["a" * 300, "b" * 300], "Nor is there a run or a folder of that name"),
        (["", "lost"], "named by its id or its folder, and here by nothing"),
        (["worse", "alike", "--seed", "-1"], "A seed is 0 or more"),
    ],
)
def test_nothing_can_be_done(compare, arguments, says):
    status, out, err = compare(*arguments)
    assert status == 1 and says in err and not out


def test_no_tensorflow_is_imported(folder, shipped):
    code = (
        "import sys\nfrom kop_core import cli\n"
        f"assert cli.main(['compare', {shipped.id!r}, 'worse', '--models', {str(folder)!r}, "
        "'--json', '--draws', '100']) == 0\n"
        "assert not {'tensorflow', 'keras', 'plotly'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
