import numpy as np
import pytest
from scipy import stats

from kop_core.evaluation import intervals
from kop_core.evaluation.intervals import (
    UNDEFINED,
    Estimate,
    Scale,
    ends,
    estimate,
    ratios,
    times_drawn,
)


def test_each_draw_takes_as_many_radiographs_as_there_are():
    (times,) = times_drawn(7, 50, seed=1)
    assert times.shape == (50, 7) and (times.sum(axis=1) == 7).all() and (times >= 0).all()
    assert len(np.unique(times, axis=0)) > 40


def test_blocks_do_not_change_the_draws(monkeypatch):
    (whole,) = times_drawn(7, 50, seed=1)
    monkeypatch.setattr(intervals, "_BLOCK", 70)
    blocks = list(times_drawn(7, 50, seed=1))
    assert len(blocks) == 5
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


def test_ratios_by_hand():
    group = np.array([0, 0, 1, 2])
    hit, asked = np.array([True, False, True, False]), np.array([True, True, True, False])
    one, none = ratios([hit, hit], [asked, np.zeros(4)], group, draws=500)
    assert one.value == pytest.approx(2 / 3) and none == UNDEFINED
    # Radiograph 2 is never asked: a draw is right in 1/2 (only 0), 1 (only 1) or between.
    assert one.low == pytest.approx(0.5) and one.high == 1.0


def test_whole_radiographs_are_drawn():
    rng = np.random.default_rng(0)
    hit = rng.random(50) < 0.6
    (one,) = ratios([hit], [np.ones(50)], np.arange(50))
    (copies,) = ratios([np.repeat(hit, 9)], [np.ones(450)], np.repeat(np.arange(50), 9))
    (blind,) = ratios([np.repeat(hit, 9)], [np.ones(450)], np.arange(450))
    assert copies == one
    assert blind.high - blind.low < 0.45 * (one.high - one.low)


def test_the_interval_of_a_share_is_about_that_of_the_binomial():
    hit = np.arange(400) < 120
    (found,) = ratios([hit], [np.ones(400)], np.arange(400))
    half = 1.96 * np.sqrt(0.3 * 0.7 / 400)
    assert found.low == pytest.approx(0.3 - half, abs=0.01)
    assert found.high == pytest.approx(0.3 + half, abs=0.01)


def test_few_radiographs_are_allowed_for():
    """As Student's quantile is to the normal one, and more: a bootstrap draws too narrowly."""
    samples = np.random.default_rng(0).normal(size=200_000)
    for support in (5, 20, 1000):
        wide = stats.t.ppf(0.975, support - 1) * np.sqrt(support / (support - 1))
        assert ends(samples, support) == pytest.approx((-wide, wide), rel=0.03)
    assert ends(samples, 1) == pytest.approx((-1.96, 1.96), rel=0.03)
    z = stats.norm.ppf(0.975)
    for freedom in (4, 9, 33, 500):
        assert intervals._student(z, freedom) == pytest.approx(
            stats.t.ppf(0.975, freedom), rel=5e-3
        )


@pytest.mark.parametrize("radiographs", [20, 34])
def test_intervals_hold_the_truth_on_few_radiographs(radiographs):
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(600):
        sizes = rng.integers(1, 6, radiographs)
        group = np.repeat(np.arange(radiographs), sizes)
        hit = rng.random(len(group)) < rng.beta(1.2, 0.8, radiographs)[group]
        (found,) = ratios([hit], [np.ones(len(group))], group, draws=400)
        held += found.low <= 0.6 <= found.high
    assert 0.92 <= held / 600 <= 0.98


def test_ends_of_a_scale_are_no_certainty():
    same = np.ones(100)
    assert estimate(1.0, same, 30).low == pytest.approx(0.025 ** (1 / 30))
    assert estimate(0.0, 0 * same, 30).high == pytest.approx(1 - 0.025 ** (1 / 30))
    assert estimate(0.0, 0 * same, 30, Scale(None, None)) == Estimate(0.0, 0.0, 0.0)
    assert estimate(3.0, 3 * same, 10, Scale(0, 3, 3)).low == pytest.approx(3 * 0.025 ** (1 / 10))
    assert estimate(float("nan"), same, 5) == UNDEFINED
    assert estimate(0.5, np.full(5, np.nan), 5) == UNDEFINED


def test_one_radiograph_is_no_certainty():
    hit, group = np.array([1, 1, 1, 0, 1, 0]), np.array([0, 0, 0, 0, 1, 2])
    asked = [group == 0, group > 0]
    first, rest = ratios([hit * one for one in asked], asked, group, draws=500)
    assert first == Estimate(0.75, 0.0, 1.0) and rest == Estimate(0.5, 0.0, 1.0)
    # Of 20 radiographs that are each half right every draw says the same, too.
    beyond = 1 - 0.025 ** (1 / 20)
    (half,) = ratios([np.tile([1, 0], 20)], [np.ones(40)], np.repeat(np.arange(20), 2), draws=50)
    assert (half.low, half.high) == (pytest.approx(0.5 - beyond), pytest.approx(0.5 + beyond))
    same = np.full(50, 0.3)
    assert estimate(0.3, same, 1, Scale(None, 1.0)).low == pytest.approx(0.3 - 0.975)
    assert estimate(0.3, same, 1, Scale(0.0, None)).high == pytest.approx(0.3 + 0.975)
    assert estimate(0.3, same, 1, Scale(None, None)) == Estimate(0.3, 0.3, 0.3)
