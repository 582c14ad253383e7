"""A temperature from the test part to the card, the store, what is served and what is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kop_core import model_store, wording
from kop_core.classes import CLASS_NAMES
from kop_core.classifier import Classifier
from kop_core.errors import ModelError
from kop_core.evaluation import Predictions, apply_temperature
from kop_core.radiographs import read
from kop_core.training import TrainingConfig, finishing, train
from kop_core.training.finishing import calibrate
from tests.calibrations import kept
from tests.conftest import make_data, write_radiographs
from tests.evaluation.simulated import calibrated
from tests.test_model_store import change_card

CONFIG = TrainingConfig(network="small", epochs=1, seed=3, batch_size=16, learning_rate=0.02,
                        options={}, precision="float32", test_share=0.5)  # fmt: skip


# Fitted on one half, judged on the other.


def test_an_overconfident_model_gets_a_temperature():
    found = calibrate(calibrated(np.random.default_rng(1), 400, temperature=0.4))
    assert found["helps"] and found["temperature"] == pytest.approx(2.5, rel=0.25)
    assert found["log_loss"]["change"]["high"] < 0
    assert found["log_loss"]["after"]["value"] < found["log_loss"]["before"]["value"]
    assert found["fitted_on"]["radiographs"] + found["judged_on"]["radiographs"] == 400
    json.dumps(found, allow_nan=False)


def test_a_calibrated_model_gets_none():
    found = calibrate(calibrated(np.random.default_rng(2), 400))
    assert not found["helps"] and found["temperature"] == pytest.approx(1, rel=0.25)
    assert found["log_loss"]["change"]["high"] >= 0


def test_too_few_radiographs_and_unknown_ones():
    found = calibrate(calibrated(np.random.default_rng(3), 30, temperature=0.2))
    assert found["temperature"] is None and found["log_loss"] is None and not found["helps"]
    assert "30 radiographs" in found["reason"]
    unnamed = calibrated(np.random.default_rng(1), 200, temperature=0.4)
    unnamed = replace(unnamed, radiographs=("",) * len(unnamed.files))
    found = calibrate(unnamed)
    assert found["fitted_on"]["radiographs"] is None and found["fitted_on"]["images"] > 90


# From a run to its card.


def sure_of(targets: np.ndarray, right: float, sure: float) -> np.ndarray:
    """Return outputs that are ``sure`` of a class that is the true one so often."""
    rng = np.random.default_rng(4)
    true = targets.argmax(axis=1)
    wrong = rng.random(len(true)) > right
    called = np.where(wrong, (true + rng.integers(1, 3, len(true))) % 3, true)
    return np.where(np.eye(3)[called] > 0, sure, (1 - sure) / 2)


def run_with(outputs, folder: Path, monkeypatch) -> tuple[dict, Path]:
    """Train, with outputs in place of the network's; return the card and the run."""
    monkeypatch.setattr(finishing, "predict", lambda _, test, *rest: outputs(test.targets))
    data = write_radiographs(make_data(folder / "data", 60))
    run = train(CONFIG, data, folder / "run")
    return json.loads((run / "card.json").read_text()), run


def test_a_temperature_that_helps_is_on_the_card(small_network, tmp_path, monkeypatch):
    card, run = run_with(lambda t: sure_of(t, 0.7, 0.98), tmp_path, monkeypatch)
    assert card["calibration"]["helps"] and card["calibration"]["temperature"] > 1.5
    assert "calibration_tried" not in card
    said = " ".join(card["statements"])
    assert f"calibrated by a temperature of {card['calibration']['temperature']:.2f}" in said
    assert "not calibrated" not in said
    # The table stays as the model gives it: everything else is measured of that.
    predictions = Predictions.read(run / "predictions.csv")
    assert predictions.probabilities.max(axis=1) == pytest.approx(0.98)
    assert calibrate(predictions) == card["calibration"]
    model = model_store.open_model(run)
    model_store.verify(model)
    assert model.temperature == card["calibration"]["temperature"]


def test_one_that_does_not_is_said_to_have_been_tried(small_network, tmp_path, monkeypatch):
    card, run = run_with(lambda t: sure_of(t, 0.7, 0.7), tmp_path, monkeypatch)
    assert card["calibration"] is None and not card["calibration_tried"]["helps"]
    said = " ".join(card["statements"])
    assert "The outputs were not calibrated." in said and "was tried" in said
    assert "did not help" in said
    assert model_store.open_model(run).temperature is None


