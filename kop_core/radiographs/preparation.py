"""From a radiograph to what a network is fed: the same in training and in serving."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from kop_core.errors import ModelError
from kop_core.radiographs import knees
from kop_core.radiographs.radiograph import Radiograph


@dataclass(frozen=True)
class Preparation:
    """How pixels become a network's input. A model's card names it, and nothing
    else is ever fed to that model.

    Attributes:
        name: its name on a card.
        height: rows of the input.
        width: columns of the input.
        channels: how often the grey picture is repeated (ImageNet networks want 3).
        low: input value of black.
        high: input value of white.
        fit: ``"stretch"`` scales both sides to the input's, whatever the aspect
            ratio, as the paper's does. ``"joints"`` shows the joints of both knees side by
            side, each as high as the input; of one knee the joint and its mirror image. Of
            a picture in which no joint is found, all of it in both places.
    """

    name: str
    height: int
    width: int
    channels: int
    low: float
    high: float
    fit: str = "stretch"

    @property
    def view(self) -> str:
        """What of a picture it shows: ``"whole"`` or ``"joints"``."""
        return JOINTS if self.fit == JOINTS else WHOLE

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the input, (height, width, channels)."""
        return (self.height, self.width, self.channels)

    def get_config(self) -> dict[str, Any]:
        """Return it as plain values for a card."""
        return asdict(self)


WHOLE, JOINTS = VIEWS = ("whole", "joints")

PREPARATIONS: dict[str, Preparation] = {
    p.name: p
    for p in (
        # Ali et al. 2025 give 224×224×3; the range is that of the notebooks which
        # share the paper's table of layers (shared/design.md).
        Preparation("stretch224", 224, 224, 3, -1.0, 1.0),
        # Two crops of single knees, as the encoders of kop_core.pretraining saw them.
        Preparation("joints224", 224, 448, 3, -1.0, 1.0, "joints"),
    )
}


# Sides of the input, in pixels, that a card may ask for.
SMALLEST_SIDE, LARGEST_SIDE = 32, 1024


def at_side(preparation: Preparation, side: int) -> Preparation:
    """Return the same preparation to another height, named after it: ``stretch160``."""
    if side == preparation.height:
        return preparation
    name = f"{preparation.name.rstrip('0123456789')}{side}"
    width = side * preparation.width // preparation.height
    return replace(preparation, name=name, height=side, width=width)


def from_config(config: dict[str, Any]) -> Preparation:
    """Return the preparation that a card describes: a known one, to any side within limits.

    Raises:
        ModelError: if it is unknown here, or differs from the one of that name.
    """
    side = config.get("height")
    if type(side) is int and SMALLEST_SIDE <= side <= LARGEST_SIDE:
        for known in PREPARATIONS.values():
            found = at_side(known, side)
            if found.get_config() == config:
                return found
    raise ModelError(
        f"The card asks for a preparation of pixels that this version of KOP does not have "
        f"({config.get('name')!r}). Known: {', '.join(PREPARATIONS)}, each also to other sides "
        f"from {SMALLEST_SIDE} to {LARGEST_SIDE} pixels. Update KOP, or restore the card."
    )


def prepare_grey(radiograph: Radiograph, preparation: Preparation) -> np.ndarray:
    """Return the one grey channel of :func:`prepare`, float32, shape (height, width)."""
    if preparation.fit == JOINTS:
        parts = [_grey(radiograph, box, preparation.height) for box in _boxes(radiograph)]
        grey = np.concatenate(parts if len(parts) == 2 else [parts[0], parts[0][:, ::-1]], axis=1)
    else:
        grey = _grey(radiograph, None, preparation.height, preparation.width)
    return grey * np.float32(preparation.high - preparation.low) + np.float32(preparation.low)


def _boxes(radiograph: Radiograph) -> list[tuple[int, int, int, int] | None]:
    """Return the square around each joint, from left to right; ``None`` for all of a picture."""
    return [knees.box(knee) for knee in knees.find_knees(radiograph)] or [None]


def _grey(
    radiograph: Radiograph,
    box: tuple[int, int, int, int] | None,
    height: int,
    width: int | None = None,
) -> np.ndarray:
    """Return a part of a picture, scaled; what lies outside the picture is black."""
    picture = Image.fromarray(radiograph.pixels)
    if box is not None:
        picture = picture.crop(box)
    # Pillow's bilinear filter widens with the scale, so reducing does not alias.
    scaled = picture.resize((width or height, height), Image.Resampling.BILINEAR)
    return np.asarray(scaled, dtype=np.float32)


def laid_back(
    heat: np.ndarray, radiograph: Radiograph, preparation: Preparation, longer: int = 512
) -> np.ndarray:
    """Return a map over a network's input as one over the picture that it was prepared from.

    Args:
        heat: float32, (height, width) of the input.
        radiograph: the picture.
        preparation: how it was prepared.
        longer: longer side of what is returned, for a preparation that cuts parts out.

    Returns:
        float32: the map itself, to be stretched over the picture, or one of the picture's
        proportions that is zero outside of what the network saw.
    """
    if preparation.fit != JOINTS:
        return heat
    boxes, side = _boxes(radiograph), preparation.height
    halves = [heat[:, :side], heat[:, side:]]
    if len(boxes) == 1:  # the second half is the first, mirrored
        halves = [np.maximum(halves[0], halves[1][:, ::-1])]
    if boxes == [None]:
        return halves[0]
    scale = longer / max(radiograph.height, radiograph.width)
    whole = np.zeros(
        [max(1, round(scale * side)) for side in (radiograph.height, radiograph.width)], np.float32
    )
    for box, half in zip(boxes, halves):
        left, top, right, bottom = (round(scale * edge) for edge in box)
        shape = (max(1, right - left), max(1, bottom - top))
        seen = np.asarray(Image.fromarray(half).resize(shape, Image.Resampling.BILINEAR))
        inside = whole[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
        seen = seen[max(0, -top) :, max(0, -left) :][: inside.shape[0], : inside.shape[1]]
        np.maximum(inside, seen, out=inside)
    return whole


def prepare(radiograph: Radiograph, preparation: Preparation) -> np.ndarray:
    """Return what a network is fed: float32, shape (height, width, channels)."""
    grey = prepare_grey(radiograph, preparation)
    return np.repeat(grey[:, :, np.newaxis], preparation.channels, axis=2)
