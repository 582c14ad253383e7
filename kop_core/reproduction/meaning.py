"""What the figures of a reproduction mean, in sentences that follow from them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np

from kop_core import wording
from kop_core.classes import CLASS_NAMES
from kop_core.evaluation import Estimate, Predictions, published
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
    if len(arms) == 2:
        said += _on_difference(arms["random"], arms["radiograph"])
    return said


def one_decimal(share: float | None) -> str:
    """Return a share in per cent with one decimal; this page compares with 90.25 %."""
    return "not defined" if share is None else f"{100 * share:.1f} %"


def with_interval(estimate: Estimate) -> str:
    """Return a share with its 95 % interval."""
    if estimate.value is None:
        return "not defined"
    low, high = (f"{100 * v:.1f}" for v in (estimate.low, estimate.high))
    return f"{one_decimal(estimate.value)} (95 % CI {low}–{high})"


def accuracies(arm: Arm) -> list[float]:
    """Return the accuracy of each finished run."""
    return [float(e.metrics["accuracy"].value) for e in arm.evaluations]


def _several(arm: Arm) -> str:
    """Return mean and range of the accuracy over the runs of an arm."""
    found = accuracies(arm)
    if len(found) == 1:
        return "one run"
    what = "folds" if arm.folds else "seeds"
    low, high = (one_decimal(v) for v in (min(found), max(found)))
    return f"mean of {len(found)} {what} {one_decimal(float(np.mean(found)))}, {low} to {high}"


def _on_data(results: Results) -> Iterator[str]:
    data = results.data
    files = data.get("files")
    if files is None:
        return
    if files != published.IMAGES:
        yield (f"The paper used {published.IMAGES:,} images; this data set has {files:,} files.")
    if data.get("radiographs"):
        yield (
            f"The {files:,} files show {data['radiographs']:,} radiographs. "
            f"{data['conflicted_radiographs'] or 0:,} of these are filed under more than one class."
        )
    if data.get("radiographs_from") == "audit":
        yield (
            "Which files show the same radiograph was found by KOP's audit of the pictures, not "
            "stated by the data set."
        )


def _on_random(arm: Arm) -> Iterator[str]:
    found = accuracies(arm)
    mean = float(np.mean(found))
    yield (
        "By the paper's protocol, a random split of the files, the network calls "
        f"{with_interval(arm.evaluation.metrics['accuracy'])} of the test images what they are "
        f"labelled ({_several(arm)}; {arm.badge})."
    )
    printed = f"the {100 * published.ACCURACY:.2f} % that the paper prints"
    reached = sum(accuracy >= published.ACCURACY for accuracy in found)
    points = 100 * abs(mean - published.ACCURACY)
    side = "above" if mean >= published.ACCURACY else "below"
    if len(found) == 1:
        verb = "reaches" if reached else "does not reach"
        yield f"That {verb} {printed}: it is {points:.1f} points {side}."
    else:
        runs = {0: "None of the runs reaches", len(found): "Every run reaches"}
        some = f"{reached} of {len(found)} runs {'reaches' if reached == 1 else 'reach'}"
        yield f"{runs.get(reached, some)} {printed}; their mean is {points:.1f} points {side} it."


def _on_radiograph(arm: Arm) -> Iterator[str]:
    metrics = arm.evaluation.metrics
    yield (
        "By radiograph, with the same network and the same settings, it calls "
        f"{with_interval(metrics['accuracy'])} of the test images what they are labelled "
        f"({_several(arm)}; {arm.badge})."
    )
    name, share = _largest_class(arm.pooled)
    yield (
        f"Calling every one of these test images {name}, the most frequent class among them, would "
        f"be right in {one_decimal(share)}: the network's accuracy "
        f"{_against(metrics['accuracy'], share, 'that')}."
    )
    guess = 1 / len(CLASS_NAMES)
    yield (
        "The mean of the three classes' sensitivities, which does not reward calling everything "
        f"the largest class, is {with_interval(metrics['balanced_accuracy'])}: it "
        f"{_against(metrics['balanced_accuracy'], guess, f'the {one_decimal(guess)} of guessing')}."
    )
    ceiling = best_possible(arm.pooled)
    if ceiling is not None and ceiling < 1:
        yield (
            "Files of one radiograph carry different labels. Whoever gives each radiograph one "
            f"class, however well, is right in at most {one_decimal(ceiling)} of these test images."
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
            f"The random split's accuracy is {value:+.1f} points from that by radiograph (95 % CI "
            f"{low:+.1f} to {high:+.1f}): with these radiographs that cannot be told from no "
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
            f"{low:.1f}–{high:.1f}). The settings are the same, so that much of the accuracy came "
            f"from having seen copies of the test images{_copies(random)}. It is not to be "
            "expected on a new patient."
        )


def _copies(random: Arm) -> str:
    splits = [run["split"] for run in random.finished]
    if any(split.get("same_radiograph") is None for split in splits):
        return ""
    share = sum(s["same_radiograph"] for s in splits) / sum(s["test_files"] for s in splits)
    return f" ({wording.percent(share)} of those of the random split had some in training)"


def _largest_class(predictions: Predictions) -> tuple[str, float]:
    counts = np.bincount(predictions.true, minlength=len(CLASS_NAMES))
    return CLASS_NAMES[int(counts.argmax())], float(counts.max() / counts.sum())


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

    The interval is a percentile bootstrap over the radiographs of both, drawn together.
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
    low, high = np.percentile(sampled[np.isfinite(sampled)], (2.5, 97.5))
    return Estimate(float(gaps(counts.sum(axis=0))), float(low), float(high))
