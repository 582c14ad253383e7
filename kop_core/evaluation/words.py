"""What was measured, in sentences and tables of words: the same on the page, in the file
that is sent to a colleague and in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kop_core import wording
from kop_core.classes import CLASSES, by_name
from kop_core.evaluation.calibration import Calibration, Temperature
from kop_core.evaluation.conformal import PredictionSets
from kop_core.evaluation.intervals import Estimate
from kop_core.evaluation.metrics import Evaluation
from kop_core.evaluation.model_card import Section
from kop_core.evaluation.operating import OperatingPoint

NOT_DEFINED = "not defined"
# Heading, name of the metric of one class, name of the mean, of the mean by images; whether
# it is written as a share.
_COLUMNS = (
    ("Sensitivity (recall)", "recall", "macro_recall", "weighted_recall", True),
    ("Specificity", "specificity", "macro_specificity", None, True),
    ("Precision", "precision", "macro_precision", "weighted_precision", True),
    ("F1", "f1", "macro_f1", "weighted_f1", True),
    ("ROC AUC", "roc_auc", "macro_roc_auc", None, False),
    ("Average precision", "average_precision", "macro_average_precision", None, False),
)
_OVERALL = (
    ("Accuracy", "accuracy", True, "Share of the images classified as labelled."),
    (
        "Balanced accuracy",
        "balanced_accuracy",
        True,
        "Mean sensitivity of the three classes: a rare class counts as much as a frequent one.",
    ),
    (
        "Quadratic-weighted kappa",
        "quadratic_weighted_kappa",
        False,
        "Agreement with the labels beyond chance; 0 is chance, 1 is perfect. Healthy for "
        "osteoporosis counts four times a mistake of one class.",
    ),
    (
        "Brier score",
        "brier_score",
        False,
        "Mean squared difference between scores and truth, summed over the classes: 0 is "
        "perfect, 0.67 is a third for each class, 2 is certain and wrong.",
    ),
    (
        "Expected calibration error",
        "expected_calibration_error",
        True,
        "By how much the score of the class called differs from the share that is right, on "
        "average over ten bins of the score.",
    ),
)


def share(found: Estimate) -> str:
    """Return a share with its interval: ``84 % (79–89)``."""
    if found.value is None:
        return NOT_DEFINED
    return f"{wording.percent(found.value)} ({100 * found.low:.0f}–{100 * found.high:.0f})"


def number(found: Estimate, decimals: int = 2) -> str:
    """Return a number with its interval: ``0.93 (0.88–0.96)``."""
    if found.value is None:
        return NOT_DEFINED
    value, low, high = (_signed(v, decimals) for v in (found.value, found.low, found.high))
    return f"{value} ({low} to {high})" if found.low < 0 else f"{value} ({low}–{high})"


def _signed(value: float, decimals: int) -> str:
    written = f"{value:.{decimals}f}"
    if not float(written):  # no minus before nothing
        written = written.lstrip("-")
    return written.replace("-", "−")


def measured_on(images: int, radiographs: int | None) -> str:
    """Return what a figure rests on: ``283 images of 138 radiographs``."""
    return f"{images:,} images" + (f" of {radiographs:,} radiographs" if radiographs else "")


def basis(evaluation: Evaluation) -> str:
    """Return what all figures of an evaluation rest on."""
    return measured_on(evaluation.images, evaluation.groups if evaluation.by_radiograph else None)


def accuracy(evaluation: Evaluation) -> str:
    """Return the accuracy with its interval and what it rests on."""
    found = evaluation.metrics["accuracy"]
    return wording.estimate(
        found.get_config(),
        evaluation.images,
        evaluation.groups if evaluation.by_radiograph else None,
    )


def answer(evaluation: Evaluation, split: dict[str, Any] | None) -> list[str]:
    """Return how good a model is and whether to believe it, in a few sentences.

    Args:
        evaluation: what was measured.
        split: what the card says of the split; ``None`` if it is not known.
    """
    said = [
        f"Accuracy {accuracy(evaluation)}: the share of the test images that are classified as "
        "they are labelled."
    ]
    return [*said, _against_the_most_frequent(evaluation), trust(split), *blindness(evaluation)]


def always_the_most_frequent(counts: np.ndarray) -> tuple[str, float]:
    """Return what calls every image by its most frequent label, and how often that is right.

    Args:
        counts: images of each class.
    """
    most = int(counts.argmax())
    said = f"calling every image {CLASSES[most].name}, the most frequent label,"
    return said, float(counts[most] / counts.sum())


def _against_the_most_frequent(evaluation: Evaluation) -> str:
    always, baseline = always_the_most_frequent(evaluation.confusion.sum(axis=1))
    found = evaluation.metrics["accuracy"]
    if found.low is not None and found.low > baseline:
        return f"{always[0].upper()}{always[1:]} would be right in {wording.percent(baseline)}."
    return (
        f"That is not clearly better than {always} which is right in {wording.percent(baseline)}."
    )


def trust(split: dict[str, Any] | None) -> str:
    """Return what a split lets one expect of new patients."""
    if split is None:
        return (
            "How training and test images were split is not known here. If copies of the test "
            "images were in training, these figures say nothing of a new patient."
        )
    protocol = str(split.get("protocol", "unknown"))
    copied = split.get("same_radiograph_share") or split.get("identical_share")
    if copied:
        return (
            f"Do not expect this of a new patient: {wording.percent(copied)} of the test images "
            "have a copy in training, and a copy is recognised rather than diagnosed."
        )
    if protocol == "random":
        return (
            "The images were split at random, file by file; pictures of one patient may be on "
            "both sides, and a new patient may fare worse."
        )
    apart = split.get("same_patient_share")
    if "patient" in protocol or ("radiograph" in protocol and apart == 0):
        return (
            "No patient has images in both training and test. New patients like those of this "
            "collection should fare alike; those of another hospital may fare worse."
        )
    if "radiograph" in protocol:
        others = (
            "training may hold other radiographs of a test patient (the other knee, another date)"
            if apart is None
            else f"{wording.percent(apart)} of the test images are of patients with another "
            "radiograph in training"
        )
        return (
            f"No radiograph has copies in both training and test, but {others}. New patients may "
            "fare worse, and those of another hospital worse still."
        )
    return "What this split lets one expect of a new patient is not known."


def blindness(evaluation: Evaluation) -> list[str]:
    """Return what is said where it is not known which radiograph each image shows."""
    if evaluation.by_radiograph:
        return []
    return [
        "Which radiograph each image shows is not known, so the intervals count files. If there "
        "are copies, they are too narrow."
    ]


def mistakes(evaluation: Evaluation) -> str:
    """Return what becomes of those labelled osteoporosis: the mistake that matters first."""
    healthy, porosis = 0, len(CLASSES) - 1
    row = evaluation.confusion[porosis]
    if not row.sum():
        return "No test image is labelled osteoporosis."
    missed, found = (evaluation.shares[porosis][place] for place in (healthy, porosis))
    return (
        f"Of {row.sum():,} images labelled osteoporosis, {row[porosis]:,} were called so: "
        f"{share(found)}; {row[healthy]:,} were called healthy: {share(missed)}."
    )


def class_table(evaluation: Evaluation) -> list[dict[str, str]]:
    """Return the figures by class and their means, a row each, as words."""
    counts = evaluation.confusion.sum(axis=1)
    rows = [{"Class": c.label, "Images": f"{n:,}"} for c, n in zip(CLASSES, counts)]
    rows += [{"Class": "Mean of the classes", "Images": f"{counts.sum():,}"}]
    rows += [{"Class": "Mean by images", "Images": f"{counts.sum():,}"}]
    for heading, metric, macro, weighted, is_share in _COLUMNS:
        names = [*(f"{metric}_{c.name}" for c in CLASSES), macro, weighted]
        for row, name in zip(rows, names):
            found = evaluation.metrics[name] if name else None
            row[heading] = "" if found is None else (share if is_share else number)(found)
    return rows


def overall_table(evaluation: Evaluation) -> list[dict[str, str]]:
    """Return the figures of all classes together, with what each means."""
    return [
        {
            "Figure": title,
            "Value (95 % CI)": (share if is_share else number)(evaluation.metrics[name]),
            "What it is": what,
        }
        for title, name, is_share, what in _OVERALL
    ]


_CALIBRATION = (
    ("Log loss", "negative_log_likelihood", 3),
    ("Brier score", "brier_score", 3),
    ("Expected calibration error", "expected_calibration_error", 3),
)


def calibration(found: Calibration, evaluation: Evaluation) -> list[str]:
    """Return whether scores can be read as probabilities, and what a temperature does."""
    error = share(evaluation.metrics["expected_calibration_error"])
    said = [
        "On average the score of the class called differs by "
        f"{error} from the share of images that are classified as labelled."
    ]
    if found.temperature is None:
        return [*said, found.reason or ""]
    return [*said, _tried(found, found.temperature), _change(found.temperature)]


def _tried(found: Calibration, temperature: Temperature) -> str:
    surer = "less sure" if temperature.value > 1 else "surer"
    fitted = measured_on(found.sizes["choosing_images"], found.sizes["choosing_radiographs"])
    other = measured_on(found.sizes["measuring_images"], found.sizes["measuring_radiographs"])
    return (
        f"Temperature scaling was fitted on one half ({fitted}): a temperature of "
        f"{temperature.value:.2f} makes the model {surer}. It was measured on the other ({other}). "
        "It never changes which class is called."
    )


def _change(temperature: Temperature) -> str:
    loss = number(temperature.change["negative_log_likelihood"], 3)
    if temperature.at_limit:
        return (
            "The fit ran to the end of its range, which happens when the model makes no mistakes "
            "or learnt nothing. It is not used."
        )
    if temperature.helps:
        return (
            f"It helps: the log loss, which should fall, changes by {loss}, all of it below 0. "
            "It is worth using."
        )
    return (
        f"It does not help: the log loss, which should fall, changes by {loss}, and only an "
        "interval that is all below 0 counts as help. It is not used."
    )


def served(card: dict[str, Any]) -> list[str]:
    """Return which outputs are shown where a model is used, and which are measured here."""
    if card.get("calibration"):
        return [
            f"Where the model is used, its outputs are shown after the temperature on its card, "
            f"{card['calibration']['temperature']:.2f}. What is measured here, but for the "
            "comparison, is of the outputs before it, as predictions.csv has them."
        ]
    return [
        "Its card has no temperature: where the model is used, its outputs are shown as scores."
    ]


def before_temperature(card: dict[str, Any]) -> list[str]:
    """Return what must be known of a threshold if the outputs shown are calibrated ones."""
    if not card.get("calibration"):
        return []
    # With three classes an image's place in the order of one class can change with the
    # temperature; so a threshold cannot be carried over by dividing it.
    return [
        "This is of the outputs before the temperature on the model's card, not of those that "
        "are shown where it is used."
    ]


def calibration_table(temperature: Temperature) -> list[dict[str, str]]:
    """Return what was measured before and after temperature scaling."""
    return [
        {
            "Figure (95 % CI)": title,
            "Without": number(temperature.before[name], decimals),
            "With": number(temperature.after[name], decimals),
            "Change": number(temperature.change[name], decimals),
        }
        for title, name, decimals in _CALIBRATION
    ]


def reliability_table(found: Calibration) -> list[dict[str, str]]:
    """Return the bins of the reliability diagram that hold images."""
    return [
        {
            "Score of the class called": f"{100 * b.low:.0f}–{100 * b.high:.0f} %",
            "Images": f"{b.images:,}",
            "Radiographs": f"{b.radiographs:,}",
            "Mean score": wording.percent(b.confidence),
            "Classified as labelled (95 % CI)": share(b.right),
        }
        for b in found.bins
        if b.images
    ]


def operating_point(point: OperatingPoint) -> str:
    """Return what a target sensitivity costs, in two sentences."""
    label = point.condition.label
    if point.threshold is None:
        return point.reason or ""
    wrongly = None if point.specificity.value is None else 1 - point.specificity.value
    threshold = wording.level(point.threshold)
    return (
        f"To find {wording.percent(point.wished)} of the images labelled {_labelled(point)}, call "
        f"{label} where {point.condition.score} {threshold} or more. Measured on the other half of "
        f"the radiographs, this finds {share(point.sensitivity)}. The cost: "
        f"{wording.percent(wrongly)} of the images without it are called so wrongly; "
        f"specificity {share(point.specificity)}."
    )


def operating(points: Sequence[OperatingPoint]) -> list[str]:
    """Return a sentence on one operating point of each condition: the middle one wished."""
    by_condition: dict[str, list[OperatingPoint]] = {}
    for point in points:
        by_condition.setdefault(point.condition.name, []).append(point)
    middle = [sorted(p, key=lambda one: one.wished)[len(p) // 2] for p in by_condition.values()]
    return list(dict.fromkeys(operating_point(p) for p in middle))


def _labelled(point: OperatingPoint) -> str:
    return " or ".join(point.condition.classes)


def operating_table(points: Sequence[OperatingPoint]) -> list[dict[str, str]]:
    """Return operating points, a row each."""
    return [
        {
            "To find": f"{_first_upper(p.condition.label)} ({_labelled(p)})"
            if len(p.condition.classes) > 1
            else _first_upper(p.condition.label),
            "Target sensitivity": wording.percent(p.wished),
            "Threshold": NOT_DEFINED if p.threshold is None else wording.level(p.threshold),
            "Sensitivity measured (95 % CI)": share(p.sensitivity),
            "Specificity measured (95 % CI)": share(p.specificity),
            "Measured on": measured_on(p.with_it + p.without_it, p.measured_radiographs),
        }
        for p in points
    ]


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def conformal(found: PredictionSets) -> list[str]:
    """Return what sets of classes come to, in sentences."""
    if found.least_probability is None:
        return [found.reason or ""]
    rest = measured_on(found.measured_images, found.measured_radiographs)
    empty, single, *_, full = found.sizes
    said = [found.reason] if found.reason else []
    least, wished = wording.level(found.least_probability), wording.percent(found.wished)
    said.append(
        f"A set names every class with a score of {least} or more. "
        f"Sets that should hold the label in {wished} of radiographs held it in "
        f"{share(found.coverage)} of others ({rest}; each radiograph counts once)."
    )
    said.append(
        f"{share(single)} of the sets name one class, {share(full)} name all three and so say "
        f"nothing, {share(empty)} name none. On average a set names {number(found.size, 1)} "
        "classes."
    )
    defined = {n: e for n, e in found.by_class.items() if e.value is not None}
    if defined:
        worst = min(defined, key=lambda name: defined[name].value)
        said.append(
            f"The promise is for all classes together. It was kept least for {worst}: "
            f"{share(defined[worst])}."
        )
    return said


def conformal_table(found: PredictionSets) -> list[dict[str, str]]:
    """Return the coverage by class."""
    return [
        {"Label": by_name(name).label, "Sets that hold it (95 % CI)": share(e)}
        for name, e in found.by_class.items()
    ]


def confusion_table(evaluation: Evaluation) -> list[dict[str, str]]:
    """Return the confusion matrix as counts with shares of the row, a row each."""
    return [
        {
            "Labelled": label.label,
            **{
                called.label: f"{int(count):,}"
                + ("" if found.value is None else f": {share(found)}")
                for called, count, found in zip(CLASSES, counts, shares)
            },
        }
        for label, counts, shares in zip(CLASSES, evaluation.confusion, evaluation.shares)
    ]


_CLAIM = "CLAIM 2024: "


def card_parts(sections: Sequence[Section]) -> list[tuple[str, list[Section]]]:
    """Return a model's card in its two parts, each with a title that counts what is known."""
    claim = [s for s in sections if s.heading.startswith(_CLAIM)]
    card = [s for s in sections if not s.heading.startswith(_CLAIM)]
    named = (
        ("Model card, by the headings of Mitchell and others (2019)", card),
        ("CLAIM 2024, the checklist for artificial intelligence in medical imaging", claim),
    )
    parts = []
    for title, part in named:
        items = [item for section in part for item in section.items]
        known = sum(item.known for item in items)
        if items:
            parts.append((f"{title}: {known} of {len(items)} items are known", part))
    return parts


def card_heading(section: Section) -> str:
    """Return a section's heading as it stands under the title of its part."""
    return _first_upper(section.heading.removeprefix(_CLAIM))


def unknown(section: Section) -> str:
    """Return what a card does not say of a section, in one sentence, or nothing."""
    names = [item.name for item in section.items if not item.known]
    return f"Not on the card: {'; '.join(names)}." if names else ""
