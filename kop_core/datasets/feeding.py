"""Prepared pixels in memory, batches of them, and augmentation of the training part.

Everything random is drawn from the seed, the epoch and the file's place, so an epoch is
the same whether a run came to it at once or after an interruption.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from kop_core.classes import CLASS_NAMES
from kop_core.datasets.scanning import DataSet, Item
from kop_core.errors import RadiographError
from kop_core.radiographs import Preparation, read
from kop_core.radiographs.preparation import prepare_grey


@dataclass(frozen=True)
class Augmentation:
    """How far a training picture may be altered, each drawn evenly within its range.

    Attributes:
        mirror: turn left and right about, half of the time.
        rotation: degrees either way.
        shift: share of the side, either way.
        zoom: share of the size, either way.
        brightness: added to the input, either way, as a share of its range.
        contrast: share of the contrast, either way.
    """

    mirror: bool = True
    rotation: float = 5.0
    shift: float = 0.04
    zoom: float = 0.06
    brightness: float = 0.05
    contrast: float = 0.1

    def get_config(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)

    def apply(
        self, grey: np.ndarray, preparation: Preparation, rng: np.random.Generator
    ) -> np.ndarray:
        """Return an altered copy of one prepared grey picture, float32, (height, width)."""
        height, width = grey.shape
        draw = rng.uniform(-1, 1, size=6)
        angle = math.radians(self.rotation * draw[0])
        scale = 1 + self.zoom * draw[1]
        flip = -1.0 if self.mirror and rng.random() < 0.5 else 1.0
        cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
        # Pillow counts from the picture's corner: a pixel's middle is at 0.5.
        center_x, center_y = width / 2, height / 2
        from_x = center_x * (1 + self.shift * 2 * draw[2])
        from_y = center_y * (1 + self.shift * 2 * draw[3])
        # Pillow wants the map from output to input coordinates.
        matrix = (
            flip * cos,
            sin,
            from_x - flip * cos * center_x - sin * center_y,
            -flip * sin,
            cos,
            from_y + flip * sin * center_x - cos * center_y,
        )
        moved = Image.fromarray(grey).transform(
            (width, height),
            Image.Transform.AFFINE,
            matrix,
            Image.Resampling.BILINEAR,
            fillcolor=preparation.low,
        )
        middle = (preparation.high + preparation.low) / 2
        span = preparation.high - preparation.low
        altered = (np.asarray(moved) - middle) * (1 + self.contrast * draw[4]) + middle
        altered += span * self.brightness * draw[5]
        return np.clip(altered, preparation.low, preparation.high).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Pixels:
    """Prepared pictures of a part of a data set.

    Attributes:
        items: the files that could be read.
        grey: float32, shape (files, height, width).
        targets: float32, shape (files, classes), one-hot.
        preparation: how they were prepared.
        unreadable: what could not be read, file and reason.
    """

    items: tuple[Item, ...]
    grey: np.ndarray
    targets: np.ndarray
    preparation: Preparation
    unreadable: tuple[tuple[str, str], ...]

    def batch(self, index: np.ndarray, alter: Callable | None = None) -> np.ndarray:
        """Return the input for some of the files, shape (files, height, width, channels)."""
        grey = self.grey[index]
        if alter is not None:
            grey = np.stack([alter(picture, int(i)) for picture, i in zip(grey, index)])
        return np.repeat(grey[..., np.newaxis], self.preparation.channels, axis=3)


def load(
    data: DataSet,
    items: tuple[Item, ...],
    preparation: Preparation,
    progress: Callable[[int, int], None] | None = None,
) -> Pixels:
    """Read and prepare files. One that cannot be read is named and left out."""
    grey = np.empty((len(items), preparation.height, preparation.width), np.float32)
    kept, unreadable = [], []
    for done, item in enumerate(items, start=1):
        try:
            radiograph = read(data.path(item), name=item.file)
            grey[len(kept)] = prepare_grey(radiograph, preparation)
            kept.append(item)
        except RadiographError as error:
            unreadable.append((item.file, error.reason))
        if progress:
            progress(done, len(items))
    labels = [CLASS_NAMES.index(item.true) for item in kept]
    targets = np.eye(len(CLASS_NAMES), dtype=np.float32)[labels]
    return Pixels(tuple(kept), grey[: len(kept)], targets, preparation, tuple(unreadable))


def training_batches(
    pixels: Pixels, batch_size: int, augmentation: Augmentation | None, seed: int, epoch: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the batches of one epoch, shuffled and augmented by seed and epoch.

    Yields:
        Inputs (batch, height, width, channels) and one-hot targets (batch, classes).
    """

    def alter(picture: np.ndarray, index: int) -> np.ndarray:
        rng = np.random.default_rng((seed, 1, epoch, index))
        return augmentation.apply(picture, pixels.preparation, rng)

    order = np.random.default_rng((seed, 0, epoch)).permutation(len(pixels.items))
    for start in range(0, len(order), batch_size):
        index = order[start : start + batch_size]
        yield pixels.batch(index, alter if augmentation else None), pixels.targets[index]
