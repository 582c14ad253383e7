"""Prepared pixels, batches of them, and augmentation of the training part.

Files are decoded and prepared once, before the first epoch: into memory, or beyond a limit
into a file. Everything random is drawn from the seed, the epoch and the file's place, so an
epoch is the same whether a run came to it at once or after an interruption.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from kop_core.classes import CLASS_NAMES
from kop_core.datasets import prepared
from kop_core.datasets.scanning import DataSet, Item
from kop_core.errors import RadiographError
from kop_core.radiographs import Preparation, read
from kop_core.radiographs.preparation import JOINTS, prepare_grey

# Bytes of prepared pictures of one part that are held in memory; more go to a file.
MEMORY_LIMIT = 2**30


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
        """Return an altered copy of one prepared grey picture, float32, (height, width).

        Of a preparation that shows two joints each is altered by itself.
        """
        if preparation.fit == JOINTS:
            halves = np.split(grey, 2, axis=1)
            return np.concatenate([self._altered(h, preparation, rng) for h in halves], axis=1)
        return self._altered(grey, preparation, rng)

    def _altered(
        self, grey: np.ndarray, preparation: Preparation, rng: np.random.Generator
    ) -> np.ndarray:
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
    memory_limit: int = MEMORY_LIMIT,
    classes: Sequence[str] = CLASS_NAMES,
) -> Pixels:
    """Read and prepare files. One that cannot be read is named and left out.

    Args:
        data: the data set.
        items: those of its files to read.
        preparation: how.
        progress: called with files done and files in all.
        memory_limit: above so many bytes the pictures are kept in a file of KOP's cache
            folder and mapped into memory; see :mod:`kop_core.datasets.prepared`.
        classes: what the items may be, in the order of the targets.

    Raises:
        DataSetError: if they must be kept in a file and that cannot be written.
    """
    shape = (len(items), preparation.height, preparation.width)
    unreadable: list[tuple[int, str]] = []

    def pictures() -> Iterator[np.ndarray]:
        for done, item in enumerate(items, start=1):
            try:
                radiograph = read(data.path(item), name=item.file)
                yield prepare_grey(radiograph, preparation)
            except RadiographError as error:
                unreadable.append((done - 1, error.reason))
            if progress:
                progress(done, len(items))

    if math.prod(shape) * np.float32().nbytes > memory_limit:
        digests = [item.sha256 for item in items]
        grey, unreadable = prepared.keep(digests, preparation, pictures, unreadable)
    else:
        grey = np.empty(shape, np.float32)
        count = 0
        for count, picture in enumerate(pictures(), start=1):
            grey[count - 1] = picture
        grey = grey[:count]
    left_out = {place for place, _ in unreadable}
    kept = tuple(item for place, item in enumerate(items) if place not in left_out)
    labels = [classes.index(item.true) for item in kept]
    targets = np.eye(len(classes), dtype=np.float32)[labels]
    named = tuple((items[place].file, reason) for place, reason in unreadable)
    return Pixels(kept, grey, targets, preparation, named)


@dataclass(frozen=True, eq=False)
class Epoch:
    """The batches of one epoch, shuffled and augmented by seed and epoch, each by its number.

    A batch depends on nothing but these, so several can be made at once, in any order.

    Attributes:
        pixels: the training part.
        batch_size: pictures a batch; the last one may have fewer.
        augmentation: how pictures are altered, or ``None``.
        seed: of the run.
        epoch: number of the epoch, from 0.
    """

    pixels: Pixels
    batch_size: int
    augmentation: Augmentation | None
    seed: int
    epoch: int

    def __len__(self) -> int:
        return math.ceil(len(self.pixels.items) / self.batch_size)

    @cached_property
    def order(self) -> np.ndarray:
        """Places of the pictures in the order in which they are shown."""
        rng = np.random.default_rng((self.seed, 0, self.epoch))
        return rng.permutation(len(self.pixels.items))

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs (batch, height, width, channels) and one-hot targets (batch, classes)."""
        index = self.order[step * self.batch_size : (step + 1) * self.batch_size]
        alter = self._alter if self.augmentation else None
        return self.pixels.batch(index, alter), self.pixels.targets[index]

    def _alter(self, picture: np.ndarray, place: int) -> np.ndarray:
        rng = np.random.default_rng((self.seed, 1, self.epoch, place))
        return self.augmentation.apply(picture, self.pixels.preparation, rng)
