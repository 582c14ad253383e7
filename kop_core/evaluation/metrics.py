"""How good a model was on its test part, every figure with a 95 % interval.

Accuracy, precision, recall and F1 are the paper's equations 4 to 7. Intervals come from
a bootstrap over radiographs (see :mod:`kop_core.evaluation.intervals`).

What is drawn thousands of times is vectorised over the draws here; tests hold every
figure equal to scikit-learn's, with and without weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kop_core.classes import CLASS_NAMES
from kop_core.evaluation import intervals
from kop_core.evaluation.intervals import DRAWS, SHARE, Estimate, Scale
from kop_core.evaluation.predictions import Predictions

BINS = 10
BRIER_SCORE = (
    "Mean over the images of the squared differences between the three probabilities and the "
    "truth, summed over the classes (Brier 1950): 0 is perfect, 2 is certain and wrong, 0.67 is a "
    "third for each class."
)

BRIER_SCALE = Scale(0.0, 2.0, 2.0)

# What a model's card keeps.
_BY_CLASS_ON_CARD = ("precision", "recall", "f1", "specificity", "roc_auc")
ON_CARD = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "macro_roc_auc",
    *(f"{metric}_{name}" for name in CLASS_NAMES for metric in _BY_CLASS_ON_CARD),
)

_SIZE = len(CLASS_NAMES)
_STEPS = np.subtract.outer(np.arange(_SIZE), np.arange(_SIZE)) ** 2
# A function from how often each radiograph counts, shape (draws, radiographs), to figures
# by name, each of shape (draws,).
Measure = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured on one test part.

    Attributes:
        metrics: by name; those of one class are called ``recall_osteopenia`` and so on.
        confusion: counts of images, rows true, columns predicted, shape (classes, classes).
        shares: the confusion matrix as shares of each row, with intervals.
        images: test images.
        groups: distinct radiographs among them, as far as they are known.
        by_radiograph: whether the radiograph of every image is known; else the bootstrap
            draws files, and intervals are too narrow if there are copies.
    """

    metrics: dict[str, Estimate]
    confusion: np.ndarray
    shares: tuple[tuple[Estimate, ...], ...]
    images: int
    groups: int
    by_radiograph: bool

    def get_config(self) -> dict[str, Any]:
        """Return it as plain values for a card, which keeps shares only.

        All of it follows from ``predictions.csv``: see
        :meth:`kop_core.evaluation.Report.get_config`.
        """
        return {
            "metrics": {name: self.metrics[name].get_config() for name in ON_CARD},
            "confusion": self.confusion.tolist(),
            "images": self.images,
            "radiographs": self.groups if self.by_radiograph else None,
            "interval": "95 % bootstrap over "
            + ("radiographs" if self.by_radiograph else "files (radiographs are not known)"),
        }


def evaluate(predictions: Predictions, draws: int = DRAWS, seed: int = 0) -> Evaluation:
    """Measure a model on its test part.

    By class, with the class's name behind the underscore, and as ``macro_``, the plain mean
    of the classes: ``precision``, ``recall`` (sensitivity), ``f1``, ``specificity``,
    ``roc_auc`` and ``average_precision``, each class against the rest. ``weighted_``
    precision, recall and F1 weigh the classes by their images. Macro recall is the balanced
    accuracy, and weighted recall the accuracy. A class that was never called has no
    precision, and then the mean has none.

    Of all classes: ``accuracy``, ``balanced_accuracy``, ``quadratic_weighted_kappa``
    (agreement beyond chance; a mistake of two classes counts four times one of one: Cohen
    1968), ``brier_score`` (see :data:`BRIER_SCORE`) and ``expected_calibration_error`` (of
    the class called, ten bins of equal width: Guo 2017).

    Args:
        predictions: what it said.
        draws: how often the bootstrap draws.
        seed: of the bootstrap.
    """
    group = predictions.groups
    groups = int(group.max()) + 1
    matrices = matrices_of(predictions, group)
    measures = measures_of(predictions, group, matrices)
    values = of_draws(measures, np.ones((1, groups)))
    del values[_STRAY]
    blocks = [
        of_draws(measures, times)
        for times in intervals.times_drawn(groups, draws, seed, width=len(group))
    ]
    supports, scales = supports_of(matrices), _scales(matrices)
    found = {
        name: intervals.estimate(
            float(value[0]),
            np.concatenate([b[name] for b in blocks]),
            supports[name],
            scales.get(name, SHARE),
        )
        for name, value in values.items()
    }
    found[_ECE] = calibration_error_interval(
        found[_ECE], np.concatenate([b[_STRAY] for b in blocks])
    )
    rows = tuple(
        tuple(found.pop(_cell(true, called)) for called in range(_SIZE)) for true in range(_SIZE)
    )
    whole = matrices.sum(axis=0).astype(int)
    return Evaluation(found, whole, rows, len(group), groups, predictions.by_radiograph)


