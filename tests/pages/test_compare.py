"""The compare page by Streamlit's own test driver."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard import compared as kept
from dashboard import loading
from kop_core import model_store, timing
from kop_core.errors import ModelError
from kop_core.evaluation import compared
from kop_core.timing import Speed
from tests.altered import another
from tests.conftest import ROOT
from tests.pages.test_data import button
from tests.pages.test_report import words as said_by

FOUR = "paper-random,worse,alike,clinic"


@pytest.fixture(scope="module")
def several(tmp_path_factory, shipped):
    """Three models of one test part, two of one title, and one of other data."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(shipped.folder, folder / shipped.id)
    by_radiograph = {"protocol": "radiograph", "same_radiograph_share": 0.0}
    another(shipped, folder, "worse", noise=2.5, seed=1, title="Twice",
            split={**shipped.card["split"], **by_radiograph})  # fmt: skip
    another(shipped, folder, "alike", noise=0.3, seed=2, title="Twice")
    other = {**shipped.card["data"], "fingerprint": "0" * 64, "name": "clinic"}
    another(shipped, folder, "clinic", part=np.arange(283) < 150, data=other, cautions=[],
            title="![x](http://evil.example/p.png)")  # fmt: skip
    return folder


@pytest.fixture
def app(monkeypatch, several, tmp_path) -> AppTest:
    monkeypatch.setenv("KOP_MODELS", str(several))
    monkeypatch.setenv("KOP_RUNS", str(tmp_path / "runs"))
    return AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).run()


def open_page(app: AppTest, models: str | None = None) -> AppTest:
    if models is not None:
        app.query_params["models"] = models
    at = app.switch_page("pages/compare.py").run()
    assert not at.exception
    return at


def everything(at: AppTest) -> str:
    tables = " ".join(t.value.to_string() for t in at.table)
    plain = tables.replace("\\", "").replace("\u00a0", " ").replace("\u2060", "")
    return said_by(at) + plain


def test_models_side_by_side(app):
    at = open_page(app, "paper-random,worse")
    said = everything(at)
    assert at.title[0].value == "Compare models"
    assert [h.value for h in at.subheader] == [
        "How good each is",
        "Which differ",
        "How well each tells a class from the rest",
        "Whether scores can be read as probabilities",
        "How each learned",
        "Speed and size",
        "Where they disagree",
        "The literature, on other data",
    ]
    answer = next(h.value for h in at.get("html") if "kop-verdict" in h.value)
    assert "has a higher accuracy than Twice" in answer and "points, p" in answer
    assert "random split, 100 % of test images have copies in training" in said
    assert "says nothing of which is better for a new patient" in said
    assert "283 images of 138 radiographs" in said and "15,610,499" in said
    assert "not measured" in said and "for neither" in said
    assert len(at.get("plotly_chart")) == 4
    assert "not a medical device" in said


def test_the_literature_stands_apart(app):
    at = open_page(app, "paper-random,worse")
    tables = [t.value for t in at.table]
    literature = next(t for t in tables if "Study" in t.columns)
    assert len(literature) == 10 and set(literature["Interval"]) == {"not given"}
    assert all("Abubakar" not in t.to_string() for t in tables if "Study" not in t.columns)
    assert at.subheader[-1].value == "The literature, on other data"


def test_models_of_other_test_parts_are_shown_and_not_tested(app):
    at = open_page(app, FOUR)
    said = everything(at)
    assert "3 pairs were not tested" in said
    assert "It was tested on other data (clinic)" in said and "test part 2" in said
    pairs = next(t.value for t in at.table if "First less second" in t.value)
    assert len(pairs) == 3 and not any("clinic" in text for text in pairs["First less second"])
    assert not any("![x](http" in str(e.value) for e in (*at.markdown, *at.warning, *at.table))


def test_two_of_one_title_are_told_apart(app):
    said = everything(open_page(app, "worse,alike"))
    assert "Twice (worse)" in said and "Twice (alike)" in said


