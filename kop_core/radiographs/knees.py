"""Where the knee joints are in a front view of one leg or two.

A joint is looked for with one linear filter over histograms of oriented gradients, at
eighteen sizes (Hariharan, Malik, Ramanan, Discriminative decorrelation for clustering and
classification, ECCV 2012): it is the mean of some hundred single-knee crops, less that of
anything else, by the covariance of anything else. ``benchmarks/knees.py`` makes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np

from kop_core.radiographs.radiograph import Radiograph

FILTER = Path(__file__).resolve().parents[2] / "assets" / "knee_filter.npz"
# Pixels of a cell, cells of the filter's side, directions of a gradient.
CELL, CELLS, DIRECTIONS = 6, 8, 9
SIDE = CELL * CELLS
# Joints score above 1.5 in front views of legs; what is none, below. See benchmarks/knees.py.
LEAST = 1.5
# The square that is cut out is larger than the joint by so much: it may be found a little off.
MARGIN = 1.1
_LONGER = 512
_BOXES = np.geomspace(60, 320, 18)
_APART = 0.55
_FOUND: WeakKeyDictionary[Radiograph, dict] = WeakKeyDictionary()
_ROUND = 2 * CELL


@dataclass(frozen=True)
class Knee:
    """A knee joint in a picture.

    Attributes:
        x: column of its middle, in pixels of the picture.
        y: row of its middle.
        side: of the square that holds the ends of both bones, in pixels.
        score: how much it looks like a joint; see :data:`LEAST`.
    """

    x: float
    y: float
    side: float
    score: float


def find_knees(radiograph: Radiograph, most: int = 2, least: float = LEAST) -> tuple[Knee, ...]:
    """Return the knee joints of a front view, from left to right.

    What was found in a picture is kept as long as the picture is.

    Args:
        radiograph: the picture.
        most: how many to look for.
        least: score below which nothing is taken for one.
    """
    kept = _FOUND.setdefault(radiograph, {})
    if (most, least) not in kept:
        kept[most, least] = _find(radiograph, most, least)
    return kept[most, least]


def _find(radiograph: Radiograph, most: int, least: float) -> tuple[Knee, ...]:
    import cv2

    grey = np.ascontiguousarray(radiograph.pixels, dtype=np.float32)
    scale = _LONGER / max(grey.shape)
    small = cv2.resize(grey, _scaled(grey, scale), interpolation=cv2.INTER_AREA)
    found: list[Knee] = []
    for box in _BOXES:
        found += _of_size(small, float(box), scale)
    found.sort(key=lambda knee: -knee.score)
    kept: list[Knee] = []
    for knee in found:
        if len(kept) == most or knee.score < least:
            break
        if not any(_same(knee, other) for other in kept):
            kept.append(knee)
    return tuple(sorted(kept, key=lambda knee: knee.x))


def box(knee: Knee, margin: float = MARGIN) -> tuple[int, int, int, int]:
    """Return the square around a joint: left, top, right, bottom, in pixels of the picture.

    Args:
        knee: the joint.
        margin: by how much the square is larger than the joint's.
    """
    reach = max(1, round(knee.side * margin / 2))
    x, y = round(knee.x), round(knee.y)
    return x - reach, y - reach, x + reach, y + reach


def cells(grey: np.ndarray) -> np.ndarray:
    """Return histograms of oriented gradients, normalised by the strength around.

    Args:
        grey: float32, (height, width).

    Returns:
        float32, (height // CELL, width // CELL, DIRECTIONS).
    """
    import cv2

    across, down = (cv2.Sobel(grey, cv2.CV_32F, *way, ksize=1) for way in ((1, 0), (0, 1)))
    strength = np.hypot(across, down)
    direction = (np.arctan2(down, across) % np.pi) / np.pi * DIRECTIONS
    lower = np.floor(direction).astype(int) % DIRECTIONS
    share = (direction - np.floor(direction)).astype(np.float32)
    rows, columns = np.indices(grey.shape)
    spread = np.zeros((DIRECTIONS, *grey.shape), np.float32)
    spread[lower, rows, columns] += strength * (1 - share)
    spread[(lower + 1) % DIRECTIONS, rows, columns] += strength * share
    height, width = (length // CELL for length in grey.shape)
    summed = spread[:, : height * CELL, : width * CELL]
    summed = summed.reshape(DIRECTIONS, height, CELL, width, CELL).sum(axis=(2, 4))
    found = np.ascontiguousarray(summed.transpose(1, 2, 0))
    around = cv2.GaussianBlur((found**2).sum(axis=2), (0, 0), 1.5)
    return np.minimum(found / np.sqrt(around + 1e-3)[..., None], 0.6)


@cache
def _filter() -> tuple[np.ndarray, float]:
    with np.load(FILTER, allow_pickle=False) as kept:
        return kept["weights"].astype(np.float32), float(kept["offset"])


def _scaled(grey: np.ndarray, scale: float) -> tuple[int, int]:
    return max(1, round(grey.shape[1] * scale)), max(1, round(grey.shape[0] * scale))


def _of_size(small: np.ndarray, box: float, scale: float, most: int = 4) -> list[Knee]:
    """Return what looks most like a joint of one size, whether it is one or not."""
    import cv2

    weights, offset = _filter()
    by = SIDE / box
    picture = cv2.resize(small, _scaled(small, by), interpolation=cv2.INTER_AREA)
    edge = (_ROUND,) * 4
    seen = cells(cv2.copyMakeBorder(picture, *edge, cv2.BORDER_REPLICATE))
    if min(seen.shape[:2]) < CELLS:
        return []
    scores = offset + sum(
        cv2.matchTemplate(
            np.ascontiguousarray(seen[..., way]),
            np.ascontiguousarray(weights[..., way]),
            cv2.TM_CCORR,
        )
        for way in range(DIRECTIONS)
    )
    found = []
    for _ in range(most):
        row, column = np.unravel_index(int(scores.argmax()), scores.shape)
        middle = [((at + CELLS / 2) * CELL - _ROUND) / by / scale for at in (column, row)]
        found.append(Knee(*middle, box / scale, float(scores[row, column])))
        near = tuple(slice(max(0, at - 3), at + 4) for at in (row, column))
        scores[near] = -np.inf
    return [knee for knee in found if np.isfinite(knee.score)]


def _same(one: Knee, other: Knee) -> bool:
    reach = _APART * (one.side + other.side) / 2
    return abs(one.x - other.x) < reach and abs(one.y - other.y) < reach