def of_draws(measures: Iterable[Measure], times: np.ndarray) -> dict[str, np.ndarray]:
    """Return the figures of all measures together.

    Args:
        measures: such as those of :func:`measures_of`.
        times: how often each radiograph counts, (draws, radiographs).

    Returns:
        Figures by name, each of shape (draws,).
    """
    return {k: v for measure in measures for k, v in measure(times).items()}


def matrices_of(predictions: Predictions, group: np.ndarray) -> np.ndarray:
    """Return a confusion matrix for each radiograph, (radiographs, classes, classes).

    Args:
        predictions: of images.
        group: the number of each image's radiograph.
    """
    matrices = np.zeros((int(group.max()) + 1, _SIZE, _SIZE))
    np.add.at(matrices, (group, predictions.true, predictions.predicted), 1)
    return matrices


def measures_of(
    predictions: Predictions, group: np.ndarray, matrices: np.ndarray
) -> tuple[Measure, ...]:
    """Return everything that is measured of predictions, as functions of a draw.

    Args:
        predictions: of images.
        group: the number of each image's radiograph.
        matrices: those of :func:`matrices_of`: a draw of radiographs is a sum of them.
    """
    flat = matrices.reshape(len(matrices), -1)
    return (
        lambda times: from_confusion((times @ flat).reshape(-1, _SIZE, _SIZE)),
        areas(predictions, group),
        of_probabilities(predictions.probabilities, predictions.true, group),
    )


def _cell(true: int, called: int) -> str:
    return f"share_{true}_{called}"


def _scales(matrices: np.ndarray) -> dict[str, Scale]:
    """Return what values those metrics can take that are no shares."""
    total = matrices.sum()
    true = matrices.sum(axis=(0, 2)) / total
    by_chance = float((true**2).sum())
    return {
        # Without a mistake, kappa moves by 1 / (1 - chance agreement) times their share.
        "quadratic_weighted_kappa": Scale(None, 1.0, 1 / max(1 - by_chance, 1e-9)),
        "brier_score": BRIER_SCALE,
    }


def supports_of(matrices: np.ndarray) -> dict[str, int]:
    """Return how many radiographs each metric rests on, given one matrix a radiograph."""
    truly = (matrices.sum(axis=2) > 0).sum(axis=0)
    called = (matrices.sum(axis=1) > 0).sum(axis=0)
    total = matrices.sum(axis=(1, 2))
    otherwise = (total[:, None] - matrices.sum(axis=2) > 0).sum(axis=0)
    of_all = ("accuracy", "weighted_precision", "weighted_recall", "weighted_f1",
              "quadratic_weighted_kappa", "brier_score", "expected_calibration_error")  # fmt: skip
    of_means = ("balanced_accuracy", "macro_precision", "macro_recall", "macro_f1",
                "macro_specificity", "macro_roc_auc", "macro_average_precision")  # fmt: skip
    found = dict.fromkeys(of_all, len(matrices)) | dict.fromkeys(of_means, int(min(truly)))
    for place, name in enumerate(CLASS_NAMES):
        found[f"precision_{name}"] = int(called[place])
        found[f"recall_{name}"] = found[f"f1_{name}"] = int(truly[place])
        found[f"specificity_{name}"] = int(otherwise[place])
        both = int(min(truly[place], otherwise[place]))
        found[f"roc_auc_{name}"] = found[f"average_precision_{name}"] = both
        found |= {_cell(place, other): int(truly[place]) for other in range(_SIZE)}
    return found


def from_confusion(matrices: np.ndarray) -> dict[str, np.ndarray]:
    """Return every metric of confusion matrices, shape (draws, classes, classes)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        right = np.einsum("dii->di", matrices)
        true, called = matrices.sum(axis=2), matrices.sum(axis=1)
        total = matrices.sum(axis=(1, 2))
        recall, precision = right / true, right / called
        f1 = 2 * right / (true + called)
        specificity = (total[:, None] - true - called + right) / (total[:, None] - true)
        rows = matrices / true[:, :, None]
        by_class = {"precision": precision, "recall": recall, "f1": f1, "specificity": specificity}
        found = {
            "accuracy": right.sum(axis=1) / total,
            "balanced_accuracy": recall.mean(axis=1),
            **{f"macro_{name}": values.mean(axis=1) for name, values in by_class.items()},
            **{
                f"weighted_{n}": _weighted(by_class[n], true) for n in ("precision", "recall", "f1")
            },
            "quadratic_weighted_kappa": _kappa(matrices, true, called, total),
        }
    for place, name in enumerate(CLASS_NAMES):
        found |= {f"{n}_{name}": values[:, place] for n, values in by_class.items()}
        found |= {_cell(place, other): rows[:, place, other] for other in range(_SIZE)}
    return found


def _weighted(values: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return the mean over the classes by their images; classes without images do not count."""
    counted = np.where(true > 0, values, 0.0)
    return (counted * true).sum(axis=1) / true.sum(axis=1)


