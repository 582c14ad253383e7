"""Metrics against scikit-learn and by hand; intervals by simulation."""

import numpy as np
import pytest
from sklearn import metrics as sk

from kop_core.classes import CLASS_NAMES
from kop_core.evaluation import Predictions, evaluate
from kop_core.evaluation.metrics import _areas


def predictions(seed=0, images=120, radiographs=40, skill=1.0) -> Predictions:
    rng = np.random.default_rng(seed)
    of_group = rng.integers(0, 3, radiographs)
    group = rng.integers(0, radiographs, images)
    true = of_group[group]
    logits = rng.normal(0, 1, (images, 3)) + skill * np.eye(3)[true]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions(
        tuple(f"f{i}" for i in range(images)), tuple(f"R{g}" for g in group), true, p
    )


def test_against_scikit_learn():
    given = predictions()
    found = evaluate(given, draws=50).metrics
    true, called, p = given.true, given.predicted, given.probabilities
    assert found["accuracy"].value == pytest.approx(sk.accuracy_score(true, called))
    assert found["balanced_accuracy"].value == pytest.approx(
        sk.balanced_accuracy_score(true, called)
    )
    precision, recall, f1, _ = sk.precision_recall_fscore_support(true, called)
    for place, name in enumerate(CLASS_NAMES):
        assert found[f"precision_{name}"].value == pytest.approx(precision[place])
        assert found[f"recall_{name}"].value == pytest.approx(recall[place])
        assert found[f"f1_{name}"].value == pytest.approx(f1[place])
        assert found[f"specificity_{name}"].value == pytest.approx(
            sk.recall_score(true != place, called != place)
        )
        assert found[f"roc_auc_{name}"].value == pytest.approx(
            sk.roc_auc_score(true == place, p[:, place])
        )
    assert found["macro_f1"].value == pytest.approx(f1.mean())
    assert found["macro_roc_auc"].value == pytest.approx(
        sk.roc_auc_score(true, p, multi_class="ovr", average="macro")
    )


def test_weighted_areas_with_ties_against_scikit_learn():
    given = predictions(seed=3)
    p = np.round(given.probabilities, 1)
    given = Predictions(given.files, given.radiographs, given.true, p)
    weights = np.random.default_rng(1).integers(0, 4, len(given.true)).astype(float)
    for place, area in enumerate(_areas(given)(weights)[1:]):
        expected = sk.roc_auc_score(given.true == place, p[:, place], sample_weight=weights)
        assert area == pytest.approx(expected)


def test_by_hand():
    true = np.array([0, 0, 0, 1, 1, 2])
    called = np.array([0, 0, 1, 1, 2, 2])
    given = Predictions(tuple("abcdef"), ("",) * 6, true, np.eye(3)[called])
    found = evaluate(given, draws=20)
    assert found.confusion.tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert found.metrics["accuracy"].value == pytest.approx(4 / 6)
    assert found.metrics["precision_osteopenia"].value == pytest.approx(1 / 2)
    assert found.metrics["recall_healthy"].value == pytest.approx(2 / 3)
    assert found.metrics["f1_osteoporosis"].value == pytest.approx(2 / 3)
    assert not found.by_radiograph and found.get_config()["radiographs"] is None


def test_what_is_not_defined_is_none():
    given = Predictions(("a", "b"), ("R1", "R2"), np.array([0, 0]), np.eye(3)[[0, 0]])
    found = evaluate(given, draws=20).metrics
    assert found["recall_osteopenia"].value is None
    assert found["roc_auc_healthy"].value is None
    assert found["accuracy"].value == 1


def test_no_mistake_is_no_certainty():
    images = 30
    true = np.arange(images) % 3
    given = Predictions(
        tuple(map(str, range(images))), tuple(f"R{i}" for i in range(images)), true, np.eye(3)[true]
    )
    found = evaluate(given, draws=50).metrics
    # Clopper-Pearson for 30 of 30 and for 10 of 10: 88.4 % and 69.2 % (R's binom.test)
    assert found["accuracy"].low == pytest.approx(0.8843, abs=1e-4)
    assert found["recall_healthy"].low == pytest.approx(0.6915, abs=1e-4)
    assert found["accuracy"].high == 1


def test_copies_do_not_narrow_the_interval():
    base = predictions(images=60, radiographs=60)
    base = Predictions(base.files, tuple(f"R{i}" for i in range(60)), base.true, base.probabilities)
    copies = Predictions(
        tuple(f"c{i}" for i in range(600)),
        base.radiographs * 10,
        np.tile(base.true, 10),
        np.tile(base.probabilities, (10, 1)),
    )
    one, ten = (evaluate(p).metrics["accuracy"] for p in (base, copies))
    assert ten.value == pytest.approx(one.value)
    assert ten.high - ten.low == pytest.approx(one.high - one.low, rel=0.1)
    blind = Predictions(copies.files, ("",) * 600, copies.true, copies.probabilities)
    naive = evaluate(blind).metrics["accuracy"]
    assert naive.high - naive.low < 0.5 * (one.high - one.low)


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(7)
    held, rounds = 0, 500
    for _ in range(rounds):
        # 60 radiographs of 1 to 4 images; all images of one are right or wrong together.
        sizes = rng.integers(1, 5, 60)
        right = rng.random(60) < 0.8
        group = np.repeat(np.arange(60), sizes)
        true = rng.integers(0, 3, 60)[group]
        called = np.where(right[group], true, (true + 1) % 3)
        given = Predictions(
            tuple(map(str, range(len(group)))), tuple(f"R{g}" for g in group), true,
            np.eye(3)[called],
        )  # fmt: skip
        found = evaluate(given, draws=200, seed=1).metrics["accuracy"]
        held += found.low <= 0.8 <= found.high
    assert 0.92 <= held / rounds <= 0.98
