"""Probabilities of a whole part of a data set, batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kop_core.datasets.feeding import Pixels


def predict(
    forward: Callable[[np.ndarray], Any],
    pixels: Pixels,
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return probabilities, float32, shape (pictures, classes).

    Args:
        forward: gives probabilities for a batch, such as a network's ``predict_on_batch``.
        pixels: the part, prepared.
        batch_size: pictures a step.
        progress: called with pictures done and in all.
    """
    outputs = []
    total = len(pixels.items)
    for start in range(0, total, batch_size):
        index = np.arange(start, min(start + batch_size, total))
        outputs.append(np.asarray(forward(pixels.batch(index))))
        if progress:
            progress(int(index[-1]) + 1, total)
    return np.concatenate(outputs)