def _kappa(
    matrices: np.ndarray, true: np.ndarray, called: np.ndarray, total: np.ndarray
) -> np.ndarray:
    observed = (matrices * _STEPS).sum(axis=(1, 2))
    expected = np.einsum("di,dj,ij->d", true, called, _STEPS) / total
    return 1 - observed / expected


_ECE, _STRAY = "expected_calibration_error", "calibration_strays"


def of_probabilities(p: np.ndarray, true: np.ndarray, group: np.ndarray) -> Measure:
    """Return a function to the Brier score and the expected calibration error.

    Beside them it gives ``calibration_strays``: by how much all bins together differ from
    what they are without drawing (see :func:`calibration_error_interval`).

    Args:
        p: probabilities, shape (images, classes).
        true: index of the true class, shape (images,).
        group: number of the radiograph that each image shows.
    """
    groups = int(group.max()) + 1
    squared = ((p - np.eye(_SIZE)[true]) ** 2).sum(axis=1)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == true
    gap = np.zeros((groups, BINS))
    np.add.at(gap, (group, confidence_bin(confidence)), confidence - right)
    images = np.bincount(group, minlength=groups)
    brier = np.bincount(group, squared, groups)
    whole = gap.sum(axis=0) / images.sum()

    def measure(times: np.ndarray) -> dict[str, np.ndarray]:
        total = times @ images
        gaps = times @ gap / total[:, None]
        return {
            "brier_score": times @ brier / total,
            _ECE: np.abs(gaps).sum(axis=1),
            _STRAY: np.abs(gaps - whole).sum(axis=1),
        }

    return measure


def calibration_error_interval(found: Estimate, strays: np.ndarray) -> Estimate:
    """Return a calibration error with an interval that may reach down to none.

    A calibration error adds up absolute differences, so chance only ever adds to it: even a
    perfectly calibrated model shows some, and every draw shows more. Percentiles of the
    draws would leave the truth out below. By the triangle inequality the true error is at
    least the one found less what all bins together stray by chance; simulation shows that
    this holds the truth at least as often as it says.

    Args:
        found: the error with its percentile interval.
        strays: by how much the bins strayed in each draw.
    """
    if found.value is None:
        return found
    low = max(0.0, found.value - float(np.percentile(strays, 97.5)))
    return Estimate(found.value, low, max(found.high, found.value))


def confidence_bin(confidence: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Return the bin of each confidence: of equal width, closed above, the first from 0."""
    return np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)


def areas(predictions: Predictions, group: np.ndarray) -> Measure:
    """Return a function to ROC AUCs and average precisions, each class against the rest.

    The images are sorted once; a draw is then a weighted pass. Equal to scikit-learn's
    ``roc_auc_score`` and ``average_precision_score`` with ``sample_weight``.
    """
    prepared = []
    for place in range(_SIZE):
        score = predictions.probabilities[:, place]
        order = np.argsort(-score, kind="stable")  # the highest first
        begins = np.flatnonzero(np.diff(score[order], prepend=np.inf))
        prepared.append((group[order], begins, predictions.true[order] == place))

    def measure(times: np.ndarray) -> dict[str, np.ndarray]:
        found = [_area(times[:, of], begins, positive) for of, begins, positive in prepared]
        areas, precisions = (np.array(v) for v in zip(*found))
        return {
            "macro_roc_auc": areas.mean(axis=0),
            **{f"roc_auc_{name}": areas[i] for i, name in enumerate(CLASS_NAMES)},
            "macro_average_precision": precisions.mean(axis=0),
            **{f"average_precision_{name}": precisions[i] for i, name in enumerate(CLASS_NAMES)},
        }

    return measure


def _area(
    weights: np.ndarray, begins: np.ndarray, positive: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return ROC AUC and average precision of draws.

    Args:
        weights: of the images, the highest score first, shape (draws, images).
        begins: where each run of equal scores begins.
        positive: which images are of the class.
    """
    of_positive = np.add.reduceat(weights * positive, begins, axis=1)
    of_negative = np.add.reduceat(weights * ~positive, begins, axis=1)
    true, false = of_positive.cumsum(axis=1), of_negative.cumsum(axis=1)
    positives, negatives = true[:, -1], false[:, -1]
    below = negatives[:, None] - false
    with np.errstate(invalid="ignore", divide="ignore"):
        won = (of_positive * (below + of_negative / 2)).sum(axis=1)
        area = won / (positives * negatives)
        precision = np.where(true > 0, true / (true + false), 0.0)
        average = (of_positive * precision).sum(axis=1) / positives
    return area, np.where(negatives > 0, average, np.nan)
