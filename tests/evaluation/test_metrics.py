"""Metrics against scikit-learn and by hand; intervals by simulation."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn import metrics as sk

from kop_core.classes import CLASS_NAMES
from kop_core.evaluation import Predictions, evaluate, intervals, metrics
from tests.conftest import ROOT
from tests.evaluation.simulated import calibrated, skilled, table


def expected(given, weight=None):
    """Every metric by scikit-learn."""
    true, called, p = given.true, given.predicted, given.probabilities
    kept = {"sample_weight": weight}
    found = {
        "accuracy": sk.accuracy_score(true, called, **kept),
        "balanced_accuracy": sk.balanced_accuracy_score(true, called, **kept),
        "quadratic_weighted_kappa": sk.cohen_kappa_score(true, called, weights="quadratic", **kept),
        "brier_score": np.average(((p - np.eye(3)[true]) ** 2).sum(axis=1), weights=weight),
    }
    for average in ("macro", "weighted"):
        named = ("precision", "recall", "f1")
        values = sk.precision_recall_fscore_support(true, called, average=average, **kept)
        found |= {f"{average}_{n}": v for n, v in zip(named, values)}
    by_class = sk.precision_recall_fscore_support(true, called, **kept)
    for place, name in enumerate(CLASS_NAMES):
        one = true == place
        found |= {f"{n}_{name}": by_class[i][place] for i, n in enumerate(named)}
        found[f"specificity_{name}"] = sk.recall_score(~one, called != place, **kept)
        found[f"roc_auc_{name}"] = sk.roc_auc_score(one, p[:, place], **kept)
        found[f"average_precision_{name}"] = sk.average_precision_score(one, p[:, place], **kept)
    for mean in ("specificity", "roc_auc", "average_precision"):
        found[f"macro_{mean}"] = np.mean([found[f"{mean}_{n}"] for n in CLASS_NAMES])
    return found


@pytest.mark.parametrize("decimals", [None, 1])
@pytest.mark.parametrize("seed", range(4))
def test_against_scikit_learn(seed, decimals):
    given = skilled(seed)
    if decimals:  # many equal scores
        given = table(given.true, np.round(given.probabilities, decimals), given.groups)
    found = evaluate(given, draws=20).metrics
    for name, value in expected(given).items():
        assert found[name].value == pytest.approx(value, abs=1e-12), name
    assert set(found) - set(expected(given)) == {"expected_calibration_error"}
    assert found["macro_recall"] == found["balanced_accuracy"]
    assert found["weighted_recall"] == found["accuracy"]
    if not decimals:  # scikit-learn's own macro area wants rows that sum to exactly 1
        area = sk.roc_auc_score(given.true, given.probabilities, multi_class="ovr", average="macro")
        assert found["macro_roc_auc"].value == pytest.approx(area)


@pytest.mark.parametrize("seed", range(3))
def test_every_draw_against_scikit_learn(seed):
    given = skilled(seed, decimals=2)
    group = given.groups
    counts = np.zeros((int(group.max()) + 1, 3, 3))
    np.add.at(counts, (group, given.true, given.predicted), 1)
    (times,) = intervals.times_drawn(len(counts), 3, seed)
    drawn = metrics.of_draws(metrics.measures_of(given, group, counts), times)
    for place in range(3):
        for name, value in expected(given, times[place][group]).items():
            assert drawn[name][place] == pytest.approx(value, abs=1e-12), name


def test_the_brier_score_is_scikit_learns_where_it_has_one():
    given = skilled(5)
    try:
        value = sk.brier_score_loss(given.true, given.probabilities, scale_by_half=False)
    except TypeError:
        pytest.skip("scikit-learn below 1.7 knows two classes only")
    found = evaluate(given, draws=20).metrics["brier_score"]
    assert found.value == pytest.approx(value)


def test_by_hand():
    true = np.array([0, 0, 0, 1, 1, 2])
    called = np.array([0, 0, 1, 1, 2, 2])
    given = Predictions(tuple("abcdef"), ("",) * 6, true, np.eye(3)[called])
    found = evaluate(given, draws=20)
    assert found.confusion.tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    value = {name: e.value for name, e in found.metrics.items()}
    assert value["accuracy"] == pytest.approx(4 / 6)
    assert value["precision_osteopenia"] == pytest.approx(1 / 2)
    assert value["recall_healthy"] == pytest.approx(2 / 3)
    assert value["f1_osteoporosis"] == pytest.approx(2 / 3)
    assert value["macro_precision"] == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
    assert value["weighted_precision"] == pytest.approx((3 * 1 + 2 / 2 + 1 / 2) / 6)
    assert value["macro_specificity"] == pytest.approx((1 + 3 / 4 + 4 / 5) / 3)
    # Two of six wrong by one class; by chance (3,2,1) x (2,2,2) / 6 gives 2 + 4/3 + 5/3 = 6
    # squared steps of which 2 were seen.
    chance = sum(
        (i - j) ** 2 * t * c for i, t in enumerate((3, 2, 1)) for j, c in enumerate((2, 2, 2))
    )
    assert value["quadratic_weighted_kappa"] == pytest.approx(1 - 2 / (chance / 6))
    assert value["brier_score"] == pytest.approx(2 * 2 / 6)
    assert value["expected_calibration_error"] == pytest.approx(2 / 6)
    assert found.shares[0][1].value == pytest.approx(1 / 3)
    assert not found.by_radiograph and found.get_config()["radiographs"] is None
    assert "files" in found.get_config()["interval"]


def test_the_calibration_error_by_hand():
    p = [[0.62, 0.38, 0], [0.66, 0.34, 0], [0.05, 0.95, 0], [0.9, 0.05, 0.05]]
    found = evaluate(table([0, 1, 1, 0], p), draws=20).metrics["expected_calibration_error"]
    # Bin over 60 %: two images, mean 0.64, half right; (0.8, 0.9]: 0.90 right; the last: 0.95.
    assert found.value == pytest.approx((2 * abs(0.64 - 0.5) + abs(0.9 - 1) + abs(0.95 - 1)) / 4)


def test_kappa_may_be_worse_than_chance():
    true = np.array([0, 0, 0, 2, 2, 2] * 5)
    found = evaluate(table(true, np.eye(3)[2 - true])).metrics["quadratic_weighted_kappa"]
    assert found.value == pytest.approx(-1) and found.low < -0.9 and found.high < 0


def test_what_is_not_defined_is_none():
    given = Predictions(("a", "b"), ("R1", "R2"), np.array([0, 0]), np.eye(3)[[0, 0]])
    found = evaluate(given, draws=20).metrics
    for name in ("recall_osteopenia", "roc_auc_healthy", "average_precision_healthy",
                 "average_precision_osteopenia", "macro_precision", "macro_recall",
                 "quadratic_weighted_kappa"):  # fmt: skip
        assert found[name] == intervals.UNDEFINED, name
    assert found["accuracy"].value == found["weighted_precision"].value == 1


def test_no_mistake_is_no_certainty():
    true = np.arange(30) % 3
    found = evaluate(table(true, np.eye(3)[true]), draws=50).metrics
    # Clopper-Pearson for 30 of 30 and for 10 of 10: 88.4 % and 69.2 % (R's binom.test)
    assert found["accuracy"].low == pytest.approx(0.8843, abs=1e-4)
    assert found["recall_healthy"].low == pytest.approx(0.6915, abs=1e-4)
    assert found["accuracy"].high == 1
    assert found["quadratic_weighted_kappa"].low == pytest.approx(1 - (1 - 0.8843) * 1.5, abs=1e-4)
    assert found["brier_score"].high == pytest.approx(2 * (1 - 0.8843), abs=1e-4)
    assert found["expected_calibration_error"].high == pytest.approx(1 - 0.8843, abs=1e-4)
    assert found["macro_average_precision"].low == pytest.approx(0.6915, abs=1e-4)


def test_every_interval_holds_its_figure():
    for seed in range(5):
        for name, e in evaluate(
            skilled(seed, images=40, radiographs=15), draws=200
        ).metrics.items():
            assert e.low <= e.value <= e.high, name


def test_copies_do_not_narrow_the_interval():
    base = skilled(images=60, radiographs=60)
    base = table(base.true, base.probabilities)
    copies = Predictions(
        tuple(f"c{i}" for i in range(600)),
        base.radiographs * 10,
        np.tile(base.true, 10),
        np.tile(base.probabilities, (10, 1)),
    )
    one, ten = (evaluate(p).metrics for p in (base, copies))
    blind = Predictions(copies.files, ("",) * 600, copies.true, copies.probabilities)
    naive = evaluate(blind).metrics
    for name in ("accuracy", "macro_roc_auc", "macro_average_precision", "brier_score",
                 "quadratic_weighted_kappa", "weighted_f1"):  # fmt: skip
        assert ten[name].value == pytest.approx(one[name].value)
        width, wide = ten[name].high - ten[name].low, one[name].high - one[name].low
        assert width == pytest.approx(wide, rel=0.1), name
        assert naive[name].high - naive[name].low < 0.5 * wide, name


def test_intervals_hold_the_truth_as_often_as_they_say():
    """500 test parts with copies: drawing files holds the truth far too rarely."""
    rng = np.random.default_rng(7)
    names = ("accuracy", "recall_osteopenia", "precision_healthy", "macro_recall", "brier_score",
             "macro_roc_auc", "macro_average_precision", "quadratic_weighted_kappa")  # fmt: skip
    truth = evaluate(calibrated(np.random.default_rng(0), 200_000), draws=1).metrics
    held, naive, rounds = dict.fromkeys(names, 0), dict.fromkeys(names, 0), 500
    for _ in range(rounds):
        given = calibrated(rng, 120, most=6)
        files = Predictions(given.files, ("",) * len(given.files), given.true, given.probabilities)
        for kept, table_ in ((held, given), (naive, files)):
            found = evaluate(table_, draws=200, seed=1).metrics
            for name in names:
                kept[name] += found[name].low <= truth[name].value <= found[name].high
    for name in names:
        assert 0.92 <= held[name] / rounds <= 0.98, (name, held[name])
        assert naive[name] / rounds < 0.85, (name, naive[name])


@pytest.mark.parametrize("temperature", [1.0, 0.6, 0.4])
def test_the_interval_of_the_calibration_error_holds_the_truth(temperature):
    """Also where there is none: chance only ever adds to a calibration error."""
    rng = np.random.default_rng(3)
    name = "expected_calibration_error"
    many = calibrated(np.random.default_rng(0), 200_000, temperature=temperature)
    truth = evaluate(many, draws=1).metrics[name].value
    held = 0
    for _ in range(200):
        given = calibrated(rng, 100, most=3, temperature=temperature)
        found = evaluate(given, draws=200, seed=1).metrics[name]
        held += found.low <= truth <= found.high
    assert held / 200 >= 0.93


def test_draws_do_not_depend_on_the_blocks(monkeypatch):
    given = skilled(2)
    whole = evaluate(given, draws=300, seed=5)
    monkeypatch.setattr(intervals, "_BLOCK", 1000)
    assert evaluate(given, draws=300, seed=5).get_config() == whole.get_config()
    assert evaluate(given, draws=300, seed=6).get_config() != whole.get_config()


def test_measuring_needs_neither_scikit_learn_nor_scipy():
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from kop_core.evaluation import Predictions, evaluate\nimport kop_core.model_store\n"
        "evaluate(Predictions.read(Path('models/paper-random/predictions.csv')), draws=1)\n"
        "assert not {'sklearn', 'scipy', 'plotly', 'tensorflow'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_card_keeps_shares_only():
    """A kappa may be negative and a Brier score above 1; a card's figures are shares."""
    true = np.array([0, 0, 0, 2, 2, 2] * 5)
    found = evaluate(table(true, np.eye(3)[2 - true]), draws=50)
    kept = found.get_config()["metrics"]
    assert found.metrics["quadratic_weighted_kappa"].value < 0
    assert found.metrics["brier_score"].value > 1
    assert len(kept) == 19 and set(kept) < set(found.metrics)
    for values in kept.values():
        assert all(v is None or 0 <= v <= 1 for v in values.values())