def test_a_small_test_part_is_the_reason(small_data, small_network, tmp_path):
    run = train(CONFIG, small_data, tmp_path / "run")
    card = json.loads((run / "card.json").read_text())
    assert card["calibration"] is None and card["calibration_tried"]["temperature"] is None
    assert card["calibration_tried"]["reason"] in card["statements"]
    assert model_store.open_model(run).temperature is None


# From the card to what is served.


def test_what_is_served_is_flattened_exactly(small_data, small_network, tmp_path, full_size):
    run = train(CONFIG, small_data, tmp_path / "run")
    knee = read(full_size[0])
    plain = Classifier(model_store.open_model(run)).classify(knee, "gradcam")
    change_card(run, calibration=kept(2.0), calibration_tried=None)
    model = model_store.open_model(run)
    served = Classifier(model).classify(knee, "gradcam")
    before = np.array(list(plain.probabilities.values()))
    after = np.array(list(served.probabilities.values()))
    np.testing.assert_array_equal(after, apply_temperature(before, 2.0))
    np.testing.assert_allclose(after, np.sqrt(before) / np.sqrt(before).sum(), atol=1e-9)
    assert after.sum() == pytest.approx(1) and after.max() < before.max()
    assert list(after.argsort()) == list(before.argsort())
    assert served.calibrated and not plain.calibrated
    assert served.class_name == plain.class_name and tuple(served.probabilities) == CLASS_NAMES
    np.testing.assert_allclose(served.influence.heat, plain.influence.heat, atol=1e-4)


def test_old_cards_without_a_word_of_it_still_open(models, shipped):
    change_card(models / shipped.id, calibration=None, calibration_tried=None)
    model = model_store.get(shipped.id, models)
    assert "calibration" not in model.card and model.temperature is None


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("calibration", "says"),
    [
        *((kept(t), "its temperature") for t in (0, -1, 0.01, 1e9, NAN, INFINITY, True, "2", [2])),
        (kept(None), "its temperature"),
        (kept(method="platt"), "its method"),
        (kept(helps=False), "whether it helps"),
        (kept(fitted_on=None), "fitted on"),
        (kept(judged_on={"images": "many"}), "fitted on"),
        (kept(log_loss=None), "log loss"),
        (kept(log_loss={"before": {}, "after": {}, "change": {}}), "log loss"),
        (2.0, "its method"),
        (True, "its method"),
    ],
)
def test_a_calibration_that_cannot_be_used_is_refused(models, shipped, calibration, says):
    change_card(models / shipped.id, calibration=calibration)
    with pytest.raises(ModelError, match=f"calibration that cannot be used .*{says}"):
        model_store.get(shipped.id, models)


@pytest.mark.parametrize("tried", [kept(), kept(None, False, reason=None), kept(1e9, False), 7])
def test_nor_one_that_was_only_tried(models, shipped, tried):
    change_card(models / shipped.id, calibration_tried=tried)
    with pytest.raises(ModelError, match="calibration that cannot be used"):
        model_store.get(shipped.id, models)


# What is said.


def test_calibrated_on_copies_is_no_probability_of_a_new_patient():
    by_radiograph = {"protocol": "radiograph", "same_radiograph_share": 0.0}
    clean = " ".join(wording.calibration({"calibration": kept(), "split": by_radiograph}))
    assert "temperature of 2.00" in clean and "141 images of 69 radiographs" in clean
    assert "0.875 (95 % CI 0.750–1.000) before" in clean
    assert "probabilities for images like those of its test part" in clean
    copied = {"protocol": "random", "same_radiograph_share": 0.9}
    leaky = " ".join(wording.calibration({"calibration": kept(), "split": copied}))
    assert "90 % of the test images have copies in training" in leaky
    assert "too sure of a new patient" in leaky
    beside = wording.calibrated({"calibration": kept(), "split": copied})
    assert beside.startswith("Calibrated on its test part.") and "too sure" in beside
    assert "read none as a probability" in wording.calibrated(
        {"calibration": None, "split": copied}
    )


def test_what_was_tried_is_said():
    tried = {"calibration_tried": kept(1.5, False), "split": {}}
    said = " ".join(wording.calibration(tried))
    assert "temperature of 1.50 was tried" in said and "did not help" in said
    assert "by −0.062 (95 % CI −0.188 to 0.062)" in said
    said = wording.calibration({"calibration_tried": kept(None, False), "split": {}})
    assert said[1] == "The test part shows 30 radiographs; so none was fitted."
    assert len(wording.calibration({"calibration": None, "split": {}})) == 1
