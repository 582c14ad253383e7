"""A confusion matrix under a rule: who is called what, with shares and their intervals.

The plain rule calls the class with the highest score. Two others move the matrix: one calls
nothing where no score is high enough, the other calls a condition from a score on. Shares of
a row are recalls, shares of a column precisions; their intervals come from the same draws of
radiographs as all others (see :mod:`kop_core.evaluation.intervals`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kop_core.classes import CLASS_NAMES
from kop_core.errors import DataSetError
from kop_core.evaluation import intervals
from kop_core.evaluation.comparison import interval, on_shared_radiographs
from kop_core.evaluation.intervals import DRAWS, Estimate
from kop_core.evaluation.operating import CONDITIONS, Condition
from kop_core.evaluation.predictions import Predictions

_SIZE = len(CLASS_NAMES)
# The column of images that are called nothing, and its name in tables and addresses.
UNCALLED = _SIZE
NOT_CALLED = "uncalled"
MOST_LIKELY, ABSTAIN, THRESHOLD = "most_likely", "abstain", "threshold"
KINDS = (MOST_LIKELY, ABSTAIN, THRESHOLD)


@dataclass(frozen=True)
class Rule:
    """How scores become a call.

    Attributes:
        kind: ``"most_likely"``, the class with the highest score; ``"abstain"``, the same
            unless that score is below the level, and then none; ``"threshold"``, the
            condition from the level on.
        level: a score between 0 and 1; the plain rule has none.
        condition: name of what is called from the level on, as in
            :data:`kop_core.evaluation.operating.CONDITIONS`.
    """

    kind: str = MOST_LIKELY
    level: float = 0.5
    condition: str = CONDITIONS[0].name

    def __post_init__(self) -> None:
        known = [c.name for c in CONDITIONS]
        if self.kind not in KINDS or self.condition not in known or not 0 <= self.level <= 1:
            raise ValueError(f"{self} is no rule: known are {KINDS} and {known}, levels 0 to 1.")

    @property
    def columns(self) -> tuple[str, ...]:
        """What can be called under it, in order; :data:`NOT_CALLED` where it may abstain."""
        return (*CLASS_NAMES, NOT_CALLED) if self.kind == ABSTAIN else CLASS_NAMES

    @property
    def sought(self) -> Condition:
        """What is called from the level on."""
        return next(c for c in CONDITIONS if c.name == self.condition)


PLAIN = Rule()


def called(predictions: Predictions, rule: Rule = PLAIN) -> np.ndarray:
    """Return what each image is called: index of a class, or :data:`UNCALLED`.

    With a threshold, an image whose score of the condition reaches the level is called the
    likeliest class of the condition, every other one the likeliest class that is not of it.

    Args:
        predictions: what a model said.
        rule: how a score becomes a call.

    Returns:
        Integers, shape (images,).
    """
    scores = predictions.probabilities
    if rule.kind == MOST_LIKELY:
        return predictions.predicted
    if rule.kind == ABSTAIN:
        return np.where(scores.max(axis=1) < rule.level, UNCALLED, predictions.predicted)
    inside = np.array([name in rule.sought.classes for name in CLASS_NAMES])
    # Scores that add up to one exactly may miss it by a rounding.
    reached = scores[:, inside].sum(axis=1) >= rule.level - 1e-9
    open_to = np.where(reached[:, None], inside, ~inside)
    return np.where(open_to, scores, -1.0).argmax(axis=1)


@dataclass(frozen=True, eq=False)
class Matrix:
    """A confusion matrix.

    Attributes:
        rule: what it was called by.
        counts: images, rows labelled, columns called, int, shape (classes, columns).
        of_rows: each cell's share of its row, with interval: recall on the diagonal.
        of_columns: each cell's share of its column: precision on the diagonal.
        images: images in all.
        groups: distinct radiographs among them, as far as they are known.
        by_radiograph: whether the radiograph of every image is known.
    """

    rule: Rule
    counts: np.ndarray
    of_rows: tuple[tuple[Estimate, ...], ...]
    of_columns: tuple[tuple[Estimate, ...], ...]
    images: int
    groups: int
    by_radiograph: bool

    @property
    def right(self) -> int:
        """Images that are called as they are labelled."""
        return int(np.trace(self.counts[:, :_SIZE]))

    @property
    def uncalled(self) -> int:
        """Images that are called nothing."""
        return int(self.counts[:, _SIZE:].sum())


def confusion_matrix(
    predictions: Predictions, rule: Rule = PLAIN, draws: int = DRAWS, seed: int = 0
) -> Matrix:
    """Return the confusion matrix under a rule, with 95 % intervals of its shares.

    Args:
        predictions: what a model said of its test part.
        rule: how a score becomes a call.
        draws: how often the bootstrap draws radiographs.
        seed: of the bootstrap.
    """
    group = predictions.groups
    each = _by_radiograph(predictions, rule, group)
    counts = each.sum(axis=0)
    rows, columns = _shares(counts[None])
    blocks = [_shares(drawn) for drawn in _drawn(each, draws, seed)]
    supports = ((each.sum(axis=2) > 0).sum(axis=0), (each.sum(axis=1) > 0).sum(axis=0))

    def table(of: int, values: np.ndarray) -> tuple[tuple[Estimate, ...], ...]:
        samples = np.concatenate([block[of] for block in blocks])
        return tuple(
            tuple(
                intervals.estimate(
                    float(values[0, i, j]), samples[:, i, j], int(supports[of][(i, j)[of]])
                )
                for j in range(counts.shape[1])
            )
            for i in range(_SIZE)
        )

    return Matrix(
        rule, counts.astype(int), table(0, rows), table(1, columns),
        len(group), len(each), predictions.by_radiograph,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Difference:
    """By how much one model's matrix is above another's, on the same images.

    Attributes:
        rule: what both were called by.
        counts: images of the first less those of the second, shape (classes, columns).
        of_rows: difference of each cell's share of its row, with a paired interval.
        of_columns: difference of each cell's share of its column.
        images: images in all.
        groups: distinct radiographs among them, as far as they are known.
        by_radiograph: whether the radiograph of every image is known.
    """

    rule: Rule
    counts: np.ndarray
    of_rows: tuple[tuple[Estimate, ...], ...]
    of_columns: tuple[tuple[Estimate, ...], ...]
    images: int
    groups: int
    by_radiograph: bool


def difference(
    a: Predictions, b: Predictions, rule: Rule = PLAIN, draws: int = DRAWS, seed: int = 0
) -> Difference:
    """Return by how much the matrix of ``a`` is above that of ``b``, paired by radiograph.

    Whether two models were tested on the same images is asked with
    :func:`kop_core.evaluation.comparison.same_test_part`.

    Args:
        a: what one model said.
        b: what another said of the same images, in any order.
        rule: how a score becomes a call, for both.
        draws: how often the bootstrap draws radiographs, the same for both.
        seed: of the bootstrap.

    Raises:
        DataSetError: if the images or their labels are not the same.
    """
    a, b = on_shared_radiographs([a, b])
    first, second = (_by_radiograph(p, rule, a.groups) for p in (a, b))
    each = np.concatenate([first, second], axis=1)  # one draw is for both

    def differences(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        of_a, of_b = _shares(drawn[:, :_SIZE]), _shares(drawn[:, _SIZE:])
        return of_a[0] - of_b[0], of_a[1] - of_b[1]

    values = differences(each.sum(axis=0)[None])
    blocks = [differences(drawn) for drawn in _drawn(each, draws, seed)]

    def table(of: int) -> tuple[tuple[Estimate, ...], ...]:
        samples = np.concatenate([block[of] for block in blocks])
        return tuple(
            tuple(
                _paired(float(values[of][0, i, j]), samples[:, i, j], len(each))
                for j in range(first.shape[2])
            )
            for i in range(_SIZE)
        )

    counts = (first.sum(axis=0) - second.sum(axis=0)).astype(int)
    return Difference(rule, counts, table(0), table(1), len(a.files), len(each), a.by_radiograph)


def _paired(value: float, samples: np.ndarray, groups: int) -> Estimate:
    return interval(value, samples[np.isfinite(samples)], groups)


def _by_radiograph(predictions: Predictions, rule: Rule, group: np.ndarray) -> np.ndarray:
    """Return one matrix of counts a radiograph: a draw of radiographs is a sum of them."""
    each = np.zeros((int(group.max()) + 1, _SIZE, len(rule.columns)))
    np.add.at(each, (group, predictions.true, called(predictions, rule)), 1)
    return each


def _drawn(each: np.ndarray, draws: int, seed: int) -> Iterator[np.ndarray]:
    """Yield matrices of draws, in blocks of shape (some draws, rows, columns)."""
    flat = each.reshape(len(each), -1)
    for times in intervals.times_drawn(len(each), draws, seed):
        yield (times @ flat).reshape(-1, *each.shape[1:])


def _shares(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return matrices of counts as shares of their rows and of their columns."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return (
            counts / counts.sum(axis=2, keepdims=True),
            counts / counts.sum(axis=1, keepdims=True),
        )


_CSV_COLUMNS = (
    "model", "rule", "level", "test_images", "test_radiographs", "split", "labelled", "called",
    "images", "share_of_row", "share_of_row_low", "share_of_row_high",
    "share_of_column", "share_of_column_low", "share_of_column_high",
)  # fmt: skip


def to_csv(found: Matrix | Difference, model: str, split: str) -> str:
    """Return a matrix, or a difference of two, as a CSV table: a row a cell, shares as numbers.

    Args:
        found: the matrix.
        model: id of whose it is; of a difference the ids of both.
        split: what is said of how the test part was split.
    """
    rule, level = found.rule.kind, "" if found.rule.kind == MOST_LIKELY else found.rule.level
    if rule == THRESHOLD:
        rule = f"{rule} {found.rule.condition}"
    radiographs = found.groups if found.by_radiograph else ""
    about = (model, rule, level, found.images, radiographs, split)
    stream = io.StringIO(newline="")
    rows = csv.writer(stream)
    rows.writerow(_CSV_COLUMNS)
    for i, true in enumerate(CLASS_NAMES):
        for j, name in enumerate(found.rule.columns):
            figures = [
                "" if value is None else f"{value:.6f}"
                for share in (found.of_rows[i][j], found.of_columns[i][j])
                for value in (share.value, share.low, share.high)
            ]
            rows.writerow([*about, true, name, int(found.counts[i, j]), *figures])
    return stream.getvalue()


def rule_from(kind: str | None, level: str | None, condition: str | None = None) -> Rule:
    """Return the rule that an address names; where it names none, the plain one.

    Args:
        kind: one of :data:`KINDS`.
        level: the score in per cent.
        condition: what is called from there on.

    Raises:
        DataSetError: if there is something that is no rule.
    """
    if not kind:
        return PLAIN
    try:
        share = float(level or "50") / 100
        return Rule(kind, share, condition or CONDITIONS[0].name)
    except ValueError:
        raise DataSetError(
            f"There is no rule {kind!r} with the level {level!r}. The most likely class is called."
        ) from None
