"""Thresholds by hand; what they promise on other radiographs, by simulation."""

import numpy as np
import pytest
from sklearn.metrics import recall_score

from kop_core.evaluation.halves import halves
from kop_core.evaluation.operating import (
    LOW_BONE_MASS,
    OSTEOPOROSIS,
    choose_threshold,
    operating_points,
    score_of,
)
from tests.evaluation.simulated import calibrated, skilled, table


@pytest.mark.parametrize(
    ("wished", "threshold"),
    [(0.1, 0.95), (0.5, 0.55), (0.9, 0.15), (0.91, 0.05), (1.0, 0.05), (0.01, 0.95)],
)
def test_the_highest_threshold_that_finds_enough(wished, threshold):
    score = np.append(np.arange(10) / 10 + 0.05, [0.99, 0.01])
    has_it = np.array([True] * 10 + [False] * 2)
    assert choose_threshold(score, has_it, wished) == pytest.approx(threshold)


def test_scores_add_up_over_the_classes():
    given = table([0, 1], [[0.5, 0.2, 0.3], [0.1, 0.8, 0.1]])
    assert score_of(given, OSTEOPOROSIS).tolist() == [0.3, 0.1]
    assert score_of(given, LOW_BONE_MASS) == pytest.approx([0.5, 0.9])


def test_chosen_on_one_half_and_measured_on_the_other():
    given = skilled(3, images=400, radiographs=150)
    cut = halves(given, 1)
    points = operating_points(given, (0.8, 0.95), draws=100, seed=1)
    assert [(p.condition.name, p.wished) for p in points] == [
        ("osteoporosis", 0.8), ("osteoporosis", 0.95), ("low_bone_mass", 0.8),
        ("low_bone_mass", 0.95),
    ]  # fmt: skip
    for point in points:
        least = 2 if point.condition is OSTEOPOROSIS else 1
        chosen = score_of(cut.choosing, point.condition) >= point.threshold
        has_it = cut.choosing.true >= least
        assert recall_score(has_it, chosen) >= point.wished
        higher = score_of(cut.choosing, point.condition) > point.threshold
        assert recall_score(has_it, higher) < point.wished
        called, has_it = (
            score_of(cut.measuring, point.condition) >= point.threshold,
            cut.measuring.true >= least,
        )
        assert point.sensitivity.value == pytest.approx(recall_score(has_it, called))
        assert point.specificity.value == pytest.approx(recall_score(~has_it, ~called))
        assert point.with_it + point.without_it == len(cut.measuring.files)
        assert point.sensitivity.low <= point.sensitivity.value <= point.sensitivity.high
    assert points[1].threshold <= points[0].threshold
    assert points[1].specificity.value <= points[0].specificity.value


def test_the_wished_sensitivity_is_met_on_average():
    rng = np.random.default_rng(8)
    found = [
        operating_points(calibrated(rng, 200, most=3), (0.9,), draws=10, seed=i) for i in range(120)
    ]
    for place in range(2):
        mean = np.mean([points[place].sensitivity.value for points in found])
        assert mean == pytest.approx(0.9, abs=0.02)


def test_too_few_radiographs_with_it():
    true = np.array([0] * 60 + [1] * 30 + [2] * 12)
    points = operating_points(table(true, np.eye(3)[true]), (0.9,), draws=20)
    assert points[0].threshold is None and points[0].sensitivity.value is None
    assert (
        "6 with and" in points[0].reason and "10 radiographs with osteoporosis" in points[0].reason
    )
    assert points[1].threshold is not None and points[1].reason is None
    assert points[0].get_config()["threshold"] is None


@pytest.mark.parametrize("wished", [0, 1.1, -0.5, float("nan")])
def test_a_sensitivity_is_a_share(wished):
    with pytest.raises(ValueError, match="sensitivity"):
        operating_points(skilled(), (wished,), draws=10)
