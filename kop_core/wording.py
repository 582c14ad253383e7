"""Figures and verdicts in words, the same on every page and in the terminal."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from kop_core.classes import CLASSES, by_name
from kop_core.prediction import Prediction

NOT_A_DEVICE = (
    "KOP is not a medical device, and what it says is not a diagnosis. It is for research and "
    "teaching. Bone density is measured by DXA, not read from a knee radiograph."
)
# A class is called most likely when its score is above that of all others together, and
# every other class of some weight is named beside it.
MOST_LIKELY = 0.5
NAMED = 0.05
_TERMS = {
    "bmi": "BMI",
    "bmd": "BMD",
    "t score": "T-score",
    "z score": "Z-score",
    "kl": "KL grade",
    "kl grade": "KL grade",
}
_UNITS = frozenset({"m", "cm", "mm", "kg", "g", "years"})


def percent(share: float | None) -> str:
    """Return a share as whole per cent, never rounded up to 100 or down to 0."""
    if share is None:
        return "unknown"
    if 0 < share < 0.01:
        return "under 1 %"
    if 0.99 < share < 1:
        return "over 99 %"
    return f"{100 * share:.0f} %"


def level(score: float) -> str:
    """Return a score from which something is called, never rounded to 0 or 1.

    Two decimals, and more only where they would say that everything or nothing is called.
    """
    edge = min(score, 1 - score)
    decimals = 2 if edge <= 0 or edge >= 0.01 else min(1 - math.floor(math.log10(edge)), 9)
    return f"{score:.{decimals}f}"


def unbroken(text: str) -> str:
    """Return text whose figures a browser does not break at the end of a line."""
    whole = re.sub(r"(?<=\d)–(?=\d)", "\u2060–\u2060", text)
    return re.sub(r"(?<=\d) %", "\u00a0%", whole)


def variable(column: str) -> str:
    """Return a table's name of a patient variable as a reader would write it.

    ``t_score`` is ``T-score``, ``height_m`` is ``Height (m)``; what is written in capitals stays.
    """
    name = " ".join(column.replace("_", " ").split())
    known = _TERMS.get(name.lower().replace("-", " "))
    if known or not name:
        return known or column
    before, _, last = name.rpartition(" ")
    if before and last in _UNITS:
        name = f"{before} ({last})"
    return f"{name[0].upper()}{name[1:]}"


def within(name: str) -> str:
    """Return a name as it stands within a sentence: ``Age`` as ``age``, ``BMI`` as it is."""
    return name if name[1:2] in "-." or name[1:2].isupper() else f"{name[0].lower()}{name[1:]}"


def verdict(prediction: Prediction) -> str:
    """Return what a model says of a radiograph, in one or two sentences."""
    ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    (first, top), (second, next_top), *others = ranked
    what = "" if prediction.calibrated else "score "
    if top > MOST_LIKELY:
        said = f"{by_name(first).label} is most likely ({what}{percent(top)})."
        others = ranked[1:]
    else:
        said = (
            f"The model is undecided between {first} ({what}{percent(top)}) and {second} "
            f"({percent(next_top)})."
        )
    remaining = [f"{n} ({percent(p)})" for n, p in others if p >= NAMED]
    if remaining:
        listed = " and ".join(remaining)
        said += f" {listed[0].upper()}{listed[1:]} cannot be ruled out."
    return said


def sureness(prediction: Prediction) -> str:
    """Return how sure a model is, in a word for a table."""
    return "likely" if max(prediction.probabilities.values()) > MOST_LIKELY else "undecided"


def estimate(metric: dict[str, float | None], images: int, radiographs: int | None) -> str:
    """Return a figure with its interval and what it was measured on.

    Args:
        metric: ``value``, ``low`` and ``high``, as shares.
        images: test images.
        radiographs: distinct radiographs among them, if that is known.
    """
    if metric["value"] is None:
        return "not defined"
    measured_on = f"{images:,} images" + (f" of {radiographs:,} radiographs" if radiographs else "")
    low, high = (f"{100 * metric[k]:.0f}" for k in ("low", "high"))
    return f"{percent(metric['value'])} (95 % CI {low}–{high}, {measured_on})"


def accuracy(evaluation: dict[str, Any]) -> str:
    """Return the accuracy on a card's ``evaluation`` with its interval and what it rests on."""
    return estimate(
        evaluation["metrics"]["accuracy"], evaluation["images"], evaluation["radiographs"]
    )


def cautions(card: Mapping[str, Any]) -> tuple[str, ...]:
    """Return, in sentences, what stands beside every verdict of a model.

    That its verdicts cannot be told from guessing, where they cannot, and the faults that
    were found in it.

    Args:
        card: ``evaluation`` and, if there are any, ``cautions`` as a card has them.
    """
    said = guessing(card)
    return (*((said,) if said else ()), *card.get("cautions", ()))


def guessing(card: Mapping[str, Any]) -> str | None:
    """Return that a model's verdicts cannot be told from guessing; ``None`` if they can.

    They cannot if the interval of the balanced accuracy does not lie above that of guessing.

    Args:
        card: ``evaluation`` as a card has it.
    """
    balanced = card["evaluation"]["metrics"].get("balanced_accuracy", {})
    value, low, high = (balanced.get(k) for k in ("value", "low", "high"))
    guess = 1 / len(CLASSES)
    if value is None or low is None or high is None or low > guess:
        return None
    return (
        "On its test part this model's verdicts cannot be told from guessing: its balanced "
        f"accuracy is {percent(value)} (95 % CI {100 * low:.0f}–{100 * high:.0f}), where guessing "
        f"has {percent(guess)}."
    )


