"""What of a picture is compared: its whole, coarsely, and points of it, finely."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

WORK_SIDE = 384
POINTS = 200
_WHOLE = (48, 72)  # columns, rows
_FINE = (128, 192)
_LEAST_SIDE = 192
_FLAT = 0.02
_VIEW_SIDE = 256


@dataclass(frozen=True, eq=False)
class Signature:
    """One picture, ready to be compared.

    Attributes:
        view: uint8, the picture with its longest side at most 256, shape (h, w).
        whole: float32, unit length, the locally normalised picture stretched to 48 columns
            and 72 rows;
            zeros if the picture is flat.
        fine: float16, unit length, finer structure of the same, 128 columns and 192 rows.
        points: float32, shape (n, 3): place in ``view`` (x, y), direction in degrees.
        descriptors: float16, shape (n, 128), square roots of SIFT histograms
            (Arandjelović & Zisserman 2012).
    """

    view: np.ndarray
    whole: np.ndarray
    fine: np.ndarray
    points: np.ndarray
    descriptors: np.ndarray


def shrink(pixels: np.ndarray, side: int) -> np.ndarray:
    """Return a picture with its longest side at most ``side``, averaged, not sampled."""
    scale = side / max(pixels.shape)
    if scale >= 1:
        return pixels
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def sign(grey: np.ndarray) -> Signature:
    """Return the signature of a grey picture, uint8, longest side at most ``WORK_SIDE``."""
    points, descriptors = _points(grey)
    view = shrink(grey, _VIEW_SIDE)
    points[:, :2] *= view.shape[1] / grey.shape[1]
    fine = _whole(grey, _FINE, 2.0).astype(np.float16)
    return Signature(view, _whole(grey, _WHOLE, 4.0), fine, points, descriptors)


def _whole(grey: np.ndarray, size: tuple[int, int], sigma: float) -> np.ndarray:
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    vector = normalise(small, sigma)
    vector -= vector.mean()
    length = float(np.linalg.norm(vector))
    if length < _FLAT * vector.size**0.5:
        return np.zeros_like(vector)
    return vector / length


def normalise(picture: np.ndarray, sigma: float, blur: float = 0.7) -> np.ndarray:
    """Return what is left of a picture without its local brightness and contrast.

    Copies differ in brightness, and a lead marker would outweigh the bone: each place is
    measured against the spread of its surroundings instead.

    Args:
        picture: float32, 0 to 1.
        sigma: of the surroundings, in pixels.
        blur: of what counts as noise, in pixels.
    """
    rest = band(picture, sigma, blur)
    spread = np.sqrt(cv2.GaussianBlur(rest * rest, (0, 0), sigma * 1.5))
    return rest / (spread + 0.01)


def band(picture: np.ndarray, sigma: float, blur: float) -> np.ndarray:
    """Return the structure of a picture between two sizes, in pixels."""
    return cv2.GaussianBlur(picture, (0, 0), blur) - cv2.GaussianBlur(picture, (0, 0), sigma)


def mirrored_descriptors(descriptors: np.ndarray) -> np.ndarray:
    """Return what SIFT would say of the same points in the picture's mirror image.

    A histogram runs over 4 rows, 4 columns and 8 directions in the frame of the point's own
    direction; a mirror turns the rows about and the directions round.
    """
    turned = descriptors.reshape(-1, 4, 4, 8)[:, ::-1]
    return np.ascontiguousarray(turned[..., (-np.arange(8)) % 8].reshape(-1, 128))


def _points(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    factor = 2 if min(grey.shape) < _LEAST_SIDE else 1
    if factor > 1:
        grey = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    even = cv2.createCLAHE(4.0, (4, 4)).apply(grey)
    sift = cv2.SIFT_create(nfeatures=POINTS, contrastThreshold=0.01, edgeThreshold=20)
    found, descriptors = sift.detectAndCompute(even, None)
    if descriptors is None or not len(found):
        return np.empty((0, 3), np.float32), np.empty((0, 128), np.float16)
    found, descriptors = found[:POINTS], descriptors[:POINTS]
    points = [(p.pt[0] / factor, p.pt[1] / factor, p.angle) for p in found]
    descriptors = descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6)
    return np.array(points, np.float32), np.sqrt(descriptors).astype(np.float16)


def principal_axes(vectors: np.ndarray, count: int) -> np.ndarray:
    """Return the axes along which vectors differ most, from at most a thousand of them.

    Args:
        vectors: float32, shape (n, values), at least two.
        count: axes wanted.

    Returns:
        Orthonormal rows, float32, shape (at most ``count``, values).
    """
    from sklearn.decomposition import PCA

    sample = vectors[np.random.default_rng(0).permutation(len(vectors))[:1000]]
    analysis = PCA(min(count, *sample.shape), svd_solver="randomized", random_state=0)
    with np.errstate(invalid="ignore", divide="ignore"):  # vectors that are all the same
        return analysis.fit(sample).components_
