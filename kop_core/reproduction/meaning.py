"""What the figures of a reproduction mean, in sentences that follow from them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from kop_core import wording
from kop_core.classes import CLASS_NAMES
from kop_core.evaluation import Estimate, Predictions, published
from kop_core.evaluation.intervals import Scale, ends, ratios
from kop_core.reproduction import by_heart, look_up, words
from kop_core.reproduction.results import Arm, Results

_DRAWS = 2000


def sentences(results: Results) -> list[str]:
    """Return what came out for one data set, in plain words."""
    arms = {arm.split: arm for arm in results.arms if arm.finished}
    said = list(_on_data(results))
    if "random" in arms:
        said += _on_random(arms["random"])
    if "radiograph" in arms:
        said += _on_radiograph(arms["radiograph"])
        said += _on_file_facts(arms["radiograph"], results.audit)
    if len(arms) == 2:
        said += _on_difference(arms["random"], arms["radiograph"])
    return said


def accuracies(arm: Arm) -> list[float]:
    """Return the accuracy of each finished run."""
    return [float(e.metrics["accuracy"].value) for e in arm.evaluations]


def _several(arm: Arm) -> str:
    """Return mean and range of the accuracy over the runs of an arm."""
    found = accuracies(arm)
    if len(found) == 1:
        return "one run"
    what = "folds" if arm.folds else "seeds"
    low, high = (words.one_decimal(v) for v in (min(found), max(found)))
    return (
        f"mean of {len(found)} {what} {words.one_decimal(float(np.mean(found)))}, {low} to {high}"
    )


def _on_data(results: Results) -> Iterator[str]:
    data = results.data
    files = data.get("files")
    if files is None:
        return
    if files != published.IMAGES:
        yield _on_size(files)
        yield from _on_mix(data.get("classes"))
    if data.get("radiographs"):
        yield (
            f"The {files:,} files show {data['radiographs']:,} radiographs: the figures rest on "
            f"that many, not on {files:,}. {data['conflicted_radiographs'] or 0:,} of these are "
            "filed under more than one class."
        )
    if data.get("radiographs_from") == "audit":
        yield (
            "Which files show the same radiograph was found by KOP's audit of the pictures, not "
            "stated by the data set."
        )


def _on_size(files: int) -> str:
    said = f"The paper used {published.IMAGES:,} images; this data set has {files:,} files"
    if files > published.IMAGES:
        return f"{said}: it holds others than the paper's."
    share = wording.percent(files / published.IMAGES)
    return f"{said}, at most a part of those ({share})."


def _on_mix(classes: dict[str, int] | None) -> Iterator[str]:
    """Compare the shares of the classes with those of the paper's test part."""
    fitting = published.margins()
    if not classes or len(fitting) != 1:
        return
    theirs = dict(zip(CLASS_NAMES, fitting[0].true))
    mixes = [
        ", ".join(f"{wording.percent(found.get(n, 0) / sum(found.values()))} {n}" for n in theirs)
        for found in (theirs, classes)
    ]
    yield (
        f"The paper's test part was {mixes[0]}, which follows from its Table 2; these files are "
        f"{mixes[1]}. How often a network is right depends on that too."
    )


def _on_random(arm: Arm) -> Iterator[str]:
    found = accuracies(arm)
    mean = float(np.mean(found))
    yield (
        "By the paper's protocol, a random split of the files, the network calls "
        f"{words.with_interval(arm.evaluation.metrics['accuracy'])} of the test images what they "
        f"are labelled ({_several(arm)}; {arm.badge})."
    )
    printed = f"the {100 * published.ACCURACY:.2f} % that the paper prints"
    reached = sum(accuracy >= published.ACCURACY for accuracy in found)
    points = 100 * abs(mean - published.ACCURACY)
    side = "above" if mean >= published.ACCURACY else "below"
    if len(found) == 1:
        verb = "reaches" if reached else "does not reach"
        yield f"That {verb} {printed}: it is {points:.1f} points {side}. {_inside(arm)}"
    else:
        runs = {0: "None of the runs reaches", len(found): "Every run reaches"}
        some = f"{reached} of {len(found)} runs {'reaches' if reached == 1 else 'reach'}"
        yield (
            f"{runs.get(reached, some)} {printed}; their mean is {points:.1f} points {side} it. "
            f"{_inside(arm)}"
        )
    yield _on_largest_class(arm)
    yield from by_heart.sentences(arm)
    yield from look_up.sentences(arm)


def _on_largest_class(arm: Arm) -> str:
    name, share, gain = against_largest_class(arm.pooled)
    return (
        f"Calling every one of these test images {name}, the most frequent class among them, would "
        f"be right in {words.one_decimal(share)}. The network's accuracy "
        f"{_against(gain, 0, 'that')}: {words.points(gain)}."
    )


def _inside(arm: Arm) -> str:
    """Say where the paper's accuracy lies beside the interval of an arm."""
    found, printed = arm.evaluation.metrics["accuracy"], published.ACCURACY
    if printed > found.high:
        return "The paper's figure lies above our 95 % interval."
    if printed < found.low:
        return "The paper's figure lies below our 95 % interval."
    return "The paper's figure, which has no interval of its own, lies inside our 95 % interval."


