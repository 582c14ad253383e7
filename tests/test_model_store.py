"""Model folders: whole, incomplete, altered."""

from __future__ import annotations

import json

import pytest

from kop_core import model_store
from kop_core.errors import ModelError, RunError, UnknownModel


def change_card(folder, **values):
    path = folder / "card.json"
    card = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({k: v for k, v in card.items() if v is not None}))


def test_what_is_shipped(shipped):
    model_store.verify(shipped)
    assert shipped.card["network"] == "paper"
    assert shipped.card["parameters"] == 15_610_499
    assert shipped.card["classes"] == ["healthy", "osteopenia", "osteoporosis"]
    assert (shipped.folder / "model.keras").stat().st_size <= 32e6
    assert {"value", "low", "high"} == shipped.metrics["accuracy"].keys()
    assert shipped.card["storage"]["largest_difference_of_a_probability"] <= 0.005


def test_the_shipped_card_says_what_its_split_means(shipped):
    said = " ".join(shipped.card["statements"])
    assert shipped.card["split"]["protocol"] == "random"
    assert "The split was random" in said
    assert "have a picture of the same radiograph in training" in said
    assert "on a new patient expect it to be far lower" in said
    assert shipped.card["data"]["terms"]


def test_the_shipped_figures_follow_from_the_predictions(shipped):
    from kop_core.evaluation import Predictions, evaluate

    found = evaluate(Predictions.read(shipped.folder / "predictions.csv"))
    assert found.get_config() == shipped.card["evaluation"]


@pytest.mark.parametrize("name", ["model.keras", "history.csv", "predictions.csv", "card.json"])
def test_a_missing_file_is_named(models, shipped, name):
    (models / shipped.id / name).unlink()
    whole, broken = model_store.list_models(models)
    assert not whole and name in broken[0].reason and shipped.id in broken[0].reason
    with pytest.raises(ModelError, match=name):
        model_store.get(shipped.id, models)


@pytest.mark.parametrize("name", ["model.keras", "predictions.csv"])
def test_an_altered_file_is_named(models, shipped, name):
    with (models / shipped.id / name).open("ab") as stream:
        stream.write(b"1")
    with pytest.raises(ModelError, match=f"{name}.*altered"):
        model_store.verify(model_store.get(shipped.id, models))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"network": "resnet-9000"}, "no network called 'resnet-9000'"),
        ({"classes": ["osteoporosis", "osteopenia", "healthy"]}, "in this order"),
        ({"preparation": {"name": "other"}}, "preparation"),
        ({"format": 2}, "newer"),
        ({"evaluation": {}}, "measured figures"),
        ({"checksums": {}}, "checksum"),
        ({"statements": [7]}, "statements"),
        ({"training": {}}, "training"),
        ({"split": {"protocol": None}}, "split"),
        ({"split": {"protocol": "random", "identical_share": "most"}}, "copies"),
        ({"split": {"protocol": "radiograph", "same_patient_share": "some"}}, "copies"),
        ({"split": {"protocol": "radiograph", "conflicts": []}}, "conflicts"),
        ({"split": {"protocol": "radiograph", "folds": "![x](http://evil.example)"}}, "fold"),
        ({"parameters": "many"}, "parameters"),
        ({"versions": {"backend": ["torch"]}}, "versions"),
        ({"statements": None, "split": None}, "split, statements"),
    ],
)
def test_a_wrong_card_is_said(models, shipped, values, says):
    change_card(models / shipped.id, **values)
    with pytest.raises(ModelError, match=says):
        model_store.get(shipped.id, models)


@pytest.mark.parametrize(
    ("key", "value"),
    [("images", None), ("interval", 3), ("radiographs", "many"), ("confusion", None)],
)
def test_wrong_figures_are_said(models, shipped, key, value):
    evaluation = {**shipped.card["evaluation"], key: value}
    change_card(models / shipped.id, evaluation=evaluation)
    with pytest.raises(ModelError, match=f"figures .{key}"):
        model_store.get(shipped.id, models)


def test_no_parameters_on_a_card_is_not_a_wrong_number_of_them(models, shipped):
    path = models / shipped.id / "card.json"
    card = {k: v for k, v in json.loads(path.read_text()).items() if k != "parameters"}
    path.write_text(json.dumps(card))
    assert "parameters" not in model_store.get(shipped.id, models).card
    path.write_text(json.dumps({**card, "parameters": None}))
    with pytest.raises(ModelError, match=r"figures \(parameters"):
        model_store.get(shipped.id, models)


@pytest.mark.parametrize("metric", [{}, {"value": None, "low": None}, 0.9])
def test_a_figure_that_is_none_is_said(models, shipped, metric):
    metrics = {**shipped.card["evaluation"]["metrics"], "accuracy": metric}
    change_card(models / shipped.id, evaluation={**shipped.card["evaluation"], "metrics": metrics})
    with pytest.raises(ModelError, match=r"figures \(accuracy"):
        model_store.get(shipped.id, models)