def calibration(card: dict[str, Any]) -> list[str]:
    """Return, in sentences, whether a model's outputs can be read as probabilities.

    Args:
        card: ``calibration``, ``calibration_tried`` and ``split`` as a card has them.
    """
    served, tried = card.get("calibration"), card.get("calibration_tried")
    if served:
        return [
            f"The outputs were calibrated by a temperature of {served['temperature']:.2f}, "
            f"{_halves(served)}. The log loss, which should fall, was "
            f"{_loss(served['log_loss']['before'])} before and "
            f"{_loss(served['log_loss']['after'])} after. It changes no class that is called.",
            _reach(card["split"]),
        ]
    said = [
        "The outputs were not calibrated. Read them as scores that order the classes, not as "
        "probabilities."
    ]
    if not tried:
        return said
    if tried["temperature"] is None:
        return [*said, tried["reason"]]
    return [
        *said,
        f"A temperature of {tried['temperature']:.2f} was tried, {_halves(tried)}, and did not "
        f"help: it changes the log loss, which should fall, by "
        f"{_loss(tried['log_loss']['change'])}.",
    ]


def calibrated(card: dict[str, Any]) -> str:
    """Return what stands beside the outputs of a model: how far they are probabilities."""
    if card.get("calibration"):
        return f"Calibrated on its test part. {_reach(card['split'])}"
    return "Scores order the classes. They were not calibrated: read none as a probability."


def _halves(found: dict[str, Any]) -> str:
    fitted, judged = (
        f"{half['images']:,} images"
        + (f" of {half['radiographs']:,} radiographs" if half["radiographs"] else "")
        for half in (found["fitted_on"], found["judged_on"])
    )
    return f"fitted on one half of the test part ({fitted}) and judged on the other ({judged})"


def _loss(found: dict[str, float]) -> str:
    value, low, high = (f"{found[k]:.3f}".replace("-", "\u2212") for k in ("value", "low", "high"))
    return f"{value} (95 % CI {low}{' to ' if found['low'] < 0 else '–'}{high})"


def _reach(split: dict[str, Any]) -> str:
    """Return of which images calibrated outputs are probabilities."""
    copied = split.get("same_radiograph_share") or split.get("identical_share")
    if copied:
        return (
            f"{percent(copied)} of the test images have copies in training: the outputs are "
            "probabilities for pictures that the model has seen, and too sure of a new patient."
        )
    return (
        "The outputs are probabilities for images like those of its test part; whether they are "
        "for other collections is not known."
    )


def split_badge(split: dict[str, Any]) -> tuple[str, bool]:
    """Return what a badge says of a split, and whether it is a warning.

    Args:
        split: the facts of a split as a card has them: ``protocol`` and, as far as they
            are known, the shares of :func:`kop_core.datasets.leakage`, ``fold``, ``folds``
            and ``conflicts``.
    """
    protocol = str(split.get("protocol", "unknown")).removeprefix("by_")
    share = split.get("same_radiograph_share")
    strength = ""
    if share is None:
        share, strength = split.get("identical_share"), "byte-identical "
    copies = f"{percent(share)} of test images have {strength}copies in training" if share else ""
    if protocol == "random":
        return (f"random split, {copies}" if copies else "random split of the files"), True
    if protocol not in ("radiograph", "patient"):
        return "split unknown", True
    said = [f"by {protocol}"]
    if split.get("folds"):
        said.append(f"fold {split.get('fold')} of {split['folds']}")
    if split.get("conflicts") in _CONFLICTS:
        said.append(_CONFLICTS[split["conflicts"]])
    return ", ".join([*said, copies] if copies else said), bool(copies)


_CONFLICTS = {
    "drop": "conflicted radiographs left out",
    "test": "conflicted radiographs in the test part only",
}


def duration(seconds: float) -> str:
    """Return a time in words: ``1 h 08 min``, ``3 min``, ``20 s``."""
    if seconds < 60:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


_BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}


def computed_with(versions: Mapping[str, str]) -> str:
    """Return what computed a run, such as ``"PyTorch 2.11.0 on NVIDIA H200"``.

    Args:
        versions: that were kept with it. Older runs do not say what computed; of some it
            follows from what was installed.
    """
    there = [name for name in _BACKENDS if name in versions]
    backend = versions.get("backend") or (there[0] if len(there) == 1 else "")
    if not backend:
        return "not recorded"
    name = " ".join(filter(None, [_BACKENDS.get(backend, backend), versions.get(backend)]))
    if "backend" not in versions:
        return name
    return f"{name} on {versions.get('gpu', 'the processor')}"


def software(versions: Mapping[str, str]) -> str:
    """Return the versions that were kept with a run, and what computed it, in one line."""
    named = [f"{k} {v}" for k, v in versions.items() if k not in ("backend", "gpu")]
    if "backend" in versions:
        named.append(f"computed with {computed_with(versions)}")
    return ", ".join(named)
