"""``python -m kop_core evaluate`` as a person types it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from kop_core import cli
from tests.conftest import ROOT


def test_as_json(capsys, shipped):
    path = shipped.folder / "predictions.csv"
    assert cli.main(["evaluate", str(path), "--json", "--draws", "200"]) == 0
    found = json.loads(capsys.readouterr().out)
    card = shipped.card["evaluation"]
    assert found["images"] == card["images"] and found["radiographs"] == card["radiographs"]
    assert found["confusion"] == card["confusion"] and "radiographs" in found["interval"]
    for name, metric in card["metrics"].items():
        assert found["metrics"][name]["value"] == pytest.approx(metric["value"])
        assert set(found["metrics"][name]) == {"value", "low", "high"}
    assert {"macro_precision", "weighted_f1", "quadratic_weighted_kappa", "brier_score",
            "expected_calibration_error", "macro_average_precision",
            "macro_specificity"} <= set(found["metrics"])  # fmt: skip
    for counts, shares in zip(found["confusion"], found["confusion_shares"]):
        assert shares == pytest.approx([c / sum(counts) for c in counts])
    assert [p["wished_sensitivity"] for p in found["operating_points"]] == [0.8, 0.9, 0.95] * 2
    assert found["conformal"]["wished_coverage"] == 0.9
    assert found["calibration"]["temperature"]["helps"] in (True, False)


def test_for_people(capsys, shipped):
    path = shipped.folder / "predictions.csv"
    options = ["--draws", "200", "--sensitivity", "0.85", "--coverage", "0.8"]
    assert cli.main(["evaluate", str(path), *options]) == 0
    said = capsys.readouterr().out
    for words in (
        shipped.title,
        "copies in training",
        "Quadratic-weighted kappa",
        "Mean by images",
        "85 %",
        "80 % of radiographs",
        "95 % bootstrap over radiographs",
    ):
        assert words in said


def test_predictions_elsewhere_have_no_known_split(capsys, shipped, tmp_path):
    copy = tmp_path / "mine.csv"
    shutil.copyfile(shipped.folder / "predictions.csv", copy)
    assert cli.main(["evaluate", str(copy), "--draws", "100"]) == 0
    assert "How training and test images were split is not known" in capsys.readouterr().out


def test_altered_predictions_are_not_those_of_the_card(capsys, models, shipped):
    path = models / shipped.id / "predictions.csv"
    path.write_text(path.read_text().rsplit("\n", 2)[0] + "\n")
    assert cli.main(["evaluate", str(path), "--draws", "100"]) == 0
    said = capsys.readouterr().out
    assert shipped.title not in said and "copies in training" not in said


def test_a_page(capsys, shipped, tmp_path):
    target = tmp_path / "report.html"
    path = shipped.folder / "predictions.csv"
    assert cli.main(["evaluate", str(path), "--html", str(target), "--draws", "100"]) == 0
    assert "Written" in capsys.readouterr().err
    page = target.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and "copies in training" in page
    wrong = str(tmp_path / "none" / "r.html")
    assert cli.main(["evaluate", str(path), "--html", wrong, "--draws", "100"]) == 1
    assert "cannot be written" in capsys.readouterr().err


HEAD = "file,radiograph,true,p_healthy,p_osteopenia,p_osteoporosis\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "No such file"),
        ("", "lacks the column"),
        ("file,radiograph,true,p_healthy,p_osteoporosis\n", "lacks the column p_osteopenia"),
        (HEAD + "a,R1,healthy,0.5,0.5,0.5\n", "do not sum to 1"),
        (HEAD + "a,R1,healthy,nan,0.5,0.5\n", "line 2"),
        (HEAD + "a,R1,healthy,1,0,0\na,R1,healthy,1,0,0\n", "on line 2 already"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_1(capsys, tmp_path, text, says):
    path = tmp_path / "p.csv"
    if text is not None:
        path.write_text(text)
    assert cli.main(["evaluate", str(path), "--json"]) == 1
    said = capsys.readouterr()
    assert says in said.err and said.err.count("\n") == 1 and said.out == ""


@pytest.mark.parametrize(
    "options",
    [["--coverage", "1"], ["--coverage", "x"], ["--sensitivity", "0"], ["--draws", "5"],
     ["--draws", "many"], ["--sensitivity", "nan"]],
)  # fmt: skip
def test_wrong_options(capsys, shipped, options):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["evaluate", str(shipped.folder / "predictions.csv"), *options])
    assert stopped.value.code == 2 and "Traceback" not in capsys.readouterr().err


def test_a_negative_seed(capsys, shipped):
    assert cli.main(["evaluate", str(shipped.folder / "predictions.csv"), "--seed", "-1"]) == 1
    assert "seed" in capsys.readouterr().err


def test_no_tensorflow_is_imported(shipped):
    code = (
        "import sys\nfrom kop_core import cli\n"
        f"assert cli.main(['evaluate', {str(shipped.folder / 'predictions.csv')!r}, '--json', "
        "'--draws', '100']) == 0\n"
        "assert not {'tensorflow', 'keras', 'plotly'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
