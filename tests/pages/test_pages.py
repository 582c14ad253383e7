"""The pages by Streamlit's own test driver: no exception, and the words that must be there."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.calibrations import kept
from tests.test_model_store import change_card

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def app(monkeypatch, models):
    monkeypatch.setenv("KOP_MODELS", str(models))
    return AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).run()


def words(at: AppTest) -> str:
    kinds = ("title", "header", "subheader", "markdown", "caption", "warning", "info", "error")
    text = "\n".join(str(e.value) for kind in kinds for e in at.get(kind))
    return text.replace("\\", "")  # as Markdown shows it


def go(at: AppTest, page: str) -> AppTest:
    at.switch_page(f"pages/{page}.py").run()
    assert not at.exception
    return at


def test_home_says_what_kop_is_and_what_it_is_not(app, shipped):
    assert not app.exception
    said = words(app)
    assert "not a medical device" in said and "not a diagnosis" in said
    assert shipped.title in said and shipped.version in said
    assert "95 % CI" in said and "copies in training" in said
    assert "a map of what influenced the score of a class" in said
    assert "1,415 of its 1,947 files are at hand" in said and "Most published" not in said


def test_every_accuracy_has_its_badge(app):
    for page in ("home", "models"):
        said = words(go(app, page))
        assert said.count("Accuracy ") == 1
        assert "random split, " in said


def links(at: AppTest) -> dict[str, tuple[str, str]]:
    """Return page and parameters by the words of each link on a page."""
    found = [element.proto for element in at.get("page_link")]
    return {link.label: (link.page, link.query_string) for link in found}


def test_home_leads_to_every_page_and_each_model_to_its_report_and_card(app, shipped):
    found = links(app)
    assert {page for page, _ in found.values()} == {
        "classify", "train", "data", "report", "compare", "confusion", "models",
    }  # fmt: skip
    of_model = f"model={shipped.id}"
    assert found["Report"] == ("report", of_model) and found["Card"] == ("models", of_model)
    assert found["Mistakes"] == ("confusion", of_model)
    assert found["Use it"] == ("classify", of_model)
    assert links(go(app, "models"))["Read its report"] == ("report", of_model)


def test_home_without_models(app, models, shipped):
    shutil.rmtree(models / shipped.id)
    said = words(app.run())
    assert not app.exception
    assert "There is no model in" in said


def test_models_shows_the_card(app, shipped):
    at = go(app, "models")
    said = words(at)
    for statement in (
        "The split was random",
        "same radiograph in training",
        "Not a medical device",
    ):
        assert statement in said
    assert len(at.dataframe) == 1
    assert list(at.dataframe[0].value["Class"]) == [
        "Healthy", "Osteopenia", "Osteoporosis", "Mean of the classes",
    ]  # fmt: skip


def test_a_calibrated_model_says_so_and_of_which_images(app, models, shipped, full_size):
    folder = models / shipped.id
    change_card(folder, calibration_tried=None)
    assert "none: outputs are scores" in facts(go(app, "models"))
    change_card(folder, calibration_tried=kept(1.5, False))
    assert "a temperature was tried and did not help" in facts(app.run())
    change_card(folder, calibration_tried=kept(None, False))
    assert "too few radiographs to fit a temperature" in facts(app.run())
    change_card(folder, calibration=kept(2.0), calibration_tried=None)
    assert "temperature 2.00" in facts(app.run())
    at = go(app, "classify")
    upload(at, [full_size[0]])
    said = words(at)
    assert "Calibrated on its test part. 100 % of the test images have copies" in said
    assert "read none as a probability" not in said
    verdict = next(m.value for m in at.get("html") if "kop-verdict" in m.value)
    assert "score" not in verdict


def test_that_a_model_guesses_is_said_before_anything_else_of_its_verdict(
    app, models, shipped, full_size
):
    figures = {**shipped.metrics, "balanced_accuracy": {"value": 0.36, "low": 0.2, "high": 0.5}}
    change_card(models / shipped.id, evaluation={**shipped.card["evaluation"], "metrics": figures})
    at = go(app, "classify")
    upload(at, [full_size[0]])
    assert not at.exception
    first, second = (w.value for w in at.warning)
    assert "cannot be told from guessing" in first and "36 %" in first.replace("\u00a0", " ")
    assert "both legs" in second
    at = go(at, "home")
    assert any("cannot be told from guessing" in c.value for c in at.caption)


def facts(at: AppTest) -> str:
    assert not at.exception
    return next(m.value for m in at.get("html") if "kop-facts" in m.value and "Calibr" in m.value)


def test_a_model_that_is_not_there_is_said_and_not_rendered(app):
    app.query_params["model"] = "![x](http://evil.example/p.png)"
    at = app.switch_page("pages/models.py").run()
    (said,) = [w.value for w in at.warning if "There is no model called" in w.value]
    assert "![x](" not in said  # escaped: no picture is fetched from anywhere


def test_what_a_card_says_is_text_and_not_markdown(app, models, shipped, full_size):
    evil = "B ![x](https://tracker.example/p.png) *star*"
    evaluation = {**shipped.card["evaluation"], "interval": evil}
    change_card(models / shipped.id, title=evil, version=evil, evaluation=evaluation)
    at = app.run()
    for page in ("home", "models", "classify"):
        at = go(at, page)
        if page == "classify":
            upload(at, full_size[:1])
        drawn = [str(e.value) for e in (*at.markdown, *at.caption, *at.header)]
        assert evil in words(at)
        assert not any("![x](" in text or "*star*" in text.replace("**", "") for text in drawn)


def test_choosing_among_three_models(app, models, shipped):
    from kop_core import model_store

    for name in ("b", "c"):
        model_store.publish(models / shipped.id, name, models, title=f"Model {name}")
    at = go(app, "models")
    for name in ("b", "c", shipped.id, "c"):
        at.selectbox(key="card_of").set_value(name).run()
        assert at.selectbox(key="card_of").value == name
        assert at.query_params["model"] in (name, [name])


def test_classify_begins_with_what_to_do(app, shipped):
    at = go(app, "classify")
    assert "Drop one radiograph or many" in words(at)
    assert "not a medical device" in words(at)
    assert at.selectbox(key="model").value == shipped.id
    assert "a map of what influenced the score of a class" in words(at)


@pytest.mark.parametrize("name", ["model.keras", "card.json"])
def test_a_broken_model_is_named_on_every_page(app, models, shipped, name):
    (models / shipped.id / name).unlink()
    for page in ("home", "models", "classify"):
        said = words(go(app, page))
        assert f"The model {shipped.id} lacks its {name}" in said
        assert "Traceback" not in said


def test_a_broken_model_leaves_the_others(app, models, shipped):
    shutil.copytree(models / shipped.id, models / "zz_broken")
    (models / "zz_broken" / "history.csv").unlink()
    at = go(app, "classify")
    assert "zz_broken lacks its history.csv" in words(at)
    assert at.selectbox(key="model").options == [shipped.title]


def test_classifying_one_and_a_batch_with_broken_files(app, full_size, shared):
    at = go(app, "classify")
    upload(at, [full_size[0]])
    assert not at.exception
    verdict = next(m.value for m in at.get("html") if "kop-verdict" in m.value)
    assert any(w in verdict for w in ("most likely", "undecided"))
    assert "Accuracy" in words(at)
    assert "Saliency marks what raises and what lowers its score" in at.selectbox(key="class").help
    assert at.radio(key="window").options == ["Full range", "Bone", "Soft tissue", "Own"]

    upload(at, [*full_size[:2], ROOT / "Makefile"])
    assert not at.exception
    said = words(at)
    assert "2 of 3 classified" in said
    assert "Makefile: this is text, not a picture" in said
    assert list(at.dataframe[0].value["File"]) == [full_size[0].name, full_size[1].name, "Makefile"]


def test_what_is_taken_away_is_forgotten(app, full_size):
    at = go(app, "classify")
    upload(at, full_size[:2])
    assert len(at.session_state["cases"]) == 2 and len(at.session_state["maps"]) == 1
    at.get("file_uploader")[0].set_value([])
    at.run()
    assert not at.exception
    assert not at.session_state["cases"] and not at.session_state["maps"]


def test_a_case_names_the_model_that_judged_it(app, models, shipped, full_size):
    from kop_core import model_store

    model_store.publish(models / shipped.id, "b", models, title="Model b")
    at = go(app, "classify")
    upload(at, full_size[:1])
    at.selectbox(key="model").set_value("b").run()
    assert not at.exception
    judged = {key[1]: case.prediction.model for key, case in at.session_state["cases"].items()}
    assert judged["b"] == "b"
    assert all(chosen == named for chosen, named in judged.items())


def test_a_model_that_is_deleted_while_it_is_chosen_is_said(
    app, models, shipped, full_size, monkeypatch
):
    from kop_core import model_store

    # As a fragment does, the page goes on with the models that it listed before.
    listed = model_store.list_models()
    monkeypatch.setattr(model_store, "list_models", lambda *_: listed)
    shutil.rmtree(models / shipped.id)
    at = go(app, "classify")
    upload(at, full_size[:1])
    assert not at.exception
    assert f"The model {shipped.id} is no longer here: it was deleted or renamed." in words(at)


def upload(at: AppTest, paths: list[Path]) -> None:
    files = [(p.name, p.read_bytes(), "application/octet-stream") for p in paths]
    at.get("file_uploader")[0].set_value(files)
    at.run()


def test_a_page_leaves_keras_as_it_is(app):
    """What another session's thread is loading just then keeps its scopes and its names."""
    import keras

    with keras.name_scope("loading"):
        first = keras.layers.Dense(1).name
        go(app, "models")
        second = keras.layers.Dense(1).name
        assert keras.src.backend.common.name_scope.current_path() == "loading"
    assert int(second.split("_")[1]) == int(f"{first}_0".split("_")[1]) + 1


def test_garbage_is_not_looked_for_in_tensorflow():
    from dashboard import loading

    loading._start_tensorflow()
    assert gc.get_freeze_count() > 100_000
