"""Whether a score can be read as a probability, and one number that may mend it.

A model is calibrated when, of the images that it calls something with 80 %, 80 % are
that. Temperature scaling (Guo, Pleiss, Sun & Weinberger 2017) divides the logits by one
number: over 1 it makes a model less sure, under 1 surer. It never changes which class is
called, so accuracy, sensitivity and the confusion matrix stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kop_core.evaluation import intervals
from kop_core.evaluation.halves import Halves, halves, radiographs
from kop_core.evaluation.intervals import DRAWS, Estimate
from kop_core.evaluation.metrics import (
    BINS,
    BRIER_SCALE,
    calibration_error_interval,
    confidence_bin,
    of_probabilities,
)
from kop_core.evaluation.predictions import Predictions

MIN_RADIOGRAPHS = 20
RANGE = (0.05, 20.0)
# predictions.csv has six decimals: what is written as 0 may be as much as this.
LEAST = 5e-7
_UNBOUNDED = intervals.Scale(None, None)
_LOSS, _BRIER, _ECE = "negative_log_likelihood", "brier_score", "expected_calibration_error"


@dataclass(frozen=True)
class Bin:
    """The images that a model was about equally sure of.

    Attributes:
        low: least score of the class called, itself not in the bin.
        high: largest.
        images: how many there are.
        radiographs: how many radiographs they show.
        confidence: their mean score, ``None`` if there are none.
        right: the share that was classified as labelled.
    """

    low: float
    high: float
    images: int
    radiographs: int
    confidence: float | None
    right: Estimate

    def get_config(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {**vars(self), "right": self.right.get_config()}


@dataclass(frozen=True)
class Temperature:
    """A temperature fitted on one half of the radiographs and measured on the other.

    Attributes:
        value: what the logits are divided by.
        before: negative log-likelihood, Brier score and calibration error without it.
        after: the same with it.
        change: after less before, of the same draws: below 0 is better.
        helps: whether the log-likelihood on the measuring half improved beyond what
            the draw of radiographs explains: the whole 95 % interval of its change is
            below 0. Only then should it be used. (That it improved at all would be no
            rule: a temperature fitted to a calibrated model does so one time in three.)
        at_limit: whether the fit ran to an end of :data:`RANGE`; it is then never used.
        bins_before: reliability on the measuring half without it.
        bins_after: with it.
    """

    value: float
    before: dict[str, Estimate]
    after: dict[str, Estimate]
    change: dict[str, Estimate]
    helps: bool
    at_limit: bool
    bins_before: tuple[Bin, ...]
    bins_after: tuple[Bin, ...]

    def get_config(self) -> dict[str, Any]:
        """Return it as plain values."""
        figures = {
            when: {name: e.get_config() for name, e in getattr(self, when).items()}
            for when in ("before", "after", "change")
        }
        return {
            "value": self.value,
            **figures,
            "helps": self.helps,
            "at_limit": self.at_limit,
            "bins_before": [b.get_config() for b in self.bins_before],
            "bins_after": [b.get_config() for b in self.bins_after],
        }


@dataclass(frozen=True)
class Calibration:
    """How a model's scores compare with what came true.

    Attributes:
        bins: reliability on the whole test part.
        temperature: what temperature scaling does, ``None`` if it could not be tried.
        reason: why it could not, as a sentence, else ``None``.
        sizes: images and radiographs of both halves.
    """

    bins: tuple[Bin, ...]
    temperature: Temperature | None
    reason: str | None
    sizes: dict[str, int]

    def get_config(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "bins": [b.get_config() for b in self.bins],
            "temperature": self.temperature.get_config() if self.temperature else None,
            "reason": self.reason,
            **self.sizes,
        }


def calibration(
    predictions: Predictions,
    draws: int = DRAWS,
    seed: int = 0,
    cut: Halves | None = None,
) -> Calibration:
    """Measure calibration, and whether temperature scaling would mend it.

    Args:
        predictions: the test part.
        draws: how often the bootstrap draws.
        seed: of the cut and of the bootstrap.
        cut: the test part cut in two, if that is done already.
    """
    cut = cut or halves(predictions, seed)
    bins = reliability(predictions, draws=draws, seed=seed)
    sizes = cut.get_config()
    if min(sizes["choosing_radiographs"], sizes["measuring_radiographs"]) < MIN_RADIOGRAPHS:
        reason = (
            f"The test part shows {radiographs(predictions)} radiographs. A temperature is "
            f"fitted on one half and measured on the other, and each needs at least "
            f"{MIN_RADIOGRAPHS}; so none was fitted."
        )
        return Calibration(bins, None, reason, sizes)
    return Calibration(bins, _temperature(cut, draws, seed), None, sizes)


def reliability(
    predictions: Predictions, bins: int = BINS, draws: int = DRAWS, seed: int = 0
) -> tuple[Bin, ...]:
    """Compare how sure a model was of the class that it called with how often it was right.

    Args:
        predictions: the test part.
        bins: how many, of equal width from 0 to 1.
        draws: how often the bootstrap draws.
        seed: of the bootstrap.

    Returns:
        All bins, also those without images.
    """
    confidence = predictions.probabilities.max(axis=1)
    right = predictions.predicted == predictions.true
    place, group = confidence_bin(confidence, bins), predictions.groups
    held = [place == number for number in range(bins)]
    shares = intervals.ratios([h & right for h in held], held, group, draws, seed)
    return tuple(
        Bin(
            number / bins,
            (number + 1) / bins,
            int(here.sum()),
            len(np.unique(group[here])),
            float(confidence[here].mean()) if here.any() else None,
            share,
        )
        for number, (here, share) in enumerate(zip(held, shares))
    )


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities with their logits divided by a temperature.

    Args:
        probabilities: shape (..., classes), the last axis sums to 1.
        temperature: above 0; over 1 evens the classes out, under 1 sharpens them.

    Raises:
        ValueError: if the temperature is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"A temperature is above 0, not {temperature}.")
    logits = np.log(np.maximum(probabilities, LEAST)) / temperature
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def fit_temperature(probabilities: np.ndarray, true: np.ndarray) -> float:
    """Return the temperature under which the labels are likeliest, within :data:`RANGE`.

    Args:
        probabilities: shape (images, classes).
        true: index of the true class, shape (images,).
    """
    from scipy.optimize import minimize_scalar

    def loss(log_temperature: float) -> float:
        scaled = apply_temperature(probabilities, float(np.exp(log_temperature)))
        return float(negative_log_likelihood(scaled, true).mean())

    found = minimize_scalar(loss, bounds=np.log(RANGE), method="bounded")
    return float(np.exp(found.x))


def negative_log_likelihood(probabilities: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return minus the natural logarithm of the true class's probability, image by image."""
    of_truth = probabilities[np.arange(len(true)), true]
    return -np.log(np.maximum(of_truth, LEAST))


