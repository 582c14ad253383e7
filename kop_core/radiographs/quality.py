"""What a file says against itself: is it a knee, and is there enough to see?"""

from __future__ import annotations

import re

import numpy as np

from kop_core.errors import WrongBodyPart
from kop_core.radiographs.preparation import Preparation
from kop_core.radiographs.radiograph import Radiograph

# Values of DICOM Body Part Examined (PS3.16 annex L) under which a knee may be filed.
_MAY_SHOW_A_KNEE = re.compile(
    r"KNEE|PATELLA|LEG|EXTREMITY|FEMUR|TIBIA|FIBULA|LIMB|THIGH|CALF|JOINT|BONE|SKELETON|OTHER|UNKNOWN"
)


def require_knee(radiograph: Radiograph) -> None:
    """Refuse a radiograph whose own header says that it shows no knee.

    Raises:
        WrongBodyPart: if DICOM Body Part Examined names another part of the body.
    """
    part = radiograph.body_part
    if part and not _MAY_SHOW_A_KNEE.search(part):
        raise WrongBodyPart(
            radiograph.name,
            f"the file's header says that it shows {part}, and KOP's models know knees only. "
            "If the header is wrong, export the picture as PNG and upload that.",
        )


def cautions(radiograph: Radiograph, preparation: Preparation) -> tuple[str, ...]:
    """Return sentences on what may make a classification of this file worth less."""
    found = list(radiograph.notes)
    step = max(1, min(radiograph.pixels.shape) // 200)  # a sample says as much, at once
    low, high = np.percentile(radiograph.pixels[::step, ::step], (1, 99))
    if high - low < 0.02:
        found.append("The picture has almost no contrast. There may be nothing on it to classify.")
    elif high - low < 0.2:
        found.append("The picture has little contrast. Check the export window.")
    if min(radiograph.height, radiograph.width) < min(preparation.height, preparation.width):
        found.append(
            f"The picture ({radiograph.width} × {radiograph.height}) is smaller than the network's "
            f"input ({preparation.width} × {preparation.height}) and was enlarged."
        )
    if radiograph.colour:
        found.append("The file is in colour. Radiographs are grey: is this one?")
    return tuple(found)
