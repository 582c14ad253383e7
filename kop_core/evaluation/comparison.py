"""Two models on the same test part: whether they can be compared, and by how much they differ.

What is compared is paired: both models saw the same images, so what is easy or hard for
both cancels out, and the interval is that of the difference (bootstrap over radiographs,
the same draws for both).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kop_core import model_store
from kop_core.classes import CLASS_NAMES
from kop_core.errors import DataSetError
from kop_core.evaluation import intervals
from kop_core.evaluation.intervals import DRAWS, UNDEFINED, Estimate
from kop_core.evaluation.metrics import _all, _measures
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
    first, second = (model.card["data"].get("fingerprint") for model in (a, b))
    if not first or not second:
        return False, "What data it was trained and tested on is not on its card."
    if first != second:
        name = b.card["data"].get("name") or "unknown"
        return False, f"It was tested on other data ({name})."
    try:
        mine, other = read_predictions(a), read_predictions(b)
    except DataSetError as error:
        return False, str(error)
    if set(mine.files) != set(other.files):
        shared = len(set(mine.files) & set(other.files))
        return False, (
            f"It was not tested on the same images of this data: {shared:,} of its "
            f"{len(other.files):,} test images are in this test part."
        )
    if not np.array_equal(other.true[_places(mine, other)], mine.true):
        return False, "Its test images have other labels."
    return True, ""


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
    b = _in_order_of(a, b)
    group = (a if a.by_radiograph or not b.by_radiograph else b).groups
    groups = int(group.max()) + 1
    first, second = (_measures(p, group, _matrices(p, group)) for p in (a, b))

    def differences(times: np.ndarray) -> np.ndarray:
        of_a, of_b = _all(first, times), _all(second, times)
        return np.stack([of_a[name] - of_b[name] for name in metrics])

    values = differences(np.ones((1, groups)))[:, 0]
    blocks = intervals.times_drawn(groups, draws, seed, width=len(group))
    samples = np.concatenate([differences(times) for times in blocks], axis=1)
    return {
        name: _interval(float(value), drawn[np.isfinite(drawn)], groups)
        for name, value, drawn in zip(metrics, values, samples)
    }


def _in_order_of(a: Predictions, b: Predictions) -> Predictions:
    if set(a.files) != set(b.files):
        raise DataSetError("The two tables of predictions are not of the same images.")
    places = _places(a, b)
    b = Predictions(
        a.files, tuple(b.radiographs[i] for i in places), b.true[places], b.probabilities[places]
    )
    if not np.array_equal(a.true, b.true):
        raise DataSetError("The two tables of predictions label the same images differently.")
    return b


def _interval(value: float, samples: np.ndarray, groups: int) -> Estimate:
    if not np.isfinite(value) or not samples.size:
        return UNDEFINED
    low, high = (float(v) for v in np.percentile(samples, (2.5, 97.5)))
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


def _matrices(predictions: Predictions, group: np.ndarray) -> np.ndarray:
    matrices = np.zeros((int(group.max()) + 1, _SIZE, _SIZE))
    np.add.at(matrices, (group, predictions.true, predictions.predicted), 1)
    return matrices