def _temperature(cut: Halves, draws: int, seed: int) -> Temperature:
    value = fit_temperature(cut.choosing.probabilities, cut.choosing.true)
    at_limit = not 1.25 * RANGE[0] < value < RANGE[1] / 1.25  # the loss is flat out there
    plain = cut.measuring
    scaled = Predictions(
        plain.files, plain.radiographs, plain.true, apply_temperature(plain.probabilities, value)
    )
    before, after, change = _compare(plain, scaled, draws, seed)
    loss = change[_LOSS]
    return Temperature(
        value,
        before,
        after,
        change,
        helps=not at_limit and loss.high is not None and loss.high < 0,
        at_limit=at_limit,
        bins_before=reliability(plain, draws=draws, seed=seed),
        bins_after=reliability(scaled, draws=draws, seed=seed),
    )


def _compare(
    plain: Predictions, scaled: Predictions, draws: int, seed: int
) -> tuple[dict[str, Estimate], ...]:
    """Measure both on the same draws of radiographs: before, after, and after less before."""
    group = plain.groups
    groups = int(group.max()) + 1
    values, samples = [], []
    for p in (plain.probabilities, scaled.probabilities):
        measure = of_probabilities(p, plain.true, group)
        loss = np.bincount(group, negative_log_likelihood(p, plain.true), groups)
        images = np.bincount(group, minlength=groups)
        once = np.ones((1, groups))
        values.append({**measure(once), _LOSS: once @ loss / len(group)})
        blocks = [
            {**measure(t), _LOSS: t @ loss / (t @ images)}
            for t in intervals.times_drawn(groups, draws, seed)
        ]
        samples.append({k: np.concatenate([b[k] for b in blocks]) for k in blocks[0]})
    scales = {_LOSS: intervals.Scale(0.0, None), _BRIER: BRIER_SCALE, _ECE: intervals.SHARE}
    found = []
    for value, sample in zip(values, samples):
        one = {
            k: intervals.estimate(float(value[k][0]), sample[k], groups, scale)
            for k, scale in scales.items()
        }
        one[_ECE] = calibration_error_interval(one[_ECE], sample["calibration_strays"])
        found.append(one)
    (before, after), (drawn_before, drawn_after) = values, samples
    change = {
        k: intervals.estimate(
            float(after[k][0] - before[k][0]), drawn_after[k] - drawn_before[k], groups, _UNBOUNDED
        )
        for k in scales
    }
    return found[0], found[1], change
