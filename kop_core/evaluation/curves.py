"""ROC and precision-recall curves, each class against the rest, by scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kop_core.classes import CLASS_NAMES
from kop_core.evaluation.predictions import Predictions


@dataclass(frozen=True, eq=False)
class Curve:
    """One curve of one class.

    Attributes:
        class_name: the class against the rest.
        x: false positive rate (ROC) or recall (precision-recall), shape (points,).
        y: true positive rate (ROC) or precision (precision-recall), shape (points,).
        thresholds: the score from which on an image is called the class at each point;
            ``nan`` where no image is called.
        prevalence: share of the images that are labelled as the class.
    """

    class_name: str
    x: np.ndarray
    y: np.ndarray
    thresholds: np.ndarray
    prevalence: float


def roc_curves(predictions: Predictions) -> tuple[Curve, ...]:
    """Return the ROC curve of each class that has images, and that not all images have."""
    from sklearn.metrics import roc_curve

    curves = []
    for name, positive, score in _by_class(predictions):
        false, true, thresholds = roc_curve(positive, score)
        thresholds = np.where(np.isfinite(thresholds), thresholds, np.nan)
        curves.append(Curve(name, false, true, thresholds, float(positive.mean())))
    return tuple(curves)


def precision_recall_curves(predictions: Predictions) -> tuple[Curve, ...]:
    """Return the precision-recall curve of each class that has images, and not all of them."""
    from sklearn.metrics import precision_recall_curve

    curves = []
    for name, positive, score in _by_class(predictions):
        precision, recall, thresholds = precision_recall_curve(positive, score)
        thresholds = np.append(thresholds, np.nan)
        curves.append(Curve(name, recall, precision, thresholds, float(positive.mean())))
    return tuple(curves)


def _by_class(predictions: Predictions):
    for place, name in enumerate(CLASS_NAMES):
        positive = predictions.true == place
        if 0 < positive.sum() < len(positive):
            yield name, positive, predictions.probabilities[:, place]
