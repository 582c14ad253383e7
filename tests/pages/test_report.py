"""The model report page by Streamlit's own test driver."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from streamlit.testing.v1 import AppTest

from kop_core import model_store
from kop_core.evaluation import Predictions, evaluate, html, report
from tests.calibrations import kept
from tests.conftest import ROOT

HEADINGS = [
    "How good",
    "Where it fails",
    "How well it tells each class from the rest",
    "Whether its scores can be read as probabilities",
    "What a target sensitivity costs",
    "Sets of classes that hold the label as often as asked",
    "Its card",
]


@pytest.fixture
def app(monkeypatch, models) -> AppTest:
    monkeypatch.setenv("KOP_MODELS", str(models))
    return AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).run()


def open_page(app: AppTest) -> AppTest:
    at = app.switch_page("pages/report.py").run()
    assert not at.exception
    return at


def words(at: AppTest) -> str:
    kinds = ("title", "subheader", "markdown", "caption", "warning", "info", "error", "html")
    text = "\n".join(str(e.value) for kind in kinds for e in at.get(kind))
    return text.replace("\\", "").replace("\u00a0", " ").replace("\u2060", "")


def rewrite(folder, lines=None, agree=True, **values) -> None:
    """Change a model's predictions, and its card so that they agree again."""
    path, card = folder / "predictions.csv", json.loads((folder / "card.json").read_text())
    if lines is not None:
        kept = path.read_text().splitlines(keepends=True)[: lines + 1]
        path.write_text("".join(kept))
        card["checksums"]["predictions.csv"] = model_store.checksum(path)
        if agree:
            card["evaluation"] = evaluate(Predictions.read(path), draws=50).get_config()
    (folder / "card.json").write_text(json.dumps({**card, **values}))


def test_it_says_which_outputs_are_measured_and_which_are_shown(app, models, shipped):
    folder = models / shipped.id
    said = words(open_page(app))
    assert "Its card has no temperature" in said and "not of those that are shown" not in said
    rewrite(folder, calibration=kept(2.0))
    said = words(app.run())
    assert "shown after the temperature on its card, 2.00" in said
    assert said.count("not of those that are shown where it is used") == 2
    assert "Its card has no temperature" not in said
    model = model_store.get(shipped.id, models)
    page = html.page_of(model, report(Predictions.read(folder / "predictions.csv"), draws=20))
    assert "shown after the temperature on its card, 2.00" in page
    assert page.count("not of those that are shown where it is used") == 2


def test_it_answers_first_and_shows_everything(app, shipped):
    at = open_page(app)
    said = words(at)
    assert at.title[0].value == "Model report"
    assert [h.value for h in at.subheader] == HEADINGS
    answer = next(h.value for h in at.get("html") if "kop-verdict" in h.value)
    assert "Accuracy 90" in answer and "138 radiographs" in answer
    assert "random split, 100 % of test images have copies in training" in said
    assert "Do not expect this of a new patient" in said
    for caution in shipped.cautions:
        assert caution in said
    assert "Of 137 images labelled osteoporosis" in said
    assert "To find 90 % of the images labelled osteoporosis" in said
    assert "each radiograph counts once" in said
    assert "not a medical device" in said
    assert len(at.get("plotly_chart")) == 6 and len(at.table) == 7


def test_the_badge_stands_beside_the_accuracy(app):
    at = open_page(app)
    said = [str(getattr(e, "value", "")) for e in at.main]
    place = next(i for i, text in enumerate(said) if "kop-verdict" in text and "Accuracy" in text)
    assert "random split, 100 % of test images have copies in training" in said[place + 1]


def test_tables_hold_intervals(app):
    at = open_page(app)
    by_class = next(t.value for t in at.table if "Sensitivity (recall)" in t.value)
    assert list(by_class["Class"])[:3] == ["Healthy", "Osteopenia", "Osteoporosis"]
    assert by_class["F1"].str.contains(r"\d\s%\s\(\d").all()


def test_target_sensitivity_and_coverage_can_be_chosen(app):
    at = open_page(app)
    before = words(at)
    at.session_state["sensitivity"] = 0.95
    at.session_state["coverage"] = 0.80
    at.run()
    assert not at.exception
    said = words(at)
    assert "To find 95 % of the images labelled osteoporosis" in said and said != before
    assert "hold the label in 80 % of radiographs" in said