def test_the_choice_comes_from_the_address_and_a_deleted_model_is_named(app):
    at = open_page(app, "worse,gone,alike")
    (said,) = [w.value.replace("\\", "") for w in at.warning if "no model called" in w.value]
    assert "There is no model called gone here" in said and "The others are compared" in said
    assert any("First less second" in t.value for t in at.table)
    assert at.query_params["models"] in ("worse,gone,alike", ["worse,gone,alike"])


def test_an_address_that_names_nothing_that_is_there(app):
    at = open_page(app, "![x](http://evil.example/p.png)")
    assert not any("![x](http" in w.value for w in at.warning)
    assert "Choose two or more rows above" in said_by(at)
    assert [h.value for h in at.subheader] == ["The literature, on other data"]


def test_one_model_is_shown_and_not_tested(app):
    said = everything(open_page(app, "worse"))
    assert "There are not two models to compare" in said and "How good each is" in said


def test_the_ensemble_is_one_more_row(app):
    at = open_page(app, "worse,alike")
    at.toggle(key="ensemble").set_value(True).run()
    assert not at.exception
    said = everything(at)
    assert "Ensemble of these 2 models" in said and "mean of the probabilities" in said
    at = open_page(app, FOUR)
    assert "There is no ensemble" in everything(at)


def test_figures_and_class_can_be_chosen(app):
    at = open_page(app, "worse,alike")
    at.multiselect(key="figures").set_value(["recall_osteoporosis", "brier_score"]).run()
    assert not at.exception
    first = at.table[0].value
    assert "Sensitivity, osteoporosis" in first and "Accuracy" not in first
    answer = next(h.value for h in at.get("html") if "kop-verdict" in h.value)
    assert "sensitivity, osteoporosis" in answer
    at.multiselect(key="figures").set_value([]).run()
    assert not at.exception and "Accuracy" in at.table[0].value
    at.session_state["class"] = "healthy"
    at.run()
    chart = json.loads(at.get("plotly_chart")[0].proto.spec)
    of = compared.read([model_store.get("worse")], kept._measured)[0][0].evaluation
    assert f"AUC {of.metrics['roc_auc_healthy'].value:.2f}" in chart["data"][0]["name"]


def test_what_cannot_be_read_is_said_and_the_rest_is_compared(app, several, shipped, tmp_path):
    altered = another(shipped, several, "zz-altered")
    broken = another(shipped, several, "zz-broken")
    try:
        with (altered.folder / "predictions.csv").open("a") as stream:
            stream.write("extra.png,R1,healthy,1,0,0\n")
        (broken.folder / "predictions.csv").unlink()
        at = open_page(app, "worse,alike,zz-altered,zz-broken")
        said = everything(at)
        assert "zz-altered is not compared" in said and "was altered after its card" in said
        assert "lacks its predictions.csv" in said and "no model called zz-broken" in said
        assert any("First less second" in t.value for t in at.table)
    finally:
        shutil.rmtree(altered.folder)
        shutil.rmtree(broken.folder)


def test_no_models(monkeypatch, tmp_path):
    monkeypatch.setenv("KOP_MODELS", str(tmp_path))
    at = open_page(AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).run())
    assert "There is no model in" in said_by(at) and "Table 3" in said_by(at)


def test_speed_is_measured_when_asked(app, monkeypatch):
    ready = SimpleNamespace(result=lambda: "a classifier")
    monkeypatch.setattr(loading, "start_loading", lambda model: ready)
    timed = Speed(12.5, 11.0, 15.0, 20, "a machine of two cores")
    monkeypatch.setattr(timing, "measure", lambda classifier: timed)
    at = open_page(app, "worse,alike")
    try:
        next(b for b in at.button if b.label == "Measure the speed here").click().run()
        assert not at.exception
        said = everything(at)
        assert said.count("12.5 (11.0–15.0)") == 2 and "a machine of two cores" in said
        assert not [b for b in at.button if b.label == "Measure the speed here"]
    finally:
        st.cache_resource.clear()


# What they disagree on.


