"""The confusion page by Streamlit's own test driver."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np
import pytest
import streamlit as st
from PIL import Image
from streamlit.testing.v1 import AppTest

import dashboard.loading
from kop_core import marks, model_store, wording
from kop_core.classes import CLASS_NAMES
from kop_core.evaluation import Predictions, evaluate
from kop_core.evaluation.cells import Cell, Facts, cases
from tests.conftest import ROOT
from tests.pages.test_data import button
from tests.pages.test_report import rewrite, words

WORST = Cell("osteoporosis", "healthy")


@pytest.fixture
def place(monkeypatch, tmp_path, models) -> Path:
    """Models, runs and marks of its own."""
    for name in ("runs", "marks"):
        monkeypatch.setenv(f"KOP_{name.upper()}", str(tmp_path / name))
    monkeypatch.setenv("KOP_MODELS", str(models))
    return tmp_path


def opened(**params: str) -> AppTest:
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    for name, value in params.items():
        at.query_params[name] = value
    at = at.run().switch_page("pages/confusion.py")
    for name, value in params.items():
        at.query_params[name] = value
    at.run()
    assert not at.exception
    return at


def address(at: AppTest, name: str) -> str | None:
    found = at.query_params.get(name)
    return found[0] if isinstance(found, list) else found


def click(at: AppTest, true: int, column: int, chart: str = "matrix_a") -> AppTest:
    points = [{"curve_number": 1, "customdata": [true, column]}]
    at.session_state[chart] = {"selection": {"points": points}}
    return at.run()


def files(at: AppTest) -> list[str]:
    """Return the files of the cases that are shown, in order."""
    shown = [h.value for h in at.get("html") if '<div class="kop-case">' in h.value]
    return [h.rsplit("<p>", 1)[1].removesuffix("</p></div>") for h in shown]


def images(shipped, cell: Cell = WORST) -> str:
    """Return how many images of how many radiographs are in a cell, in words."""
    table = Predictions.read(shipped.folder / "predictions.csv")
    found = {table.radiographs[table.files.index(f)] for f in expected(shipped, cell)}
    return f"{len(expected(shipped, cell))} images of {len(found)} radiographs"


def expected(shipped, cell: Cell = WORST, by: str = "confidence") -> list[str]:
    return [
        c.file for c in cases(Predictions.read(shipped.folder / "predictions.csv"), cell, by=by)
    ]


def look_in(at: AppTest, folder: Path) -> AppTest:
    at.text_input(key="pictures_path").set_value(str(folder))
    button(at, "Look there").click().run()
    assert not at.exception
    return at


def other_model(models: Path, shipped, ident: str = "second", **card) -> None:
    """Write a model on the same test part that says something else of it."""
    folder = models / ident
    shutil.copytree(shipped.folder, folder)
    table = Predictions.read(folder / "predictions.csv")
    noise = np.exp(np.random.default_rng(1).normal(0, 1.5, table.probabilities.shape))
    p = table.probabilities * noise + 1e-3
    path = folder / "predictions.csv"
    Predictions(table.files, table.radiographs, table.true, p / p.sum(1, keepdims=True)).write(path)
    kept = json.loads((folder / "card.json").read_text())
    kept["evaluation"] = evaluate(Predictions.read(path), draws=50).get_config()
    kept["checksums"]["predictions.csv"] = model_store.checksum(path)
    (folder / "card.json").write_text(json.dumps({**kept, "title": "Second", **card}))


def test_the_most_confident_mistakes_come_first_and_without_pictures(place, shipped):
    at = opened()
    said = words(at)
    assert at.title[0].value == "Confusion"
    assert "Accuracy 90" in said and "random split, 100 % of test images have copies" in said
    assert f"Of 137 labelled osteoporosis, {len(expected(shipped))} are called healthy: " in said
    assert "The pictures of paper1947 are not where KOP looks for them" in said
    assert files(at) == expected(shipped, Cell())[:6]
    assert f"{images(shipped, Cell())}" in said
    assert f"Page 1 of {-(-len(expected(shipped, Cell())) // 6)}" in said
    assert "at least one of its labels is wrong" in said
    assert not [h for h in at.get("html") if "<img" in h.value and "kop-case" in h.value]


def test_a_click_shows_the_cell_and_keeps_it_in_the_address(place, shipped):
    at = click(opened(), 2, 0)
    assert not at.exception and address(at, "cell") == "osteoporosis-healthy"
    said = words(at).replace("**", "")
    assert f"Labelled osteoporosis, called healthy: {images(shipped)}" in said
    assert files(at) == expected(shipped)[:6] != expected(shipped)
    button(at, "Next").click().run()
    assert files(at) == expected(shipped)[6:] and address(at, "page") == "2"
    # The words are the other way to a cell; what was clicked before does not come back.
    at.selectbox(key="confusion_called").set_value("osteopenia").run()
    assert address(at, "cell") == "osteoporosis-osteopenia" and address(at, "page") is None
    assert files(at) == expected(shipped, Cell("osteoporosis", "osteopenia"))[:6]
    at.session_state["confusion_sort"] = "loss"
    at.run()
    assert address(at, "by") == "loss" and "Loss " in words(at)


def test_an_address_opens_the_same_view(place, shipped):
    at = opened(cell="osteoporosis-healthy", by="loss", page="2", rule="abstain", level="60",
                show="columns")  # fmt: skip
    assert at.selectbox(key="confusion_rule").value == "abstain"
    assert at.slider(key="confusion_level").value == 60
    assert at.selectbox(key="confusion_shown").value == "columns"
    assert "Images whose highest score is below 60 % are called nothing" in words(at)
    table = Predictions.read(shipped.folder / "predictions.csv")
    sure = table.probabilities.max(axis=1) >= 0.6
    kept = [f for f in expected(shipped, by="loss") if sure[table.files.index(f)]]
    assert kept and files(at) == (kept[6:] or kept)


def test_other_cases_begin_at_their_first_page(place, models, shipped):
    other_model(models, shipped)
    at = opened(page="2", cell="any-any")
    choices = [
        lambda: at.selectbox(key="confusion_rule").set_value("abstain"),
        lambda: at.slider(key="confusion_level").set_value(70),
        lambda: at.selectbox(key="confusion_of").set_value("second"),
        lambda: at.segmented_control(key="confusion_sort").set_value("loss"),
    ]
    for choose in choices:
        assert address(at, "page") == "2"
        choose().run()
        assert not at.exception and address(at, "page") is None
        button(at, "Next").click().run()
    # A second model beside it alters nothing of the cases.
    at.selectbox(key="confusion_beside").set_value(shipped.id).run()
    assert address(at, "page") == "2"


def test_nonsense_in_the_address_is_no_error(place, shipped):
    at = opened(cell="<b>-x", by="x", page="many", rule="magic", level="x", show="?", side="z")
    assert "There is no rule 'magic'" in words(at)
    assert files(at) == expected(shipped, Cell())[:6]


def test_the_slider_moves_the_matrix(place, shipped):
    # At the highest level all are called the likelier of the other two classes.
    table = Predictions.read(shipped.folder / "predictions.csv")
    called = table.probabilities[:, :2].argmax(axis=1)
    right = sum(called == table.true)
    lost = sum((table.true == 2) & (called == 0))
    at = opened()
    at.selectbox(key="confusion_rule").set_value("osteoporosis").run()
    assert address(at, "rule") == "osteoporosis"
    low = at.slider(key="confusion_level").set_value(0).run()
    assert "283 are" not in words(low)
    assert "137 of 283 images of 138 radiographs are called as they are labelled" in words(low)
    high = at.slider(key="confusion_level").set_value(100).run()
    assert f"{right} of 283 images of 138 radiographs are called as they are" in words(high)
    assert f"Of 137 labelled osteoporosis, {lost} are called healthy" in words(high)
    assert address(high, "level") == "100"
    assert "Every accuracy here is that of the most likely class." in words(high)
    high.selectbox(key="confusion_rule").set_value("abstain").run()
    high.slider(key="confusion_level").set_value(70).run()
    click(high, 2, 3)
    assert address(high, "cell") == "osteoporosis-uncalled" and "called nothing" in words(high)
    high.selectbox(key="confusion_rule").set_value("most_likely").run()
    assert high.selectbox(key="confusion_called").value == "otherwise"
    assert address(high, "rule") is None


def test_the_pictures_of_a_named_folder_and_only_of_its_data(place, shipped, shared):
    at = look_in(opened(cell=WORST.word), shared / "mendeley")
    assert "another fingerprint" in words(at)
    at = look_in(at, Path("~nobody-of-this-name/knees"))
    assert "knows no home folder of ~nobody-of-this-name" in words(at)
    at = look_in(at, shared / "paper1947")
    shown = [h.value for h in at.get("html") if '<div class="kop-case">' in h.value]
    assert all(f'alt="Radiograph {f}"' in h for f, h in zip(expected(shipped), shown))
    assert "other files of the data set show this radiograph" in words(at)
    assert "paper1947" not in str(dict(at.query_params))
    del at.session_state["pictures_found"]  # as after a while: what was found is looked for again
    assert "Radiograph" in words(at.run())
    size = next(s for s in at.slider if s.label == "Longer side, in pixels")
    assert (size.min, size.max) == (256, 512)
    sides = {}
    for file in expected(shipped):
        with Image.open(shared / "paper1947" / file) as picture:
            sides[file] = max(picture.size)
    most = max(256, min(sides.values()))
    size.set_value((256, most)).run()
    small = [file for file in expected(shipped) if sides[file] <= most]
    assert 0 < len(small) < len(sides)
    assert f"{len(small)} of {len(sides)} images" in words(at) and files(at)[0] == small[0]
    assert "Laterality: not known" in words(at)


def test_pictures_that_go_or_change_are_said_case_by_case(place, models, shipped, small_data):
    names = [f"Normal/Normal {i}.png" for i in range(4)]
    table = Predictions(tuple(names), ("R1", "R1", "R2", "R3"), np.zeros(4, int),
                        np.tile([0.1, 0.2, 0.7], (4, 1)))  # fmt: skip
    table.write(models / shipped.id / "predictions.csv")
    from kop_core.datasets import scan

    data = {**shipped.card["data"], "fingerprint": scan(small_data).fingerprint, "name": "knees"}
    rewrite(models / shipped.id, lines=4, data=data)
    at = look_in(opened(), small_data)
    assert words(at).count('alt="Radiograph Normal/') == 4
    gone = (small_data / names[0]).read_bytes()
    other = (small_data / names[1]).read_bytes()
    (small_data / names[0]).unlink()
    (small_data / names[1]).write_bytes((small_data / names[2]).read_bytes())
    said = words(at.run())
    assert said.count('alt="Radiograph Normal/') == 2
    assert f"{names[0]} is no longer in" in said
    assert f"{names[1]} in" in said and "is not the picture that was measured any more" in said
    assert files(at) == names
    # Put back, they are shown again, and what was not known of them is looked up anew.
    (small_data / names[0]).write_bytes(gone)
    (small_data / names[1]).write_bytes(other)
    at.session_state["pictures_facts"][str(small_data)][names[0]] = Facts(None, None)
    at = look_in(at, small_data)
    assert words(at).count('alt="Radiograph Normal/') == 4
    assert at.session_state["pictures_facts"][str(small_data)][names[0]].size is not None


def test_a_mark_is_kept_listed_found_under_another_model_and_removed(place, models, shipped):
    other_model(models, shipped)
    at = opened(cell=WORST.word)
    first = expected(shipped)[0]
    key = next(b.key for b in at.button if (b.key or "").startswith("mislabelled_"))
    note = key.replace("mislabelled_", "note_")
    at.text_area(key=note).set_value("Looks *healthy*").run()
    at.button(key=key).click().run()
    assert "Marked mislabelled" in words(at) and "Looks *healthy*" in words(at)
    fingerprint = shipped.card["data"]["fingerprint"]
    (kept,) = marks.read(fingerprint).all
    assert (kept.file, kept.kind, kept.true) == (first, "mislabelled", "osteoporosis")
    assert "Marks on paper1947: 1" in [e.label for e in at.expander]
    # Another session, another model of the same data.
    again = opened(model="second", cell="osteoporosis-any")
    assert again.selectbox(key="confusion_of").value == "second"
    assert again.dataframe[-1].value["File"].tolist() == [first]
    button(again, "Remove").click().run()
    assert marks.read(fingerprint).all == () and "Marked mislabelled" not in words(again)


def test_a_note_belongs_to_its_mark_and_to_its_data(place, models, shipped):
    data = {**shipped.card["data"], "fingerprint": "ab" * 32}
    other_model(models, shipped, data=data)
    here = shipped.card["data"]["fingerprint"]
    file = expected(shipped)[0]

    def field(at: AppTest):
        return next(area for area in at.text_area if area.label == "Note")

    def unsure(at: AppTest) -> AppTest:
        return next(b for b in at.button if b.label == "Unsure").click().run()

    at = opened(model=shipped.id, cell=WORST.word)
    # A colleague's note is not written over by a session that does not show it yet.
    marks.put(here, marks.Mark(file, "osteoporosis", "mislabelled", "A colleague's"))
    unsure(at)
    assert f"The mark on {file} was changed elsewhere in the meantime" in words(at)
    assert field(at).value == "A colleague's"
    field(at).set_value("Mine").run()
    unsure(at)
    assert [(m.kind, m.note) for m in marks.read(here).all] == [("unsure", "Mine")]
    # Nor is one taken away that is not shown, by the card or by the list.
    for label in ("Remove the mark", "Remove"):
        marks.put(here, marks.Mark(file, "osteoporosis", "unsure", f"Newer than {label}"))
        button(at, label).click().run()
        assert "changed elsewhere in the meantime, and is left as it is" in words(at)
        assert marks.read(here).of(file).note == f"Newer than {label}"
    # The next mark on the same file has a note of its own.
    button(at, "Remove the mark").click().run()
    assert field(at).value == "" and marks.read(here).all == ()
    # So has a file of the same name in another data set.
    field(at).set_value("Of this data").run()
    theirs = Predictions.read(models / "second" / "predictions.csv")
    at.selectbox(key="confusion_of").set_value("second")
    at.selectbox(key="confusion_true").set_value("any")
    at.selectbox(key="confusion_called").set_value("any").run()
    shown = [c.file for c in cases(theirs, Cell("any", "any"))][:6]
    assert files(at) == shown and all(area.value == "" for area in at.text_area)


def test_damaged_marks_are_said_and_the_rest_works(place, shipped):
    folder = place / "marks"
    folder.mkdir()
    (folder / f"{shipped.card['data']['fingerprint']}.json").write_text("{")
    at = opened()
    assert "could not be understood and was set aside" in words(at) and files(at)


def test_two_models_and_their_difference(place, models, shipped):
    other_model(models, shipped)
    at = opened(**{"with": "second", "cell": WORST.word, "side": "b"})
    assert len(at.get("plotly_chart")) == 4
    said = words(at)
    assert "The first less the second" in said and "the same test images, paired" in said
    assert said.count("random split, 100 % of test images have copies in training") >= 2
    theirs = Predictions.read(models / "second" / "predictions.csv")
    assert files(at) == [c.file for c in cases(theirs, WORST)][:6]
    click(at, 0, 2)
    assert address(at, "side") is None
    assert files(at) == expected(shipped, Cell("healthy", "osteoporosis"))[:6]
    click(at, 0, 2, "matrix_b")
    assert address(at, "side") == "b"


def test_the_tables_say_in_a_colleagues_folder_whose_they_are(place, models, shipped, monkeypatch):
    other_model(models, shipped, split={"protocol": "radiograph", "same_radiograph_share": 0.0})
    offered = {}
    monkeypatch.setattr(
        st, "download_button", lambda label, data, name, *rest, **more: offered.update({name: data})
    )
    opened(model=shipped.id, **{"with": "second"})
    tables = {n: d for n, d in offered.items() if n.startswith("kop_matrix_")}
    difference = f"kop_matrix_{shipped.id}_less_second.csv"
    assert set(tables) == {f"kop_matrix_{shipped.id}.csv", "kop_matrix_second.csv", difference}
    first = tables["kop_matrix_second.csv"].decode("utf-8-sig").splitlines()[1]
    assert first.startswith("second,most_likely,,283,138,by radiograph,healthy,healthy,")
    both = tables[difference].decode("utf-8-sig").splitlines()[1]
    assert both.startswith(f"{shipped.id} less second,most_likely,,283,138,")
    assert "copies in training; by radiograph" in both


def test_models_of_other_test_parts_have_no_difference(place, models, shipped):
    data = {**shipped.card["data"], "fingerprint": "ab" * 32, "name": "elsewhere"}
    other_model(models, shipped, data=data)
    at = opened(**{"with": "second"})
    assert len(at.get("plotly_chart")) == 3
    assert "It was tested on other data (elsewhere). So no difference is drawn." in words(at)


def test_two_models_of_one_title_are_told_apart(place, models, shipped):
    data = {**shipped.card["data"], "fingerprint": "ab" * 32, "name": "elsewhere"}
    other_model(models, shipped, title=shipped.title, data=data)
    at = opened(model=shipped.id, **{"with": "second"})
    assert f"{shipped.title} (second): It was tested on other data" in words(at)
    at = opened(model="second")
    assert at.selectbox(key="confusion_of").value == "second"
    options = at.selectbox(key="confusion_of").options
    assert len(set(options)) == 2 and all("(" + i + ")" in o for i, o in
                                          zip((shipped.id, "second"), options))  # fmt: skip
    at.selectbox(key="confusion_of").set_value(shipped.id).run()
    assert address(at, "model") == shipped.id and not at.exception


def test_a_model_that_was_deleted(place, models, shipped):
    at = opened(model="gone", **{"with": "also [gone](x)"})
    said = words(at)
    assert "There is no model called gone here" in said
    assert "There is no model called also [gone](x) that could stand beside it" in said
    assert files(at)
    other_model(models, shipped)
    at.selectbox(key="confusion_of")
    at = opened(model="second", **{"with": shipped.id})
    shutil.rmtree(models / "second")
    at.run()
    assert not at.exception and "There is no model called second here" in words(at)
    assert at.selectbox(key="confusion_of").value == shipped.id and files(at)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda text: text.replace("p_osteopenia", "p_other"), "lacks the column p_osteopenia"),
        (lambda text: text.replace(",osteopenia,", ",fracture,"), "is none of healthy"),
        (lambda text: text + "x.png,R1,healthy,1,0,0\n", "was altered after its card was written"),
    ],
)
def test_predictions_that_cannot_be_used(place, models, shipped, spoil, says):
    other_model(models, shipped)
    path = models / "second" / "predictions.csv"
    path.write_text(spoil(path.read_text()))
    at = opened(model="second")
    assert says in words(at) and "has no matrix" in words(at)
    at.selectbox(key="confusion_of").set_value(shipped.id).run()
    assert files(at)
    # Beside a good one it is said, and the good one is there.
    at.selectbox(key="confusion_beside").set_value("second").run()
    assert says in words(at) and files(at)
    # The other way round the good one is there too; alone, all that is not of a model.
    at = opened(model="second", **{"with": shipped.id})
    assert says in words(at) and files(at) and "Accuracy" in words(at)
    at = opened(model="second")
    assert [e.label for e in at.expander][-2:] == [
        "The paper's Figure 9, beside it", "Marks on paper1947: none",
    ]  # fmt: skip


def test_a_damaged_model_is_not_said_to_be_deleted(place, models, shipped):
    other_model(models, shipped)
    (models / "second" / "predictions.csv").unlink()
    said = words(opened(model="second"))
    assert "The model second cannot be read. Another is shown." in said
    assert "There is no model called" not in said and "lacks its predictions.csv" in said
    said = words(opened(**{"with": "second"}))
    assert "second that could stand beside it: it was deleted, renamed or cannot be read" in said


def test_missing_predictions_and_no_models(place, models, shipped):
    (models / shipped.id / "predictions.csv").unlink()
    assert f"The model {shipped.id} lacks its predictions.csv" in words(opened())
    shutil.rmtree(models / shipped.id)
    assert "There is no model in" in words(opened())


def test_maps_wait_for_tensorflow_and_are_kept(place, shipped, shared, classifier, monkeypatch):
    from concurrent.futures import Future

    future: Future = Future()
    monkeypatch.setattr(dashboard.loading, "start_loading", lambda model: future)
    at = look_in(opened(cell="osteoporosis-osteoporosis"), shared / "paper1947")
    at.toggle(key="confusion_maps").set_value(True).run()
    assert "Starting TensorFlow" in words(at)
    future.set_result(classifier)
    at.run()
    assert not at.exception
    said = words(at)
    # Of a picture in which nothing spoke for the class it says so instead.
    drawn = said.count('alt="What the network looked at in')
    empty = said.count("nothing in the picture speaks for")
    assert drawn > 0 and drawn + empty == 6
    monkeypatch.setattr(dashboard.loading, "start_loading", lambda model: time.sleep(60))
    assert words(at.run()).count('alt="What the network looked at in') == drawn


def test_a_case_opens_in_classify(place, shipped, shared, classifier, monkeypatch):
    from concurrent.futures import Future

    done: Future = Future()
    done.set_result(classifier)
    monkeypatch.setattr(dashboard.loading, "start_loading", lambda model: done)
    at = look_in(opened(rule="abstain", level="60", by="loss", page="2"), shared / "paper1947")
    (link, *_) = [e.proto for e in at.get("page_link") if e.proto.label == "Open in Classify"]
    back = dict(parse_qsl(link.query_string))["back"]
    view = {"model": shipped.id, "rule": "abstain", "level": "60", "by": "loss", "page": "2"}
    assert dict(parse_qsl(back)) == view
    case = expected(shipped)[0]
    at.switch_page("pages/classify.py")
    at.query_params["model"], at.query_params["case"] = shipped.id, case
    at.query_params["back"] = f"{back}&other=x"
    at.run()
    (link,) = [e.proto for e in at.get("page_link") if e.proto.label == "Back to its matrix"]
    assert dict(parse_qsl(link.query_string)) == view
    assert not at.exception
    said = words(at)
    table = Predictions.read(shipped.folder / "predictions.csv")
    row = table.files.index(case)
    true, called = (CLASS_NAMES[k] for k in (table.true[row], table.predicted[row]))
    score = wording.percent(table.probabilities[row].max())
    assert f"{case}, of the test part of {shipped.title}, labelled {true}" in said
    assert f"{called.capitalize()} is most likely (score {score}" in said
    for wrong, why in (("../../etc/passwd", "no image of the test part"),):
        at.query_params["case"] = wrong
        assert why in words(at.run()) and not at.exception
    at.query_params["of"] = "gone"
    assert "of a model that is not here" in words(at.run())
    button_labels = [b.label for b in at.button]
    assert "Close this case" not in button_labels


def test_a_case_without_its_picture_is_said_in_classify(place, shipped, monkeypatch):
    monkeypatch.setattr(dashboard.loading, "start_loading", lambda model: None)
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    at.switch_page("pages/classify.py")
    at.query_params["model"], at.query_params["case"] = shipped.id, expected(shipped)[0]
    at.run()
    assert not at.exception
    assert "The case cannot be shown. The pictures of paper1947 are not where" in words(at)
    assert {"Look again", "Close this case"} <= {b.label for b in at.button}
    # Where its folder can be named.
    assert "Back to its matrix" in [e.proto.label for e in at.get("page_link")]
    assert "Drop one radiograph or many above" in words(at)
