"""Pictures for people: grey pictures with window and inversion, and maps laid over them."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from PIL import Image

from kop_core.explanation import Influence
from kop_core.radiographs import Radiograph

COLOUR_SCALE = "Inferno"


def render(
    radiograph: Radiograph,
    max_side: int = 1024,
    window: tuple[float, float] = (0.0, 1.0),
    invert: bool = False,
) -> np.ndarray:
    """Return a radiograph as a person sees it: uint8, shape (h, w).

    Args:
        radiograph: what to show.
        max_side: pixels of the longer side at most; larger pictures are scaled down.
        window: grey values shown as black and as white.
        invert: show dense as black.
    """
    grey = scaled(radiograph, max_side)
    low, high = window
    shown = np.clip((grey - low) / max(high - low, 1e-3), 0, 1)
    if invert:
        shown = 1 - shown
    return np.round(shown * 255).astype(np.uint8)


def scaled(radiograph: Radiograph, max_side: int) -> np.ndarray:
    """Return the pixels at display size: float32 in [0, 1], longer side ``max_side`` at most."""
    scale = min(1.0, max_side / max(radiograph.height, radiograph.width))
    if scale == 1.0:
        return radiograph.pixels
    size = (max(1, round(radiograph.width * scale)), max(1, round(radiograph.height * scale)))
    picture = Image.fromarray(radiograph.pixels).resize(size, Image.Resampling.BOX)
    return np.asarray(picture)


def blend(grey: np.ndarray, influence: Influence, strength: float = 0.6) -> np.ndarray:
    """Lay a map over a grey picture: uint8, shape (h, w, 3).

    Where nothing speaks for the class the picture stays as it is; the stronger the
    influence, the more of the colour covers it.

    Args:
        grey: uint8, shape (h, w).
        influence: the map; it is stretched over the whole picture, as the network's
            input was.
        strength: 0 none to 1 full colour where the influence is largest.
    """
    base = np.repeat(grey[..., np.newaxis], 3, axis=2).astype(np.float32)
    if not influence.evidence:
        return base.astype(np.uint8)
    size = (grey.shape[1], grey.shape[0])
    heat = np.asarray(Image.fromarray(influence.heat).resize(size, Image.Resampling.BILINEAR))
    colour = _colours()[np.round(np.clip(heat, 0, 1) * 255).astype(np.uint8)]
    # Little influence leaves the picture clear: a veil over all of it would hide the bone.
    cover = np.clip((heat - 0.1) / 0.6, 0, 1)[..., np.newaxis] * strength
    return np.round(base * (1 - cover) + colour * cover).astype(np.uint8)


def colour_stops(steps: int = 11) -> list[tuple[float, str]]:
    """Return the colour scale of maps as (place, colour) for Plotly."""
    places = np.linspace(0, 255, steps).round().astype(int)
    return [(i / 255, "rgb({:.0f},{:.0f},{:.0f})".format(*_colours()[i])) for i in places]


@cache
def _colours() -> np.ndarray:
    """Return the colour scale as float32, shape (256, 3), 0 to 255."""
    from plotly.colors import sample_colorscale, unlabel_rgb

    steps = sample_colorscale(COLOUR_SCALE, [i / 255 for i in range(256)])
    return np.array([unlabel_rgb(step) for step in steps], np.float32)


def to_png(picture: np.ndarray) -> bytes:
    """Return a uint8 picture, (h, w) or (h, w, 3), as PNG without any metadata."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG", compress_level=3)
    return stream.getvalue()
