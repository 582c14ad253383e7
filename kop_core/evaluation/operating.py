"""Where to set the threshold so that enough of those who are ill are found, and its cost.

The threshold is chosen on one half of the radiographs and its sensitivity and specificity
are measured on the other: on the half that it was chosen on it would look as good as wished.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kop_core.classes import CLASS_NAMES
from kop_core.evaluation import intervals
from kop_core.evaluation.halves import Halves, halves, radiographs
from kop_core.evaluation.intervals import DRAWS, UNDEFINED, Estimate
from kop_core.evaluation.predictions import Predictions

SENSITIVITIES = (0.80, 0.90, 0.95)
MIN_RADIOGRAPHS = 10


@dataclass(frozen=True)
class Condition:
    """What is looked for.

    Attributes:
        name: the word used in files and programs.
        label: the words in a sentence.
        score: what the threshold is set on, in words that a number can follow.
        classes: names of the classes that count as having it; their scores add up.
    """

    name: str
    label: str
    score: str
    classes: tuple[str, ...]


OSTEOPOROSIS = Condition(
    "osteoporosis", "osteoporosis", "the score of osteoporosis is", ("osteoporosis",)
)
LOW_BONE_MASS = Condition(
    "low_bone_mass",
    "low bone mass",
    "the scores of osteopenia and osteoporosis add up to",
    ("osteopenia", "osteoporosis"),
)
CONDITIONS = (OSTEOPOROSIS, LOW_BONE_MASS)


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold chosen for a target sensitivity, and what it does on other radiographs.

    Attributes:
        condition: what is looked for.
        wished: the sensitivity asked for, a share.
        threshold: images with this score or more are called; ``None`` if there were too
            few radiographs to choose one.
        sensitivity: measured, of those labelled as having the condition.
        specificity: measured, of those labelled as not having it.
        with_it: images labelled as having it, among those measured.
        without_it: images labelled as not having it.
        measured_radiographs: radiographs that both show.
        reason: why there is no threshold, as a sentence, else ``None``.
    """

    condition: Condition
    wished: float
    threshold: float | None
    sensitivity: Estimate
    specificity: Estimate
    with_it: int
    without_it: int
    measured_radiographs: int
    reason: str | None = None

    def get_config(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "condition": self.condition.name,
            "classes": list(self.condition.classes),
            "wished_sensitivity": self.wished,
            "threshold": self.threshold,
            "sensitivity": self.sensitivity.get_config(),
            "specificity": self.specificity.get_config(),
            "images_with_it": self.with_it,
            "images_without_it": self.without_it,
            "radiographs": self.measured_radiographs,
            "reason": self.reason,
        }


def operating_points(
    predictions: Predictions,
    sensitivities: Sequence[float] = SENSITIVITIES,
    draws: int = DRAWS,
    seed: int = 0,
    cut: Halves | None = None,
) -> tuple[OperatingPoint, ...]:
    """Choose a threshold for each condition and target sensitivity, and measure it.

    Args:
        predictions: the test part.
        sensitivities: wished, each above 0 and at most 1.
        draws: how often the bootstrap draws.
        seed: of the cut and of the bootstrap.
        cut: the test part cut in two, if that is done already.

    Raises:
        ValueError: if a target sensitivity is no share.
    """
    for wished in sensitivities:
        if not 0 < wished <= 1:
            raise ValueError(f"A sensitivity is above 0 and at most 1, not {wished}.")
    cut = cut or halves(predictions, seed)
    return tuple(
        _point(cut, condition, wished, draws, seed)
        for condition in CONDITIONS
        for wished in sensitivities
    )


def choose_threshold(score: np.ndarray, has_it: np.ndarray, wished: float) -> float:
    """Return the highest threshold at which at least the wished share is found.

    Args:
        score: of each image.
        has_it: which images are labelled as having the condition, at least one.
        wished: the sensitivity, a share.
    """
    scores = np.sort(score[has_it])[::-1]
    # 0.9 * 10 is a little over 9 in floating point; nobody means the tenth by that.
    needed = int(np.ceil(wished * len(scores) - 1e-9))
    return float(scores[needed - 1])


def score_of(predictions: Predictions, condition: Condition) -> np.ndarray:
    """Return the score of a condition, image by image: its classes' scores added up."""
    # Six decimals are what predictions.csv holds; beyond them a sum is rounding noise, and
    # an image exactly at the threshold must not fall below it.
    return predictions.probabilities[:, _places(condition)].sum(axis=1).round(9)


def _has_it(predictions: Predictions, condition: Condition) -> np.ndarray:
    return np.isin(predictions.true, _places(condition))


def _places(condition: Condition) -> list[int]:
    return [CLASS_NAMES.index(name) for name in condition.classes]


def _point(
    cut: Halves, condition: Condition, wished: float, draws: int, seed: int
) -> OperatingPoint:
    measuring = cut.measuring
    has_it = _has_it(measuring, condition)
    sizes = int(has_it.sum()), int((~has_it).sum()), radiographs(measuring)
    reason = _too_few(cut, condition)
    if reason:
        return OperatingPoint(condition, wished, None, UNDEFINED, UNDEFINED, *sizes, reason)
    threshold = choose_threshold(
        score_of(cut.choosing, condition), _has_it(cut.choosing, condition), wished
    )
    called, group = score_of(measuring, condition) >= threshold, measuring.groups
    sensitivity, specificity = intervals.ratios(
        [called & has_it, ~called & ~has_it], [has_it, ~has_it], group, draws, seed
    )
    return OperatingPoint(condition, wished, threshold, sensitivity, specificity, *sizes)


def _too_few(cut: Halves, condition: Condition) -> str | None:
    for half in (cut.choosing, cut.measuring):
        has_it = _has_it(half, condition)
        found = [len(np.unique(half.groups[asked])) for asked in (has_it, ~has_it)]
        if min(found) < MIN_RADIOGRAPHS:
            return (
                f"Each half of the test part needs at least {MIN_RADIOGRAPHS} radiographs with "
                f"{condition.label} and as many without; one half has {found[0]} with and "
                f"{found[1]} without. So no threshold was chosen."
            )
    return None
