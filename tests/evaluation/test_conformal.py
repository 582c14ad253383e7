"""Conformal sets: the quantile by hand, the coverage by simulation."""

import numpy as np
import pytest

from kop_core.evaluation.conformal import in_set, least_probability, prediction_sets
from tests.evaluation.simulated import calibrated, skilled, table


def with_truth_at(values, radiographs=None):
    """Predictions whose true class has these probabilities."""
    p = [[v, (1 - v) * 0.6, (1 - v) * 0.4] for v in values]
    return table([0] * len(values), p, radiographs)


def test_the_quantile_is_that_of_split_conformal_prediction():
    values = np.linspace(0.05, 0.95, 19)
    # The ceil((19 + 1) * 0.9) = 18th smallest score is the 18th largest probability.
    assert least_probability(with_truth_at(values), 0.9) == pytest.approx(np.sort(values)[1])
    assert least_probability(with_truth_at(values), 0.95) == pytest.approx(values.min())
    assert least_probability(with_truth_at(values), 0.96) == 0  # cannot be promised


def test_copies_weigh_as_one_radiograph():
    values = np.linspace(0.05, 0.95, 19)
    copies = np.repeat(values, 7)
    found = least_probability(with_truth_at(copies, np.repeat(range(19), 7)), 0.9)
    assert found == pytest.approx(least_probability(with_truth_at(values), 0.9))
    # One radiograph with a thousand files moves the quantile no more than any other.
    one = np.append(values, [0.01] * 1000)
    many = least_probability(with_truth_at(one, [*range(19), *[19] * 1000]), 0.9)
    assert many == pytest.approx(least_probability(with_truth_at(np.append(values, 0.01)), 0.9))


def test_what_is_in_a_set():
    p = np.array([[0.5, 0.3, 0.2], [0.4, 0.35, 0.25], [0.34, 0.33, 0.33]])
    assert in_set(p, 0.35).tolist() == [[True, False, False], [True, True, False], [False] * 3]


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_the_coverage_is_kept_on_average(coverage):
    """Clustered, of a model that is badly calibrated: the promise does not depend on it."""
    rng = np.random.default_rng(11)
    values = []
    for i in range(300):
        given = calibrated(rng, 80, most=6, temperature=0.3)
        values.append(prediction_sets(given, coverage, draws=1, seed=i).coverage.value)
    spread = np.std(values) / np.sqrt(len(values))
    # From 40 radiographs the promise holds within one part in 41, never under.
    assert coverage - 3 * spread <= np.mean(values) <= coverage + 1 / 41 + 3 * spread


def test_what_is_reported():
    found = prediction_sets(skilled(4, images=400, radiographs=150, skill=2), 0.9, draws=300)
    assert sum(e.value for e in found.sizes) == pytest.approx(1)
    mean = sum(count * e.value for count, e in enumerate(found.sizes))
    assert found.size.value == pytest.approx(mean)
    assert found.coverage.low < found.coverage.value < found.coverage.high
    assert set(found.by_class) == {"healthy", "osteopenia", "osteoporosis"}
    config = found.get_config()
    assert config["wished_coverage"] == 0.9 and set(config["set_sizes"]) == {
        "empty", "single", "double", "full",
    }  # fmt: skip
    wider = prediction_sets(skilled(4, images=400, radiographs=150, skill=2), 0.99, draws=10)
    assert wider.size.value > found.size.value


def test_a_sure_model_that_is_right_rules_classes_out():
    true = np.arange(90) % 3
    p = 0.02 + 0.94 * np.eye(3)[true]
    found = prediction_sets(table(true, p), 0.9, draws=100)
    assert found.sizes[1].value == 1 and found.coverage.value == 1
    assert found.sizes[0].value == 0 and 0 < found.sizes[0].high < 0.1  # not certainty
    assert found.size.value == 1


def test_what_cannot_be_promised_is_said():
    found = prediction_sets(skilled(5, images=100, radiographs=40), 0.99, draws=20)
    assert found.least_probability == 0 and found.sizes[3].value == 1
    assert "cannot be promised" in found.reason and "99 %" in found.reason
    few = prediction_sets(skilled(5, images=100, radiographs=12), 0.9, draws=20)
    assert few.least_probability is None and few.coverage.value is None
    assert "radiographs" in few.reason and few.get_config()["least_probability"] is None


@pytest.mark.parametrize("coverage", [0, 1, -1, 2, float("nan")])
def test_a_coverage_is_between_nothing_and_all(coverage):
    with pytest.raises(ValueError, match="coverage"):
        prediction_sets(skilled(), coverage, draws=10)