def test_the_card_counts_what_is_known(app):
    at = open_page(app)
    labels = [e.label for e in at.expander]
    assert any("of 44 items are known" in label for label in labels)
    assert any(label.startswith("Model card, by the headings of Mitchell") for label in labels)
    assert "Not on the card: " in words(at)


def test_the_model_is_kept_in_the_address(app, models, shipped):
    model_store.publish(models / shipped.id, "b", models, title="Model b")
    app.query_params["model"] = "b"
    at = open_page(app)
    assert at.selectbox(key="report_of").value == "b"
    at.selectbox(key="report_of").set_value(shipped.id).run()
    assert at.query_params["model"] in (shipped.id, [shipped.id])


def test_a_model_that_is_not_there_is_said_and_not_rendered(app):
    app.query_params["model"] = "![x](http://evil.example/p.png)"
    at = open_page(app)
    (said,) = [w.value for w in at.warning if "There is no model called" in w.value]
    assert "![x](" not in said


def test_altered_predictions_are_not_reported(app, models, shipped):
    with (models / shipped.id / "predictions.csv").open("a") as stream:
        stream.write("extra.png,R1,healthy,1,0,0\n")
    at = open_page(app)
    assert "was altered after the card was written" in at.error[0].value.replace("\\", "")
    assert not at.subheader and not at.table


def test_predictions_that_go_while_the_page_is_open_are_said(app, models, shipped, monkeypatch):
    listed = model_store.list_models()
    monkeypatch.setattr(model_store, "list_models", lambda *_: listed)
    (models / shipped.id / "predictions.csv").unlink()
    at = open_page(app)
    said = words(at)
    assert f"The predictions of {shipped.title} cannot be read (No such file or directory)." in said


def test_predictions_that_are_none(app, models, shipped):
    path = models / shipped.id / "predictions.csv"
    header, first, *others = path.read_text().splitlines()
    first = ",".join([*first.split(",")[:3], "0.9", "0.9", "0.9"])
    path.write_text("\n".join([header, first, *others]) + "\n")
    rewrite(models / shipped.id, lines=400, agree=False)
    at = open_page(app)
    assert "line 2: the probabilities sum to" in at.error[0].value.replace("\\", "")


def test_a_card_that_says_other_figures_is_not_reported(app, models, shipped):
    rewrite(models / shipped.id, lines=200, agree=False)
    at = open_page(app)
    assert "are not those of its predictions" in at.error[0].value.replace("\\", "")
    assert not at.subheader


def test_another_table_is_another_report(app, models, shipped):
    first = words(open_page(app))
    rewrite(models / shipped.id, lines=20)
    second = words(open_page(app))
    assert "All on 283 images" in first
    assert "All on 20 images of" in second and "All on 283 images" not in second
    assert "none was fitted" in second and "no threshold was chosen" in second


def test_a_split_by_radiograph_is_no_warning(app, models, shipped):
    split = {"protocol": "radiograph", "same_radiograph_share": 0.0, "identical_share": 0.0}
    rewrite(models / shipped.id, split={**shipped.card["split"], **split})
    said = words(open_page(app))
    assert "No radiograph has copies in both training and test" in said
    assert "by radiograph" in said and "copies in training" not in said.split("Its card")[0]


def test_no_models_and_broken_models(app, models, shipped):
    (models / shipped.id / "history.csv").unlink()
    assert f"The model {shipped.id} lacks its history.csv" in words(open_page(app))
    shutil.rmtree(models / shipped.id)
    assert "There is no model in" in words(open_page(app))


def test_a_title_is_text(app, models, shipped):
    card = json.loads((models / shipped.id / "card.json").read_text())
    rewrite(models / shipped.id, cautions=["<b>![x](http://evil.example)</b>"], title="<i>x</i>")
    assert card["title"] != "<i>x</i>"
    at = open_page(app)
    assert not any("![x](http" in w.value for w in at.warning)


def test_the_page_imports_no_tensorflow():
    code = (
        "import sys\n"
        "from streamlit.testing.v1 import AppTest\n"
        "at = AppTest.from_file('app.py', default_timeout=120).run()\n"
        "at.switch_page('pages/report.py').run()\n"
        "assert not at.exception and at.title[0].value == 'Model report', at\n"
        "assert not {'tensorflow', 'keras', 'tf_keras_vis'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