def test_cases_are_listed_where_there_are_no_pictures(app):
    at = open_page(app, "worse,alike")
    said = everything(at)
    assert "They disagree on" in said and "listed without them" in said
    cases = next(t.value for t in at.table if "Radiograph" in t.value)
    assert len(cases) > 10 and "worse called" in cases
    at.session_state["right"] = "Second as labelled"
    at.run()
    fewer = next(t.value for t in at.table if "Radiograph" in t.value)
    assert 0 < len(fewer) < len(cases)
    called = zip(fewer["Labelled"], fewer["worse called"], fewer["alike called"])
    assert all(other.startswith(label) > one.startswith(label) for label, one, other in called)


def test_another_pair_and_a_pair_that_is_no_longer_there(app):
    at = open_page(app, "worse,alike,paper-random")
    at.session_state["right"] = "First as labelled"
    at.run()
    at.selectbox(key="pair").set_value("alike, paper-random").run()
    assert not at.exception
    cases = next(t.value for t in at.table if "Radiograph" in t.value)
    assert "alike called" in cases and "paper-random called" in cases
    at.multiselect(key="figures").set_value(["macro_f1"]).run()
    assert not at.exception


def look_in(at: AppTest, folder: str) -> AppTest:
    at.text_input(key="pictures_path").set_value(folder)
    button(at, "Look there").click().run()
    assert not at.exception
    return at


def test_a_folder_of_other_pictures_is_refused(app, small_data):
    at = look_in(open_page(app, "worse,alike"), str(small_data))
    assert "holds other data than the model was tested on" in said_by(at)
    assert "/nowhere is not a folder." in said_by(look_in(at, "/nowhere"))
    at = look_in(at, "~nobody-of-this-name/knees")
    assert "knows no home folder of ~nobody-of-this-name" in said_by(at)


def test_pictures_are_found_by_the_run_on_the_same_data(
    app, shared, shipped, tmp_path, monkeypatch
):
    from kop_core.datasets import scan

    data = scan(shared / "paper1947")
    run = tmp_path / "runs" / "2026-11-25-01-paper"
    run.mkdir(parents=True)
    folder = tmp_path / "knees"
    folder.mkdir()
    facts = {"name": "paper1947", "folder": str(folder), "fingerprint": data.fingerprint}
    config = shipped.card["training"]["config"]
    record = {"format": 1, "config": config, "data": facts, "split": {}}
    (run / "run.json").write_text(json.dumps(record))
    lines = ["file,part,sha256", *(f"{i.file},test,{i.sha256}" for i in data.items)]
    (run / "split.csv").write_text("\n".join(lines) + "\n")
    at = open_page(app, "worse,alike")
    # Its folder is there, and the pictures were moved out of it: another can be named.
    assert "are not where KOP looks" in said_by(at) and at.text_input(key="pictures_path")
    shutil.copytree(data.folder, folder, dirs_exist_ok=True)
    button(at, "Look again").click().run()
    assert not at.exception and "Where the pictures are" in [e.label for e in at.expander]
    (drawn,) = [h.value for h in at.get("html") if "<figure>" in h.value]
    assert drawn.count("<figure>") == 6 and drawn.count("data:image/png;base64,") == 6
    assert "Show what both looked at" in [b.label for b in at.button]
    next(b for b in at.button if b.label.startswith("Show more")).click().run()
    (drawn,) = [h.value for h in at.get("html") if "<figure>" in h.value]
    assert drawn.count("<figure>") == 18
    failed: Future = Future()
    failed.set_exception(ModelError("Its weights are damaged."))
    monkeypatch.setattr(loading, "start_loading", lambda model: failed)
    button(at, "Show what both looked at").click().run()
    assert "Not every map was made. Its weights are damaged." in said_by(at)
    assert button(at, "Show what both looked at")  # to try again
    # Another pair begins with its first cases.
    at.query_params["models"] = "worse,paper-random"
    at.run()
    (drawn,) = [h.value for h in at.get("html") if "<figure>" in h.value]
    assert drawn.count("<figure>") == 6
