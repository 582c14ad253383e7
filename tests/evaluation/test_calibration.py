"""Reliability by hand; temperatures that are known."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.metrics import log_loss

from kop_core.evaluation.calibration import (
    apply_temperature,
    calibration,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)
from tests.evaluation.simulated import calibrated, softmax, table


def test_reliability_by_hand():
    p = [[0.62, 0.38, 0], [0.66, 0.34, 0], [0.05, 0.95, 0], [0.9, 0.05, 0.05], [1, 0, 0]]
    bins = reliability(table([0, 1, 1, 0, 2], p, [1, 1, 2, 3, 4]), draws=200)
    assert len(bins) == 10 and [b.images for b in bins] == [0, 0, 0, 0, 0, 0, 2, 0, 1, 2]
    assert [b.radiographs for b in bins if b.images] == [1, 1, 2]
    assert bins[6].confidence == pytest.approx(0.64)
    assert bins[6].right.value == 0.5 and bins[8].right.value == 1
    assert bins[9].confidence == pytest.approx(0.975) and bins[9].right.value == 0.5
    assert bins[0].confidence is None and bins[0].right.value is None
    assert bins[9].right.low < 0.5 < bins[9].right.high
    assert bins[8].right.low < 0.05  # one radiograph is no evidence


def test_bins_hold_every_image():
    given = calibrated(np.random.default_rng(0), 300)
    assert sum(b.images for b in reliability(given, draws=10)) == 300
    assert sum(b.images for b in reliability(given, bins=15, draws=10)) == 300


def test_a_temperature_divides_the_logits():
    logits = np.random.default_rng(0).normal(0, 2, (50, 3))
    for temperature in (0.3, 1.0, 2.5):
        found = apply_temperature(softmax(logits), temperature)
        np.testing.assert_allclose(found, np.exp(log_softmax(logits / temperature, axis=1)))
        assert (found.argmax(axis=1) == logits.argmax(axis=1)).all()
    np.testing.assert_allclose(apply_temperature(np.array([1.0, 0, 0]), 1), [1, 0, 0], atol=1e-5)
    np.testing.assert_allclose(apply_temperature(np.eye(3), 1e6), 1 / 3, atol=1e-4)


@pytest.mark.parametrize("temperature", [0, -1, float("nan")])
def test_a_temperature_is_above_zero(temperature):
    with pytest.raises(ValueError, match="above 0"):
        apply_temperature(np.eye(3), temperature)


def test_the_likelihood_is_scikit_learns():
    given = calibrated(np.random.default_rng(2), 200)
    mean = negative_log_likelihood(given.probabilities, given.true).mean()
    assert mean == pytest.approx(log_loss(given.true, given.probabilities, labels=[0, 1, 2]))


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_is_found_again(temperature):
    given = calibrated(np.random.default_rng(3), 20_000, temperature=temperature)
    found = fit_temperature(given.probabilities, given.true)
    assert found == pytest.approx(1 / temperature, rel=0.05)


def test_overconfidence_is_mended_on_radiographs_that_it_was_not_fitted_on():
    given = calibrated(np.random.default_rng(4), 600, most=3, temperature=0.4)
    found = calibration(given, draws=500).temperature
    assert found.value == pytest.approx(2.5, rel=0.25)
    assert found.helps and not found.at_limit
    for name in ("negative_log_likelihood", "brier_score", "expected_calibration_error"):
        assert found.after[name].value < found.before[name].value
        assert found.change[name].value == pytest.approx(
            found.after[name].value - found.before[name].value
        )
        assert found.change[name].high < 0
    measured = sum(b.images for b in found.bins_after)
    assert measured == calibration(given, draws=10).sizes["measuring_images"] < len(given.files)


def test_what_is_calibrated_is_seldom_said_to_be_mended():
    """A temperature fitted to noise lowers the loss elsewhere about one time in three."""
    rng = np.random.default_rng(5)
    found = [calibration(calibrated(rng, 120, most=2), draws=100).temperature for _ in range(200)]
    lower = sum(t.change["negative_log_likelihood"].value < 0 for t in found)
    assert sum(t.helps for t in found) <= 12 and lower > 40


def test_the_rule_for_help_counts_radiographs():
    """Twenty copies of each file are no more evidence than one."""
    base = calibrated(np.random.default_rng(12), 120, temperature=0.8)
    many = table(
        np.tile(base.true, 20), np.tile(base.probabilities, (20, 1)), list(range(120)) * 20
    )
    one, twenty = (calibration(p, draws=500).temperature for p in (base, many))
    loss = "negative_log_likelihood"
    width = [t.change[loss].high - t.change[loss].low for t in (one, twenty)]
    assert width[1] == pytest.approx(width[0], rel=0.5)  # other halves, but no twentieth


def test_no_mistake_gives_no_temperature_to_use():
    true = np.arange(120) % 3
    found = calibration(table(true, 0.1 + 0.7 * np.eye(3)[true]), draws=100).temperature
    assert found.at_limit and not found.helps


def test_too_few_radiographs():
    given = calibrated(np.random.default_rng(6), 39, most=4)
    found = calibration(given, draws=50)
    assert found.temperature is None and "39 radiographs" in found.reason
    assert found.get_config()["temperature"] is None and sum(b.images for b in found.bins)
    assert calibration(calibrated(np.random.default_rng(6), 60), draws=50).temperature
