"""Pictures to copy, and every way in which collections copy them."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter


def generated(seed: int, width: int = 300, height: int = 400) -> np.ndarray:
    """Return a picture of its own, uint8, with structure from coarse to fine."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width))
    for radius in (2, 5, 12, 30):
        noise = Image.fromarray(rng.normal(0, 1, (height, width)).astype(np.float32))
        smooth = np.asarray(_blurred(noise, radius))
        total += smooth / smooth.std()
    return np.clip(128 + 28 * total, 0, 255).astype(np.uint8)


def _blurred(picture: Image.Image, radius: int) -> Image.Image:
    values = np.asarray(picture)
    low, high = values.min(), values.max()
    grey = Image.fromarray(np.uint8(255 * (values - low) / (high - low)))
    soft = np.asarray(grey.filter(ImageFilter.GaussianBlur(radius)), np.float32)
    return soft - soft.mean()


def _resized(grey: np.ndarray, width: float, height: float) -> np.ndarray:
    picture = Image.fromarray(grey)
    return np.asarray(picture.resize((round(width), round(height)), Image.Resampling.LANCZOS))


def _cropped(grey: np.ndarray, share: float, seed: int = 0) -> np.ndarray:
    height, width = (round(side * share**0.5) for side in grey.shape)
    rng = np.random.default_rng((seed, *grey.shape))
    top = rng.integers(0, grey.shape[0] - height + 1)
    left = rng.integers(0, grey.shape[1] - width + 1)
    return grey[top : top + height, left : left + width]


def _encoded(grey: np.ndarray, quality: int) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


NEAR: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rescaled": lambda g: _resized(g, g.shape[1] / 2, g.shape[0] / 2),
    "squeezed": lambda g: _resized(g, 128, 256),
    "re-encoded": lambda g: _encoded(g, 40),
    "brightened": lambda g: np.clip(g * 1.15 + 20, 0, 255).astype(np.uint8),
    "gamma": lambda g: np.uint8(255 * (g / 255) ** 0.7),
    "mirrored": lambda g: np.ascontiguousarray(g[:, ::-1]),
}
PART: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "cropped": lambda g: _cropped(g, 0.5),
    "cropped and rescaled": lambda g: _encoded(_resized(_cropped(g, 0.6, 1), 200, 260), 80),
    "one half": lambda g: g[:, : g.shape[1] // 2],
    "cropped and mirrored": lambda g: np.ascontiguousarray(_cropped(g, 0.6, 2)[:, ::-1]),
}
WAYS = {**NEAR, **PART}
