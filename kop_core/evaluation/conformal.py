"""Sets of classes that hold the truth as often as asked: split conformal prediction.

A set names every class that cannot be ruled out at the chosen coverage. The score is one
minus the probability of the class (least ambiguous sets: Sadinle, Lei & Wasserman 2019),
which gives the smallest sets on average and may rule out every class: an empty set says
that the image is like none of those the quantile was taken from.

Files of one radiograph are no independent evidence, so the quantile is that of
hierarchical conformal prediction (Lee, Barber & Willett 2023): each radiograph weighs the
same, however many files show it. With one file a radiograph that is split conformal
prediction as usual. The promise holds for new radiographs of the same kind of patients,
on average over all of them: not for each class, and not for another clinic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kop_core.classes import CLASS_NAMES
from kop_core.evaluation import intervals
from kop_core.evaluation.halves import Halves, halves, radiographs
from kop_core.evaluation.intervals import DRAWS, UNDEFINED, Estimate
from kop_core.evaluation.predictions import Predictions

COVERAGE = 0.90
MIN_RADIOGRAPHS = 10
_SIZES = intervals.Scale(0.0, float(len(CLASS_NAMES)), float(len(CLASS_NAMES)))


@dataclass(frozen=True)
class PredictionSets:
    """What conformal sets come to on radiographs that the quantile was not taken from.

    All shares count each radiograph once, however many files show it.

    Attributes:
        wished: the coverage asked for, a share.
        least_probability: a class is in the set from this probability on; 0 if only sets of
            all classes can keep the promise, ``None`` if there were too few radiographs.
        coverage: share of sets that hold the label.
        by_class: the same, of the images of each class by its name.
        size: mean number of classes in a set.
        sizes: share of sets of 0, 1, 2 … classes.
        measured_images: images that this was measured on.
        measured_radiographs: radiographs that they show.
        reason: why there are no sets, or only full ones, as a sentence, else ``None``.
    """

    wished: float
    least_probability: float | None
    coverage: Estimate
    by_class: dict[str, Estimate]
    size: Estimate
    sizes: tuple[Estimate, ...]
    measured_images: int
    measured_radiographs: int
    reason: str | None = None

    def get_config(self) -> dict[str, Any]:
        """Return it as plain values."""
        names = ("empty", "single", "double", "full")
        return {
            "method": "split conformal, least ambiguous sets, radiographs weighing the same",
            "wished_coverage": self.wished,
            "least_probability": self.least_probability,
            "coverage": self.coverage.get_config(),
            "coverage_by_class": {name: e.get_config() for name, e in self.by_class.items()},
            "mean_set_size": self.size.get_config(),
            "set_sizes": {n: e.get_config() for n, e in zip(names, self.sizes)},
            "images": self.measured_images,
            "radiographs": self.measured_radiographs,
            "reason": self.reason,
        }


def prediction_sets(
    predictions: Predictions,
    coverage: float = COVERAGE,
    draws: int = DRAWS,
    seed: int = 0,
    cut: Halves | None = None,
) -> PredictionSets:
    """Take the quantile for a coverage from one half of the radiographs; measure on the other.

    Args:
        predictions: the test part.
        coverage: wished, between 0 and 1.
        draws: how often the bootstrap draws.
        seed: of the cut and of the bootstrap.
        cut: the test part cut in two, if that is done already.

    Raises:
        ValueError: if the coverage is not between 0 and 1.
    """
    if not 0 < coverage < 1:
        raise ValueError(f"A coverage is between 0 and 1, not {coverage}.")
    cut = cut or halves(predictions, seed)
    measuring = cut.measuring
    sizes = len(measuring.files), radiographs(measuring)
    if min(sizes[1], radiographs(cut.choosing)) < MIN_RADIOGRAPHS:
        none = (UNDEFINED,) * (len(CLASS_NAMES) + 1)
        by_class = dict.fromkeys(CLASS_NAMES, UNDEFINED)
        reason = (
            f"The test part shows {radiographs(predictions)} radiographs, and each half needs at "
            f"least {MIN_RADIOGRAPHS}; so no sets were made."
        )
        return PredictionSets(
            coverage, None, UNDEFINED, by_class, UNDEFINED, none, *sizes, reason=reason
        )
    least = least_probability(cut.choosing, coverage)
    held = _measure(measuring, in_set(measuring.probabilities, least), draws, seed)
    reason = _only_full(cut, coverage) if least == 0 else None
    return PredictionSets(coverage, least, *held, *sizes, reason=reason)


def least_probability(choosing: Predictions, coverage: float) -> float:
    """Return the probability from which on a class is in the set.

    One minus the quantile of the scores, each radiograph weighing 1 / (radiographs + 1),
    shared among its files, and a radiograph yet to come at infinity (Lee, Barber & Willett
    2023).

    Args:
        choosing: the images that the quantile is taken from.
        coverage: wished, between 0 and 1.
    """
    images = len(choosing.files)
    score = 1 - choosing.probabilities[np.arange(images), choosing.true]
    weight = _weights(choosing.groups) / (radiographs(choosing) + 1)
    order = np.argsort(score, kind="stable")
    below = weight[order].cumsum()
    place = int(np.searchsorted(below, coverage - 1e-12))
    return float(1 - score[order[place]]) if place < images else 0.0


def in_set(probabilities: np.ndarray, least: float) -> np.ndarray:
    """Return which classes are in the set of each image, bool, shape (images, classes)."""
    return probabilities >= least - 1e-12


def _weights(group: np.ndarray) -> np.ndarray:
    """Return one over the number of files that show the same radiograph, image by image."""
    return 1 / np.bincount(group)[group]


def _measure(
    measuring: Predictions, sets: np.ndarray, draws: int, seed: int
) -> tuple[Estimate, dict[str, Estimate], Estimate, tuple[Estimate, ...]]:
    group, weight = measuring.groups, _weights(measuring.groups)
    hit = sets[np.arange(len(sets)), measuring.true]
    size = sets.sum(axis=1)

    of_class = [measuring.true == place for place in range(len(CLASS_NAMES))]
    everywhere = np.ones(len(sets), bool)
    counted = [size == count for count in range(len(CLASS_NAMES) + 1)]
    parts = [hit, *(hit & asked for asked in of_class), *counted]
    wholes = [everywhere, *of_class, *[everywhere] * len(counted)]
    coverage, *found = intervals.ratios(
        [weight * part for part in parts], [weight * whole for whole in wholes], group, draws, seed
    )
    (mean,) = intervals.ratios([weight * size], [weight], group, draws, seed, _SIZES)
    by_class = dict(zip(CLASS_NAMES, found))
    return coverage, by_class, mean, tuple(found[len(CLASS_NAMES) :])


def _only_full(cut: Halves, coverage: float) -> str | None:
    found = radiographs(cut.choosing)
    if found / (found + 1) >= coverage - 1e-12:
        return None
    return (
        f"From {found} radiographs a coverage of {100 * coverage:.0f} % cannot be promised but "
        "by naming all classes, so every set is full."
    )
