"""From a radiograph to what a network is fed: the same in training and in serving."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from kop_core.errors import ModelError
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
            ratio, as the paper's does.
    """

    name: str
    height: int
    width: int
    channels: int
    low: float
    high: float
    fit: str = "stretch"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the input, (height, width, channels)."""
        return (self.height, self.width, self.channels)

    def get_config(self) -> dict[str, Any]:
        """Return it as plain values for a card."""
        return asdict(self)


PREPARATIONS: dict[str, Preparation] = {
    p.name: p
    for p in (
        # Ali et al. 2025 give 224×224×3; the range is that of the notebooks which
        # share the paper's table of layers (shared/design.md).
        Preparation("stretch224", 224, 224, 3, -1.0, 1.0),
    )
}


# Sides of the input, in pixels, that a card may ask for.
SMALLEST_SIDE, LARGEST_SIDE = 32, 1024


def at_side(preparation: Preparation, side: int) -> Preparation:
    """Return the same preparation to another side, named after it: ``stretch160``."""
    if side == preparation.height == preparation.width:
        return preparation
    name = f"{preparation.name.rstrip('0123456789')}{side}"
    return replace(preparation, name=name, height=side, width=side)


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
    picture = Image.fromarray(radiograph.pixels)
    # Pillow's bilinear filter widens with the scale, so reducing does not alias.
    scaled = picture.resize((preparation.width, preparation.height), Image.Resampling.BILINEAR)
    grey = np.asarray(scaled, dtype=np.float32)
    return grey * np.float32(preparation.high - preparation.low) + np.float32(preparation.low)


def prepare(radiograph: Radiograph, preparation: Preparation) -> np.ndarray:
    """Return what a network is fed: float32, shape (height, width, channels)."""
    grey = prepare_grey(radiograph, preparation)
    return np.repeat(grey[:, :, np.newaxis], preparation.channels, axis=2)
