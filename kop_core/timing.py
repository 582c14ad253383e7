"""How long a model takes for an image, measured on this machine and never guessed."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kop_core.radiographs import Radiograph

if TYPE_CHECKING:
    from kop_core.classifier import Classifier

REPEATS = 20
_SIDE = 512


@dataclass(frozen=True)
class Speed:
    """How long one image takes, one at a time, from a radiograph that was read to its scores.

    Attributes:
        milliseconds: the median.
        low: nine times in ten it takes longer; milliseconds.
        high: nine times in ten it takes less.
        repeats: how often it was measured.
        machine: what it was measured on.
    """

    milliseconds: float
    low: float
    high: float
    repeats: int
    machine: str

    def get_config(self) -> dict[str, Any]:
        """Return it as plain values."""
        return dict(vars(self))


def measure(classifier: Classifier, repeats: int = REPEATS) -> Speed:
    """Measure how long a loaded model takes to prepare and classify one image.

    The image is a grey one of 512 × 512 pixels: what it shows makes no difference. Two passes
    that do not count come first, because the first compiles.

    Args:
        classifier: the model.
        repeats: how often, at least 2.
    """
    picture = np.random.default_rng(0).random((_SIDE, _SIDE), dtype=np.float32)
    radiograph = Radiograph(picture, "timing", "PNG", 8, "")
    found = []
    for turn in range(repeats + 2):
        began = time.perf_counter()
        classifier.classify(radiograph)
        if turn >= 2:
            found.append(1000 * (time.perf_counter() - began))
    tenths = statistics.quantiles(found, n=10, method="inclusive")
    return Speed(statistics.median(found), tenths[0], tenths[-1], repeats, machine())


def machine() -> str:
    """Return what is measured on, as far as the system says: processor and cores."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):  # Linux says which processor only here
        said = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text("utf-8"))
        name = said.group(1).strip() if said else name
    return f"{name}, {os.cpu_count()} cores, {platform.system()}"
