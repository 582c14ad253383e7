"""A cross-validation that was repeated: the mean of its repeats, with one interval.

Each repeat tests every radiograph once, with other folds and other first weights. The mean
over the repeats is the figure; an interval is by bootstrap over radiographs, and a draw of
radiographs is the same in every repeat. It says how much other radiographs would change the
mean. How much other folds and weights do, the range of the repeats says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kop_core.classes import CLASS_NAMES
from kop_core.errors import DataSetError
from kop_core.evaluation import intervals
from kop_core.evaluation.intervals import DRAWS, Estimate, Scale
from kop_core.evaluation.metrics import matrices_of, measures_of, of_draws, supports_of
from kop_core.evaluation.predictions import Predictions

_SIZE = len(CLASS_NAMES)
# A difference of two shares.
_BETWEEN = Scale(-1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Repeated:
    """A figure over the repeats of a cross-validation.

    Attributes:
        mean: of the repeats, with its 95 % interval over radiographs.
        each: the figure of every repeat, in order; ``None`` where it is not defined.
    """

    mean: Estimate
    each: tuple[float | None, ...]

    @property
    def range(self) -> tuple[float, float] | None:
        """The lowest and the highest repeat, if there are several that have the figure."""
        known = [value for value in self.each if value is not None]
        return (min(known), max(known)) if len(known) > 1 else None


def figures(
    repeats: Sequence[Predictions], metrics: Sequence[str], draws: int = DRAWS, seed: int = 0
) -> dict[str, Repeated]:
    """Return figures of a repeated cross-validation.

    Args:
        repeats: what was said of all images, once a repeat.
        metrics: names as :func:`kop_core.evaluation.evaluate` gives them.
        draws: how often the bootstrap draws radiographs.
        seed: of the bootstrap.

    Raises:
        DataSetError: if the repeats are not of the same images, or there is none.
        KeyError: if there is no such figure.
    """
    aligned, group = _aligned(repeats)
    matrices = [matrices_of(one, group) for one in aligned]
    measures = [measures_of(one, group, m) for one, m in zip(aligned, matrices)]
    values, samples = _drawn([[m] for m in measures], metrics, group, draws, seed)
    supports = supports_of(sum(matrices))
    return {
        name: _repeated(values[:, place], samples[:, place], supports[name], intervals.SHARE)
        for place, name in enumerate(metrics)
    }


def differences(
    ours: Sequence[Predictions],
    theirs: Sequence[Predictions],
    metrics: Sequence[str],
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Repeated]:
    """Return by how much figures of one model are above another's, repeat by repeat.

    Paired: both models were tested on the same images in the same folds.

    Args:
        ours: what one model said, once a repeat.
        theirs: what the other said in the same repeats.
        metrics: names of shares, as :func:`kop_core.evaluation.evaluate` gives them.
        draws: how often the bootstrap draws radiographs, the same for both.
        seed: of the bootstrap.

    Raises:
        DataSetError: if the images or labels are not the same, or the repeats not as many.
        KeyError: if there is no such figure.
    """
    if len(ours) != len(theirs):
        raise DataSetError(
            f"One model has {len(ours)} repeats and the other {len(theirs)}: they are not paired."
        )
    aligned, group = _aligned([*ours, *theirs])
    measures = [measures_of(one, group, matrices_of(one, group)) for one in aligned]
    pairs = list(zip(measures[: len(ours)], measures[len(ours) :]))
    values, samples = _drawn(pairs, metrics, group, draws, seed)
    groups = int(group.max()) + 1
    found = {}
    for place, name in enumerate(metrics):
        found[name] = _repeated(values[:, place], samples[:, place], groups, _BETWEEN)
    return found


def by_radiograph(predictions: Predictions) -> Predictions:
    """Return one row a radiograph: the mean of what was said of its files.

    A radiograph that is filed under several classes has a row for each of them, with the
    same probabilities: a model gives one answer, and cannot be right on both. A file whose
    radiograph is not known stands alone.
    """
    group = predictions.groups
    counts = np.bincount(group)
    means = np.stack(
        [np.bincount(group, column) / counts for column in predictions.probabilities.T], axis=1
    )
    rows = sorted(set(zip(group.tolist(), predictions.true.tolist())))
    names: dict[int, str] = {}
    for number, file, radiograph in zip(group, predictions.files, predictions.radiographs):
        names.setdefault(int(number), radiograph or file)
    numbers = np.array([number for number, _ in rows])
    return Predictions(
        tuple(f"{names[number]}/{true}" for number, true in rows),
        tuple(names[number] for number, _ in rows),
        np.array([true for _, true in rows]),
        means[numbers],
    )


def _drawn(
    pairs: Sequence[Sequence],
    metrics: Sequence[str],
    group: np.ndarray,
    draws: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return figures of each repeat, (repeats, metrics), and of each draw, (draws, metrics).

    Args:
        pairs: the measures of a repeat, or of a repeat of two models to be subtracted.
        metrics: names of the figures.
        group: the radiograph of each image.
        draws: how many draws.
        seed: of the draws.
    """

    def of(times: np.ndarray) -> np.ndarray:
        return np.stack([_less([_some(m, times, metrics) for m in pair]) for pair in pairs])

    groups = int(group.max()) + 1
    values = of(np.ones((1, groups)))[:, :, 0]
    blocks = intervals.times_drawn(groups, draws, seed, width=len(group))
    samples = np.concatenate([of(times).mean(axis=0) for times in blocks], axis=1)
    return values, samples.T


def _some(measures: Sequence, times: np.ndarray, metrics: Sequence[str]) -> np.ndarray:
    found = of_draws(measures, times)
    return np.stack([found[name] for name in metrics])


def _less(found: Sequence[np.ndarray]) -> np.ndarray:
    return found[0] if len(found) == 1 else found[0] - found[1]


def _repeated(values: np.ndarray, samples: np.ndarray, support: int, scale: Scale) -> Repeated:
    each = tuple(float(v) if np.isfinite(v) else None for v in values)
    mean = intervals.estimate(float(values.mean()), samples, support, scale)
    return Repeated(mean, each)


def _aligned(tables: Sequence[Predictions]) -> tuple[list[Predictions], np.ndarray]:
    """Return tables in the order of the first, and the radiograph of each image."""
    if not tables:
        raise DataSetError("There are no predictions.")
    first, found = tables[0], []
    for table in tables:
        at = {file: place for place, file in enumerate(table.files)}
        if at.keys() != set(first.files):
            raise DataSetError("The tables of predictions are not of the same images.")
        places = np.array([at[file] for file in first.files])
        if not np.array_equal(table.true[places], first.true):
            raise DataSetError("The tables of predictions label the same images differently.")
        found.append(
            Predictions(first.files, first.radiographs, first.true, table.probabilities[places])
        )
    return found, first.groups
