"""Whether one picture lies in another: where, and how alike they are there."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from kop_core.datasets.audit.signature import Signature, band, normalise

_TOLERANCE = 0.02  # of the picture's longest side
_SAMPLES = 400
_LEAST_POINTS = 5
_BLOCK = 16
_LEAST_BLOCKS = 12
_LEAST_APART = 8.0
_STRUCTURE = 0.004
_MOST_STRUCTURE = 0.35
_LESS_ALIKE = 0.2
_SIGMA = 4.0
_BLUR = 1.5
_SURELY = 0.97
_SCALES = (0.15, 7.0)
_SQUEEZE = 2.6


@dataclass(frozen=True)
class Fit:
    """Where the first picture lies in the second, in pixels of their views.

    Attributes:
        scale: factors (x, y) from the first to the second.
        shift: where its corner comes to lie (x, y).
        inliers: points that agree.
        likeness: correlation of the two in the blocks with most structure: a fifth of
            these blocks are less alike.
        blocks: how many blocks show structure in both.
        covered: share of the first picture that lies inside the second.
    """

    scale: tuple[float, float]
    shift: tuple[float, float]
    inliers: int
    likeness: float
    blocks: int
    covered: float


def fit(first: Signature, second: Signature, matches: np.ndarray, mirrored: bool) -> Fit | None:
    """Find the scales and shift under which matched points agree, and compare the pixels.

    Copies are cropped, scaled (each side by its own factor) and mirrored, not turned.

    Args:
        first: one picture.
        second: the other.
        matches: int, shape (n, 2), places of matched points in the two.
        mirrored: whether the first is to be turned left to right.

    Returns:
        The best placement, or ``None`` if no five points agree on one.
    """
    view = first.view[:, ::-1] if mirrored else first.view
    a = first.points[matches[:, 0], :2].astype(np.float64)
    if mirrored:
        a[:, 0] = view.shape[1] - 1 - a[:, 0]
    b = second.points[matches[:, 1], :2].astype(np.float64)
    placed = _agree(a, b, _TOLERANCE * max(second.view.shape))
    if placed is None:
        return None
    scale, shift, inliers = placed
    return compare(view, second.view, scale, shift, inliers)


def _agree(a: np.ndarray, b: np.ndarray, tolerance: float):
    """Return scale (2,), shift (2,) and the number of points that agree with them."""
    rng = np.random.default_rng(0)
    count = len(a)
    i, j = (rng.integers(0, count, _SAMPLES) for _ in range(2))
    span_a, span_b = a[j] - a[i], b[j] - b[i]
    far = (np.abs(span_a) > _LEAST_APART).all(axis=1) & (np.abs(span_b) > 2).all(axis=1)
    if not far.any():
        return None
    i, scale = i[far], span_b[far] / span_a[far]
    squeeze = scale[:, 0] / scale[:, 1]
    sane = (scale > _SCALES[0]).all(axis=1) & (scale < _SCALES[1]).all(axis=1)
    sane &= (squeeze > 1 / _SQUEEZE) & (squeeze < _SQUEEZE)
    if not sane.any():
        return None
    i, scale = i[sane], scale[sane]
    shift = b[i] - scale * a[i]
    for _ in range(2):
        off = np.abs(scale[:, None] * a[None] + shift[:, None] - b[None])
        inside = (off < tolerance).all(axis=2)
        best = inside[_distinct(inside, a, b).argmax()]
        if best.sum() < _LEAST_POINTS:
            return None
        fitted = [np.polyfit(a[best, axis], b[best, axis], 1) for axis in (0, 1)]
        scale = np.array([[f[0] for f in fitted]])
        shift = np.array([[f[1] for f in fitted]])
        if not (scale > _SCALES[0]).all() or not (scale < _SCALES[1]).all():
            return None
    return scale[0], shift[0], int(_distinct(best[None], a, b)[0])


def _distinct(inside: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Count agreeing points once a place: SIFT gives a corner several directions."""
    place = np.unique(np.round(np.hstack([a, b]) / 3), axis=0, return_inverse=True)[1]
    counts = np.zeros((len(inside), place.max() + 1), bool)
    rows, columns = np.nonzero(inside)
    counts[rows, place.ravel()[columns]] = True
    return counts.sum(axis=1)


