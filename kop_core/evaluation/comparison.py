"""Two models on the same test part: whether they can be compared, and by how much they differ.

What is compared is paired: both models saw the same images, so what is easy or hard for
both cancels out, and the interval is that of the difference (bootstrap over radiographs,
the same draws for both).

The p-value is not read off that interval. Percentiles of a bootstrap are too narrow where few
radiographs carry a figure: with 138 radiographs, 14 of them of one class, two equally good
models differed "significantly" in balanced accuracy 9 times in 100 where it should be 5. The
p-value is that of an exchange instead: if neither model is better, either could have said what
the other said of a radiograph, so the two are exchanged radiograph by radiograph at random, with
all files of it, and p is how often the difference is then as large as the one found, in either
direction (Good 2005; for areas under ROC curves, Venkatraman & Begg 1996). A random exchange is
one more draw than the data, so p is never 0 and the test is exact for models that can be
exchanged, however many copies there are. Areas are of the order of each model's own scores,
because scores of two models need not be on one scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from kop_core import model_store
from kop_core.classes import CLASS_NAMES
from kop_core.errors import DataSetError
from kop_core.evaluation import intervals
from kop_core.evaluation.intervals import DRAWS, UNDEFINED, Estimate
from kop_core.evaluation.metrics import (
    areas,
    from_confusion,
    matrices_of,
    measures_of,
    of_draws,
    of_probabilities,
)
from kop_core.evaluation.predictions import Predictions
from kop_core.model_store import PREDICTIONS, Model

_SIZE = len(CLASS_NAMES)


def read_predictions(model: Model) -> Predictions:
    """Return what a model said of its test part, if that is still as its card says.

    Raises:
        DataSetError: if the table was altered after the card was written, or cannot be read.
    """
    path = model.folder / PREDICTIONS
    predictions = Predictions.read(path)
    if model_store.checksum(path) != model.card["checksums"][PREDICTIONS]:
        raise DataSetError(
            f"The {PREDICTIONS} of {model.title} was altered after its card was written."
        )
    return predictions


def same_test_part(a: Model, b: Model) -> tuple[bool, str]:
    """Return whether two models were tested on the same images, and if not, why.

    They were when both were cut from the same data (the same fingerprint, which is over
    every file's path, class and bytes) and the same files are in both test parts.

    Args:
        a: the one that ``b`` is held against; a finished run's folder is a model too.
        b: the other.

    Returns:
        Whether they can be compared, and a sentence on why not (``""`` if they can).
    """
    why = _other_data(a, b)
    if why:
        return False, why
    try:
        mine, other = read_predictions(a), read_predictions(b)
    except DataSetError as error:
        return False, str(error)
    why = _other_images(mine, other)
    return not why, why


def why_not_comparable(a: Model, b: Model, mine: Predictions, other: Predictions) -> str:
    """Return why two models whose predictions were read cannot be compared, else ``""``.

    Args:
        a: the one that ``b`` is held against.
        b: the other, the "it" of the sentence.
        mine: what ``a`` said of its test part.
        other: what ``b`` said of its own.
    """
    return _other_data(a, b) or _other_images(mine, other)


def _other_data(a: Model, b: Model) -> str:
    first, second = (model.card["data"].get("fingerprint") for model in (a, b))
    if not first:
        return f"What data {a.title} was trained and tested on is not on its card."
    if not second:
        return "What data it was trained and tested on is not on its card."
    if first != second:
        return f"It was tested on other data ({b.card['data'].get('name') or 'unknown'})."
    return ""


def _other_images(mine: Predictions, other: Predictions) -> str:
    if set(mine.files) != set(other.files):
        shared = len(set(mine.files) & set(other.files))
        if shared == len(other.files):
            return (
                f"It was tested on only {shared:,} of the {len(mine.files):,} images of this test "
                "part."
            )
        return (
            f"It was not tested on the same images of this data: {shared:,} of its "
            f"{len(other.files):,} test images are in this test part."
        )
    if not np.array_equal(other.true[_places(mine, other)], mine.true):
        return "Its test images have other labels."
    return ""


@dataclass(frozen=True)
class Difference:
    """By how much a figure of one model is above that of another on the same images.

    Attributes:
        value: the difference; ``None`` if the figure is not defined for both.
        low: lower end of its 95 % interval, by a bootstrap over radiographs.
        high: upper end.
        p: two-sided, by exchanging the two models radiograph by radiograph.
    """

    value: float | None
    low: float | None
    high: float | None
    p: float | None

    @property
    def estimate(self) -> Estimate:
        """The difference with its interval."""
        return Estimate(self.value, self.low, self.high)

    def get_config(self) -> dict[str, float | None]:
        """Return it as plain values."""
        return dict(vars(self))


def paired_difference(
    a: Predictions, b: Predictions, metric: str, draws: int = DRAWS, seed: int = 0
) -> Estimate:
    """Return by how much a figure of ``a`` is above that of ``b``, with its 95 % interval.

    See :func:`paired_differences`, which does several at once.
    """
    return paired_differences(a, b, (metric,), draws, seed)[metric]


def paired_differences(
    a: Predictions, b: Predictions, metrics: Sequence[str], draws: int = DRAWS, seed: int = 0
) -> dict[str, Estimate]:
    """Return by how much figures of ``a`` are above those of ``b``, with 95 % intervals.

    Args:
        a: what one model said.
        b: what another said of the same images, in any order.
        metrics: names as :func:`kop_core.evaluation.evaluate` gives them, such as
            ``"accuracy"`` or ``"macro_f1"``.
        draws: how often the bootstrap draws radiographs, the same for both.
        seed: of the bootstrap.

    Returns:
        By name: value, low and high; all ``None`` if the figure is not defined for both.

    Raises:
        DataSetError: if the images or their labels are not the same.
        KeyError: if there is no such figure.
    """
    (drawn,) = _bootstrapped(on_shared_radiographs([a, b]), metrics, draws, seed).values()
    return drawn


def differences(
    tables: Sequence[Predictions],
    metrics: Sequence[str],
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[tuple[int, int], dict[str, Difference]]:
    """Return by how much figures differ in every pair of models, with intervals and p-values.

    Simulated with one to three copies a radiograph, equally good models differ with p at most
    0.05 in 3 to 6 cases of 100, in accuracy, macro F1, balanced accuracy, macro ROC AUC and
    Brier score alike; least often in accuracy, which comes in steps
    (``tests/evaluation/test_comparison.py`` has some of it).

    Args:
        tables: what each model said of the same images, in any order.
        metrics: names as :func:`kop_core.evaluation.evaluate` gives them.
        draws: of the bootstrap, and random exchanges.
        seed: of both.

    Returns:
        By the places of both in ``tables``, then by name: the first less the second.

    Raises:
        DataSetError: if the images or their labels are not the same.
        KeyError: if there is no such figure.
    """
    if not tables:
        return {}
    tables = on_shared_radiographs(tables)
    estimates, found = _bootstrapped(tables, metrics, draws, seed), {}
    for (one, other), by_name in estimates.items():
        p = _exchanged(tables[one], tables[other], tables[0].groups, metrics, draws, seed)
        found[one, other] = {
            name: Difference(e.value, e.low, e.high, None if e.value is None else p[name])
            for name, e in by_name.items()
        }
    return found


def on_shared_radiographs(tables: Sequence[Predictions]) -> list[Predictions]:
    """Return tables with the images in the order of the first, and the same radiographs in all.

    Which radiograph an image shows can be known to one table and not to another, or be told
    otherwise: radiographs are looked up when a model is trained, and what is known of a data set
    grows. Images that any table has under one radiograph are under one here, so that nothing
    depends on which table comes first and no copy is evidence of its own.

    Args:
        tables: of the same images, in any order; at least one.

    Raises:
        DataSetError: if the images or their labels are not the same.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first, *others = tables
    tables = [first, *(in_order_of(first, other) for other in others)]
    shows = [
        (image, (place, name))
        for place, table in enumerate(tables)
        for image, name in enumerate(table.radiographs)
        if name
    ]
    keys = dict.fromkeys(key for _, key in shows)
    node = {key: len(first.files) + i for i, key in enumerate(keys)}
    ends = np.array([(image, node[key]) for image, key in shows], dtype=int).reshape(-1, 2).T
    size = len(first.files) + len(node)
    graph = coo_array((np.ones(len(shows), dtype=bool), tuple(ends)), (size, size))
    joined = connected_components(graph, directed=False)[1]
    called: dict[int, str] = {}
    for place, name in node:
        together = int(joined[node[place, name]])
        if together not in called:
            taken = name in called.values()
            called[together] = f"{name} of table {place + 1}" if taken else name
    of_images = joined[: len(first.files)].tolist()
    radiographs = tuple(called.get(together, "") for together in of_images)
    return [replace(table, radiographs=radiographs) for table in tables]


def _bootstrapped(
    tables: Sequence[Predictions], metrics: Sequence[str], draws: int, seed: int
) -> dict[tuple[int, int], dict[str, Estimate]]:
    """Return the differences of every pair with intervals; all models have the same draws.

    The tables are of the same radiographs, as :func:`on_shared_radiographs` returns them.
    """
    group = tables[0].groups
    groups = int(group.max()) + 1
    values, samples = [], []
    for table in tables:
        measures = measures_of(table, group, matrices_of(table, group))
        values.append(_chosen(of_draws(measures, np.ones((1, groups))), metrics)[:, 0])
        blocks = intervals.times_drawn(groups, draws, seed, width=len(group))
        samples.append(
            np.concatenate(
                [_chosen(of_draws(measures, times), metrics) for times in blocks], axis=1
            )
        )
    return {
        (one, other): {
            name: interval(float(value), drawn[np.isfinite(drawn)], groups)
            for name, value, drawn in zip(
                metrics, values[one] - values[other], samples[one] - samples[other]
            )
        }
        for one, other in combinations(range(len(tables)), 2)
    }


def _chosen(found: dict[str, np.ndarray], metrics: Sequence[str]) -> np.ndarray:
    return np.stack([found[name] for name in metrics])


def _exchanged(
    a: Predictions,
    b: Predictions,
    group: np.ndarray,
    metrics: Sequence[str],
    draws: int,
    seed: int,
) -> dict[str, float]:
    """Return the p-value of every difference by exchanging radiographs between two models."""
    groups = int(group.max()) + 1
    measure = _of_either(a, b, group, metrics)

    def differences_of(mine: np.ndarray) -> np.ndarray:
        one, other = (of_draws(measure, np.hstack(w)) for w in ((mine, 1 - mine), (1 - mine, mine)))
        return _chosen(one, metrics) - _chosen(other, metrics)

    found = np.abs(differences_of(np.ones((1, groups))))
    rng, block = np.random.default_rng(seed), max(1, 1_000_000 // len(group))
    as_large = np.zeros(len(metrics))
    for begin in range(0, draws, block):
        mine = rng.integers(0, 2, (min(block, draws - begin), groups)).astype(np.float64)
        # What is undefined after an exchange says nothing against "no difference".
        drawn = np.abs(differences_of(mine))
        as_large += (~(drawn < found - 1e-12)).sum(axis=1)
    return dict(zip(metrics, ((1 + as_large) / (1 + draws)).tolist()))


def _of_either(
    a: Predictions, b: Predictions, group: np.ndarray, metrics: Sequence[str]
) -> tuple[Callable[[np.ndarray], dict[str, np.ndarray]], ...]:
    """Return functions to figures of predictions that are those of ``a`` here and ``b`` there.

    They take how often each radiograph counts as ``a`` said and as ``b`` said, side by side:
    shape (draws, 2 · radiographs). Areas, which are slow, only where one is asked for.
    """
    groups = int(group.max()) + 1
    both = np.concatenate([group, group + groups])
    said = _stacked(a, b, a.probabilities, b.probabilities)
    flat = matrices_of(said, both).reshape(2 * groups, -1)
    measures = (
        lambda times: from_confusion((times @ flat).reshape(-1, _SIZE, _SIZE)),
        of_probabilities(said.probabilities, said.true, both),
    )
    if not any("roc_auc" in name or "average_precision" in name for name in metrics):
        return measures
    ordered = _stacked(a, b, _ranks(a.probabilities), _ranks(b.probabilities))
    return (*measures, areas(ordered, both))


def _stacked(a: Predictions, b: Predictions, of_a: np.ndarray, of_b: np.ndarray) -> Predictions:
    return Predictions(
        a.files + b.files,
        a.radiographs + b.radiographs,
        np.concatenate([a.true, b.true]),
        np.concatenate([of_a, of_b]),
    )


def _ranks(scores: np.ndarray) -> np.ndarray:
    """Return each class's scores as ranks from 1; equal scores share the mean of theirs."""
    columns = []
    for score in scores.T:
        _, place, count = np.unique(score, return_inverse=True, return_counts=True)
        last = count.cumsum()
        columns.append((last - (count - 1) / 2)[place])
    return np.stack(columns, axis=1)


def in_order_of(a: Predictions, b: Predictions) -> Predictions:
    """Return ``b`` with its images in the order of ``a``.

    Raises:
        DataSetError: if the images or their labels are not the same.
    """
    if set(a.files) != set(b.files):
        raise DataSetError("The two tables of predictions are not of the same images.")
    places = _places(a, b)
    b = Predictions(
        a.files, tuple(b.radiographs[i] for i in places), b.true[places], b.probabilities[places]
    )
    if not np.array_equal(a.true, b.true):
        raise DataSetError("The two tables of predictions label the same images differently.")
    return b


def interval(value: float, samples: np.ndarray, groups: int) -> Estimate:
    """Return a paired difference with its interval.

    Args:
        value: the difference on all that was measured.
        samples: the same in each draw.
        groups: how many radiographs were drawn from.
    """
    if not np.isfinite(value) or not samples.size:
        return UNDEFINED
    low, high = intervals.ends(samples, groups)
    if low == high:
        # No image told the two apart: as many radiographs cannot rule out that a few would
        # (Clopper & Pearson 1934, as in intervals.estimate).
        beyond = 1 - 0.025 ** (1 / groups)
        low, high = low - beyond, high + beyond
    return Estimate(value, low, high)


def _places(a: Predictions, b: Predictions) -> np.ndarray:
    """Return where each image of ``a`` is in ``b``."""
    at = {file: place for place, file in enumerate(b.files)}
    return np.array([at[file] for file in a.files])