def _on_radiograph(arm: Arm) -> Iterator[str]:
    metrics = arm.evaluation.metrics
    yield (
        "By radiograph, with the same network and the same settings, it calls "
        f"{words.with_interval(metrics['accuracy'])} of the test images what they are labelled "
        f"({_several(arm)}; {arm.badge})."
    )
    yield _on_largest_class(arm)
    guess = 1 / len(CLASS_NAMES)
    of_guessing = f"the {words.one_decimal(guess)} of guessing"
    yield (
        "The mean of the three classes' sensitivities, which does not reward calling everything "
        f"the largest class, is {words.with_interval(metrics['balanced_accuracy'])}: it "
        f"{_against(metrics['balanced_accuracy'], guess, of_guessing)}."
    )
    ceiling = best_possible(arm.pooled)
    if ceiling is not None and ceiling < 1:
        yield (
            "Files of one radiograph carry different labels. Whoever gives each radiograph one "
            f"class, however well, is right in at most {words.one_decimal(ceiling)} of these test "
            "images."
        )
    yield from look_up.sentences(arm)
    yield from look_up.on_rest(arm)


def _on_file_facts(arm: Arm, audit: dict[str, Any] | None) -> Iterator[str]:
    """Compare an arm with what facts of the files reach, without a look at any picture."""
    shortcut = (audit or {}).get("shortcuts", {}).get("file_facts", {})
    if not shortcut.get("by_radiograph") or shortcut["by_radiograph"]["value"] is None:
        return
    facts, network = Estimate(**shortcut["by_radiograph"]), arm.evaluation.metrics["accuracy"]
    if network.low > facts.high:
        follows = "The network's interval lies above that: it needs more than such facts."
    elif network.high < facts.low:
        follows = "The network's interval lies below that."
    else:
        follows = (
            "The network's interval overlaps with that: an accuracy of this size can be had here "
            "without looking at any bone."
        )
    yield (
        "A classifier that never sees a picture, only its file's width, height, mode, format and "
        f"bytes, is right in {words.with_interval(facts)} in five folds by radiograph. {follows}"
    )


def _against(estimate: Estimate, reference: float, what: str) -> str:
    """Return whether a figure is above, below or not told apart from a reference."""
    if estimate.value is None:
        return "is not defined"
    if estimate.low > reference:
        return f"is above {what}"
    if estimate.high < reference:
        return f"is below {what}"
    return f"cannot be told from {what}"


def _on_difference(random: Arm, radiograph: Arm) -> Iterator[str]:
    gap = difference(random.pooled, radiograph.pooled)
    if gap is None:
        return
    value, low, high = (100 * v for v in (gap.value, gap.low, gap.high))
    if low <= 0 <= high:
        yield (
            "The random split's accuracy differs from that by radiograph by "
            f"{words.points(gap)}: with these radiographs that cannot be told from no "
            "difference."
        )
    elif high < 0:
        yield (
            "By radiograph it is right more often than by the random split, by "
            f"{-value:.1f} points (95 % CI {-high:.1f}–{-low:.1f})."
        )
    else:
        yield (
            f"Keeping the files of a radiograph on one side costs {value:.1f} points (95 % CI "
            f"{low:.1f}–{high:.1f}). Network and settings are the same. The test images are not, "
            "but what this takes from the network are the copies of its test images"
            f"{_copies(random)}: the accuracy by the random split is not to be expected on a new "
            "patient."
        )


def _copies(random: Arm) -> str:
    splits = [run["split"] for run in random.finished]
    if any(split.get("same_radiograph") is None for split in splits):
        return ""
    share = sum(s["same_radiograph"] for s in splits) / sum(s["test_files"] for s in splits)
    return f" ({wording.percent(share)} of those of the random split had some in training)"


def against_largest_class(predictions: Predictions) -> tuple[str, float, Estimate]:
    """Return the most frequent class, its share, and how much more often a network is right.

    Both are paired image by image: the interval is that of the difference, by bootstrap over
    radiographs.
    """
    counts = np.bincount(predictions.true, minlength=len(CLASS_NAMES))
    largest = int(counts.argmax())
    more = (predictions.predicted == predictions.true) - 1.0 * (predictions.true == largest)
    gain = ratios([more], [np.ones(len(more))], predictions.groups, scale=Scale(None, None))[0]
    return CLASS_NAMES[largest], float(counts[largest] / counts.sum()), gain


def best_possible(predictions: Predictions) -> float | None:
    """Return the accuracy of the best answer that gives each radiograph one class.

    ``None`` where radiographs are not known.
    """
    if not predictions.by_radiograph:
        return None
    labels: dict[str, Counter] = defaultdict(Counter)
    for radiograph, true in zip(predictions.radiographs, predictions.true):
        labels[radiograph][int(true)] += 1
    return sum(max(c.values()) for c in labels.values()) / len(predictions.true)


def difference(one: Predictions, other: Predictions, seed: int = 0) -> Estimate | None:
    """Return by how much the accuracy of one set of predictions is above another's.

    The interval is a bootstrap over the radiographs of both, drawn together.
    ``None`` where radiographs are not known.
    """
    if not (one.by_radiograph and other.by_radiograph):
        return None
    names = {r: n for n, r in enumerate(sorted({*one.radiographs, *other.radiographs}))}
    counts = np.zeros((len(names), 4))
    for column, part in ((0, one), (2, other)):
        places = [names[r] for r in part.radiographs]
        np.add.at(counts, (places, column), part.predicted == part.true)
        np.add.at(counts, (places, column + 1), 1)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=_DRAWS)

    def gaps(sums: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return sums[..., 0] / sums[..., 1] - sums[..., 2] / sums[..., 3]

    sampled = gaps(drawn @ counts)
    low, high = ends(sampled[np.isfinite(sampled)], len(names))
    return Estimate(float(gaps(counts.sum(axis=0))), low, high)
