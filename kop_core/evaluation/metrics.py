"""How good a model was on its test part, every figure with a 95 % interval.

Accuracy, precision, recall and F1 are the paper's equations 4 to 7. Intervals come from
a bootstrap that draws radiographs, not files: copies of one radiograph are not
independent, and drawing them one by one would make the interval too narrow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kop_core.classes import CLASS_NAMES
from kop_core.evaluation.predictions import Predictions

DRAWS = 2000


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval; ``None`` where it is not defined.

    Attributes:
        value: the figure, a share between 0 and 1.
        low: lower end of its 95 % interval.
        high: upper end.
    """

    value: float | None
    low: float | None
    high: float | None

    def get_config(self) -> dict[str, float | None]:
        """Return it as plain values."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured on one test part.

    Attributes:
        metrics: by name; those of one class are called ``recall_osteopenia`` and so on.
        confusion: counts of images, rows true, columns predicted, shape (classes, classes).
        images: test images.
        groups: distinct radiographs among them, as far as they are known.
        by_radiograph: whether the radiograph of every image is known; else the bootstrap
            draws files, and intervals are too narrow if there are copies.
    """

    metrics: dict[str, Estimate]
    confusion: np.ndarray
    images: int
    groups: int
    by_radiograph: bool

    def get_config(self) -> dict[str, Any]:
        """Return it as plain values for a card."""
        return {
            "metrics": {name: e.get_config() for name, e in self.metrics.items()},
            "confusion": self.confusion.tolist(),
            "images": self.images,
            "radiographs": self.groups if self.by_radiograph else None,
            "interval": "95 % percentile bootstrap over "
            + ("radiographs" if self.by_radiograph else "files (radiographs are not known)"),
        }


def evaluate(predictions: Predictions, draws: int = DRAWS, seed: int = 0) -> Evaluation:
    """Measure a model on its test part.

    Args:
        predictions: what it said.
        draws: how often the bootstrap draws.
        seed: of the bootstrap.
    """
    group = predictions.groups
    groups = int(group.max()) + 1
    size = len(CLASS_NAMES)
    # One confusion matrix a radiograph: a draw of radiographs is then a sum of them.
    matrices = np.zeros((groups, size, size))
    np.add.at(matrices, (group, predictions.true, predictions.predicted), 1)
    rng = np.random.default_rng(seed)
    times_drawn = rng.multinomial(groups, np.full(groups, 1 / groups), size=draws)
    drawn = np.einsum("dg,gij->dij", times_drawn, matrices)
    whole = matrices.sum(axis=0)
    metrics = {}
    values, samples = _from_confusion(whole[np.newaxis]), _from_confusion(drawn)
    support = _supports(matrices)
    for name, value in values.items():
        metrics[name] = _estimate(float(value[0]), samples[name], support[name])
    area = _areas(predictions)
    sampled = np.array([area(weights[group]) for weights in times_drawn])
    for place, (name, value) in enumerate(zip(_AREA_NAMES, area(np.ones(len(group))))):
        metrics[name] = _estimate(float(value), sampled[:, place], support[name])
    return Evaluation(metrics, whole.astype(int), len(group), groups, predictions.by_radiograph)


def _estimate(value: float, samples: np.ndarray, support: int) -> Estimate:
    samples = samples[np.isfinite(samples)]
    if not np.isfinite(value) or not samples.size:
        return Estimate(None, None, None)
    low, high = (float(v) for v in np.percentile(samples, (2.5, 97.5)))
    # Where nothing (or all) went wrong every draw says the same. The exact binomial
    # interval of as many radiographs (Clopper & Pearson 1934) does not pretend to certainty.
    beyond = 0.025 ** (1 / max(support, 1))
    if value > 1 - 1e-12:
        low = min(low, beyond)
    if value < 1e-12:
        high = max(high, 1 - beyond)
    return Estimate(value, low, high)


def _supports(matrices: np.ndarray) -> dict[str, int]:
    """Return how many radiographs each metric rests on, given one matrix a radiograph."""
    truly = (matrices.sum(axis=2) > 0).sum(axis=0)
    called = (matrices.sum(axis=1) > 0).sum(axis=0)
    total = matrices.sum(axis=(1, 2))
    otherwise = (total[:, None] - matrices.sum(axis=2) > 0).sum(axis=0)
    least = int(min(truly))
    found = {"accuracy": len(matrices), "balanced_accuracy": least, "macro_f1": least,
             "macro_roc_auc": least}  # fmt: skip
    for place, name in enumerate(CLASS_NAMES):
        found[f"precision_{name}"] = int(called[place])
        found[f"recall_{name}"] = found[f"f1_{name}"] = int(truly[place])
        found[f"specificity_{name}"] = int(otherwise[place])
        found[f"roc_auc_{name}"] = int(min(truly[place], otherwise[place]))
    return found


def _from_confusion(matrices: np.ndarray) -> dict[str, np.ndarray]:
    """Return every metric of confusion matrices, shape (draws, classes, classes)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        right = np.einsum("dii->di", matrices)
        true, called = matrices.sum(axis=2), matrices.sum(axis=1)
        total = matrices.sum(axis=(1, 2))
        recall, precision = right / true, right / called
        f1 = 2 * right / (true + called)
        specificity = (total[:, None] - true - called + right) / (total[:, None] - true)
        found = {
            "accuracy": right.sum(axis=1) / total,
            "balanced_accuracy": recall.mean(axis=1),
            "macro_f1": f1.mean(axis=1),
        }
    for place, name in enumerate(CLASS_NAMES):
        found[f"precision_{name}"] = precision[:, place]
        found[f"recall_{name}"] = recall[:, place]
        found[f"f1_{name}"] = f1[:, place]
        found[f"specificity_{name}"] = specificity[:, place]
    return found


_AREA_NAMES = ("macro_roc_auc", *(f"roc_auc_{name}" for name in CLASS_NAMES))


def _areas(predictions: Predictions) -> Callable[[np.ndarray], list[float]]:
    """Return a function from weights of the images to ROC AUCs, macro first.

    The images are sorted once; a bootstrap draw is then a weighted pass. Equal to
    scikit-learn's ``roc_auc_score`` with ``sample_weight`` (a test holds this).
    """
    sorted_classes = []
    for place in range(len(CLASS_NAMES)):
        score = predictions.probabilities[:, place]
        order = np.argsort(score, kind="stable")
        ties = np.unique(score[order], return_inverse=True)[1]
        sorted_classes.append((order, ties, predictions.true[order] == place))

    def areas(weights: np.ndarray) -> list[float]:
        found = []
        for order, ties, positive in sorted_classes:
            w = weights[order]
            of_positive = np.bincount(ties, w * positive)
            of_negative = np.bincount(ties, w * ~positive)
            below = np.cumsum(of_negative) - of_negative
            pairs = of_positive.sum() * of_negative.sum()
            won = (of_positive * (below + of_negative / 2)).sum()
            found.append(won / pairs if pairs else np.nan)
        return [float(np.mean(found)), *found]

    return areas
