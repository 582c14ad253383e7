"""An ensemble: several models asked together, by the mean of their probabilities.

Nothing is trained for it and nothing is chosen by looking at the test part, so what is measured
of it there is as honest as what is measured of its members.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kop_core.errors import DataSetError
from kop_core.evaluation.calibration import apply_temperature
from kop_core.evaluation.comparison import on_shared_radiographs
from kop_core.evaluation.predictions import Predictions


def ensemble(
    tables: Sequence[Predictions], temperatures: Sequence[float | None] | None = None
) -> Predictions:
    """Return what several models say together: the mean of what each says.

    Args:
        tables: what each said of the same images, in any order; at least two.
        temperatures: what each one's logits are divided by where it is served, ``None`` for
            nothing. The temperature of a card was fitted on half of its own test part: it
            changes no class that one model calls, but may change what the mean calls.

    Raises:
        DataSetError: if there are fewer than two, or they are not of the same images.
    """
    if len(tables) < 2:
        raise DataSetError("An ensemble takes two models or more.")
    ordered = on_shared_radiographs(tables)
    first = ordered[0]
    served = [
        table.probabilities if temperature is None
        else apply_temperature(table.probabilities, temperature)
        for table, temperature in zip(ordered, temperatures or [None] * len(ordered))
    ]  # fmt: skip
    return replace(first, probabilities=np.mean(served, axis=0))
