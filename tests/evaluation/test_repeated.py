"""Figures over the repeats of a cross-validation."""

from __future__ import annotations

import numpy as np
import pytest

from kop_core.errors import DataSetError
from kop_core.evaluation import Predictions, evaluate
from kop_core.evaluation.comparison import paired_differences
from kop_core.evaluation.repeated import by_radiograph, differences, figures

METRICS = ("macro_roc_auc", "balanced_accuracy", "macro_f1", "accuracy")


def table(seed: int, skill: float = 1.0, radiographs: int = 40) -> Predictions:
    """Return made-up predictions of two files a radiograph, shuffled by the seed."""
    rng = np.random.default_rng(seed)
    true = np.repeat(np.arange(radiographs) % 3, 2)
    names = [f"R{place // 2}" for place in range(2 * radiographs)]
    logits = rng.normal(size=(len(true), 3)) + skill * np.eye(3)[true]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    order = rng.permutation(len(true))
    return Predictions(
        tuple(f"f{i}.png" for i in order), tuple(names[i] for i in order), true[order], p[order]
    )


def test_one_repeat_is_an_evaluation():
    one = table(1)
    found, alone = figures([one], METRICS), evaluate(one)
    for name in METRICS:
        assert found[name].mean.get_config() == pytest.approx(alone.metrics[name].get_config())
        assert found[name].range is None


def test_several_repeats_are_their_mean_with_a_narrower_interval():
    repeats = [table(seed) for seed in range(5)]
    found = figures(repeats, METRICS)
    for name in METRICS:
        each = [evaluate(one, draws=1).metrics[name].value for one in repeats]
        assert found[name].each == pytest.approx(each)
        assert found[name].mean.value == pytest.approx(np.mean(each))
        assert found[name].range == pytest.approx((min(each), max(each)))
        alone = figures(repeats[:1], METRICS)[name].mean
        mean = found[name].mean
        assert mean.low < mean.value < mean.high
        assert mean.high - mean.low < alone.high - alone.low


def test_differences_are_paired():
    good, bad = [table(s, 2.0) for s in (1, 2)], [table(s, 0.5) for s in (3, 4)]
    found = differences(good, bad, METRICS)
    single = paired_differences(good[0], bad[0], METRICS)
    alone = differences(good[:1], bad[:1], METRICS)
    for name in METRICS:
        assert alone[name].mean.get_config() == pytest.approx(single[name].get_config())
        ours, theirs = figures(good, METRICS)[name], figures(bad, METRICS)[name]
        assert found[name].mean.value == pytest.approx(ours.mean.value - theirs.mean.value)
        assert found[name].mean.low > 0
    same = differences(good, good, METRICS)["accuracy"].mean
    assert same.value == 0 and same.low < 0 < same.high


def test_the_interval_holds_the_truth():
    # Skill zero: the true AUC is a half, whatever the repeats.
    held = 0
    for seed in range(100):
        repeats = [table(1000 * seed + r, 0.0, 60) for r in range(2)]
        mean = figures(repeats, METRICS[:1], draws=300)["macro_roc_auc"].mean
        held += mean.low <= 0.5 <= mean.high
    assert 88 <= held <= 100


def test_a_radiograph_counts_once():
    p = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8], [0.0, 0.1, 0.9]])
    given = Predictions(("a", "b", "c", "d"), ("R1", "R1", "R2", ""), np.array([0, 0, 2, 1]), p)
    found = by_radiograph(given)
    assert found.files == ("R1/0", "R2/2", "d/1") or set(found.files) == {"R1/0", "R2/2", "d/1"}
    rows = dict(zip(found.files, found.probabilities))
    assert rows["R1/0"] == pytest.approx([0.4, 0.5, 0.1])
    assert evaluate(found, draws=10).metrics["accuracy"].value == pytest.approx(1 / 3)


def test_a_conflicted_radiograph_is_right_under_one_label_at_most():
    p = np.array([[0.9, 0.1, 0.0], [0.5, 0.2, 0.3]])
    found = by_radiograph(Predictions(("a", "b"), ("R1", "R1"), np.array([0, 2]), p))
    assert len(found.files) == 2
    assert found.probabilities == pytest.approx(np.array([[0.7, 0.15, 0.15]] * 2))
    assert (found.predicted == found.true).tolist() == [True, False]
    assert len(set(found.groups)) == 1


def test_what_is_not_paired_is_refused():
    with pytest.raises(DataSetError, match="no predictions"):
        figures([], METRICS)
    with pytest.raises(DataSetError, match="not of the same images"):
        figures([table(1), table(1, radiographs=39)], METRICS)
    with pytest.raises(DataSetError, match="not paired"):
        differences([table(1)], [table(1), table(2)], METRICS)
    one = table(1)
    other = Predictions(one.files, one.radiographs, (one.true + 1) % 3, one.probabilities)
    with pytest.raises(DataSetError, match="differently"):
        differences([one], [other], METRICS)