@pytest.mark.parametrize("low", [None, "x", 7])
def test_a_figure_without_its_interval_is_said(models, shipped, low):
    evaluation = json.loads(json.dumps(shipped.card["evaluation"]))
    evaluation["metrics"]["macro_f1"]["low"] = low
    change_card(models / shipped.id, evaluation=evaluation)
    with pytest.raises(ModelError, match="macro_f1"):
        model_store.get(shipped.id, models)


def test_a_card_that_promises_more_than_was_measured(models, shipped):
    evaluation = json.loads(json.dumps(shipped.card["evaluation"]))
    evaluation["metrics"]["accuracy"] = {"value": 0.99, "low": 0.98, "high": 1.0}
    change_card(models / shipped.id, evaluation=evaluation)
    with pytest.raises(ModelError, match="not those of its predictions"):
        model_store.verify(model_store.get(shipped.id, models))


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "[" * 100_000])
def test_a_card_that_is_none(models, shipped, text):
    (models / shipped.id / "card.json").write_text(text)
    with pytest.raises(ModelError, match="not readable"):
        model_store.get(shipped.id, models)


def test_unknown_models_list_the_known_ones(models, shipped, tmp_path):
    with pytest.raises(UnknownModel, match=f"Known: {shipped.id}"):
        model_store.get("other", models)
    with pytest.raises(UnknownModel, match="no model in"):
        model_store.get(None, tmp_path / "nothing")


def test_one_broken_model_leaves_the_others(models, shipped):
    (models / "half").mkdir()
    (models / ".hidden").mkdir()
    whole, broken = model_store.list_models(models)
    assert [m.id for m in whole] == [shipped.id] and [b.id for b in broken] == ["half"]
    assert model_store.get(None, models).id == shipped.id


def test_the_default_comes_first_and_a_later_model_does_not_displace_it(models, shipped):
    source = models / shipped.id
    for name in ("a-first-try", "z"):
        model_store.publish(source, name, models)
    ids = ["a-first-try", shipped.id, "z"]
    assert [m.id for m in model_store.list_models(models)[0]] == ids
    model_store.make_default("z", models)
    assert [m.id for m in model_store.list_models(models)[0]] == ["z", *ids[:2]]
    assert model_store.get(None, models).id == "z"
    model_store.make_default(shipped.id, models)
    assert model_store.get(None, models).id == shipped.id
    with pytest.raises(UnknownModel, match="Known: "):
        model_store.make_default("none", models)
    assert model_store.get(None, models).id == shipped.id


@pytest.mark.parametrize("written", [b"", b"gone", b"\xff\xfe", b"../x", b"a" * 10_000])
def test_a_default_that_is_none_is_passed_over(models, shipped, written):
    (models / model_store.DEFAULT).write_bytes(written)
    assert model_store.get(None, models).id == shipped.id


def test_no_other_is_taken_in_place_of_a_default_that_is_broken(models, shipped):
    model_store.publish(models / shipped.id, "z", models)
    model_store.make_default("z", models)
    (models / "z" / "history.csv").unlink()
    with pytest.raises(ModelError, match=r"z lacks its history.csv.*taken where none is named"):
        model_store.get(None, models)
    assert model_store.get(shipped.id, models).id == shipped.id
    assert [m.id for m in model_store.list_models(models)[0]] == [shipped.id]


def test_a_default_that_cannot_be_written_is_said(models, shipped):
    (models / model_store.DEFAULT).mkdir()
    with pytest.raises(RunError, match=r"was not made the default: .*DEFAULT cannot be written"):
        model_store.make_default(shipped.id, models)
    assert model_store.get(None, models).id == shipped.id


def test_publish(models, shipped):
    source = models / shipped.id
    model = model_store.publish(
        source, "second", models, title="Second", terms="none", cautions=["It is a copy."]
    )
    assert model.cautions == (*shipped.cautions, "It is a copy.")
    assert model.title == "Second" and model.card["data"]["terms"] == "none"
    model_store.verify(model)
    with pytest.raises(RunError, match="already"):
        model_store.publish(source, "second", models)
    for name in ("../up", "A b", "", ".x", "a/b"):
        with pytest.raises(RunError, match="cannot be a model's name"):
            model_store.publish(source, name, models)
    (source / "card.json").unlink()
    with pytest.raises(RunError, match="not finished"):
        model_store.publish(source, "third", models)
    assert sorted(p.name for p in models.iterdir()) == sorted([shipped.id, "second"])


def test_a_network_whose_file_could_not_be_published_is_known_before():
    assert model_store.too_large(15_610_499) is None
    assert "about 47 MB, more than the 32 MB" in model_store.too_large(23_593_859)