def compare(
    first: np.ndarray,
    second: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    inliers: int = 0,
    least: float = -1.0,
) -> Fit | None:
    """Lay the first view over the second and correlate them block by block.

    Args:
        first: uint8, shape (h, w).
        second: uint8.
        scale: factors (x, y) from the first to the second.
        shift: where the first's corner comes to lie in the second (x, y).
        inliers: points that agree on this, to be handed on.
        least: likeness below which it is not worth while to line them up more finely.

    Returns:
        How alike they are, or ``None`` if too little can be compared.
    """
    size, toward_first, toward_second = _common_grid(first, scale)
    one = _sample(first, size, toward_first, (0.0, 0.0))
    other = _sample(second, size, toward_second, shift)
    height, width = second.shape
    x = np.arange(size[0]) * toward_second[0] + shift[0]
    y = np.arange(size[1]) * toward_second[1] + shift[1]
    inside = ((y > 0) & (y < height - 1))[:, None] & ((x > 0) & (x < width - 1))[None]
    if inside.mean() < 0.05:
        return None
    likeness, blocks = _likeness(one, other, inside)
    if least < likeness < _SURELY:
        other, inside = _register(one, other, inside)
        likeness, blocks = _likeness(one, other, inside)
    if blocks < _LEAST_BLOCKS:
        return None
    pair = tuple(float(v) for v in scale), tuple(float(v) for v in shift)
    return Fit(*pair, inliers, likeness, blocks, float(inside.mean()))


def _common_grid(first: np.ndarray, scale: np.ndarray):
    """Return a grid over the first view, no finer than either picture."""
    step = np.maximum(1.0, 1.0 / np.asarray(scale))
    size = np.maximum(16, np.round(np.array(first.shape[::-1]) / step)).astype(int)
    toward_first = np.array(first.shape[::-1]) / size
    return tuple(int(v) for v in size), toward_first, toward_first * scale


def _sample(picture: np.ndarray, size: tuple, step: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return float32 samples of a picture every ``step`` pixels from ``shift`` on."""
    source = picture.astype(np.float32) / 255
    sigma = [0.5 * max(float(s) - 1, 0) for s in step]
    if max(sigma) > 0.05:
        source = cv2.GaussianBlur(
            source, (0, 0), sigmaX=max(sigma[0], 0.05), sigmaY=max(sigma[1], 0.05)
        )
    half = (np.asarray(step) - 1) / 2
    matrix = np.array([[step[0], 0, shift[0] + half[0]], [0, step[1], shift[1] + half[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(source, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _register(one: np.ndarray, other: np.ndarray, inside: np.ndarray):
    """Move the second onto the first by the affine change that lines them up best."""
    kept = inside.astype(np.uint8)
    start = np.eye(2, 3, dtype=np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 20, 1e-3)
    try:
        _, matrix = cv2.findTransformECC(
            normalise(one, 6.0), normalise(other, 6.0), start, cv2.MOTION_AFFINE, stop, kept, 3
        )
    except cv2.error:  # it does not converge: nothing alike, or nothing at all
        return other, inside
    if np.abs(matrix[:, :2] - np.eye(2)).max() > 0.08 or np.abs(matrix[:, 2]).max() > 8:
        return other, inside
    size, flags = one.shape[::-1], cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(other, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return moved, cv2.warpAffine(kept, matrix, size, flags=flags) > 0


def _likeness(one: np.ndarray, other: np.ndarray, inside: np.ndarray) -> tuple[float, int]:
    """Return how alike the blocks with most structure are, and how many have any.

    Noise and re-encoding spoil blocks without structure, so the third of them with most is
    asked; two different knees agree in some of these, copies in nearly all.
    """
    kept = _cut(inside).all(axis=1)
    structure = np.minimum(*(_cut(band(v, _SIGMA, _BLUR)).std(axis=1) for v in (one, other)))
    kept &= structure > _STRUCTURE
    blocks = int(kept.sum())
    if blocks < _LEAST_BLOCKS:
        return 0.0, blocks
    kept &= structure >= np.quantile(structure[kept], 1 - _MOST_STRUCTURE)
    a, b = (_cut(normalise(v, _SIGMA, _BLUR))[kept] for v in (one, other))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    lengths = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    values = (a * b).sum(axis=1) / np.maximum(lengths, 1e-9)
    return float(np.quantile(values, _LESS_ALIKE)), blocks


def _cut(picture: np.ndarray) -> np.ndarray:
    """Return a picture as square blocks, shape (blocks, pixels); what is left over goes."""
    down, across = picture.shape[0] // _BLOCK, picture.shape[1] // _BLOCK
    whole = picture[: down * _BLOCK, : across * _BLOCK]
    return whole.reshape(down, _BLOCK, across, _BLOCK).swapaxes(1, 2).reshape(-1, _BLOCK**2)
