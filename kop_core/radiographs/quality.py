"""What a file says against itself: is it a knee, and is there enough to see?"""

from __future__ import annotations

import re

import numpy as np

from kop_core.errors import WrongBodyPart
from kop_core.radiographs.knees import find_knees
from kop_core.radiographs.preparation import JOINTS, Preparation
from kop_core.radiographs.radiograph import Radiograph

_KNEE = re.compile(r"KNEE|PATELLA|KNIE|GENOU|GINOCCHIO|RODILLA|JOELHO")
# What DICOM Body Part Examined (PS3.16 annex L) and its users call other parts. Words that
# are neither here nor above (LEG, LOWER EXTREMITY, an unknown one) get a caution only.
_OTHER_PARTS = re.compile(
    r"CHEST|THORAX|LUNG|HEART|BREAST|STERNUM|RIB|CLAVICLE|SCAPULA|SHOULDER|AC ?JOINT|UPPER|"
    r"HUMERUS|ELBOW|FOREARM|\bARM|RADIUS|ULNA|WRIST|CARP|HAND|FINGER|THUMB|SKULL|HEAD|FACE|FACIAL|"
    r"JAW|MANDIBLE|MAXILLA|TEETH|TOOTH|DENTAL|ORBIT|NOSE|NASAL|SINUS|NECK|SPINE|SACRUM|COCCYX|"
    r"SI ?JOINT|ABDOMEN|PELVIS|HIP|FOOT|FEET|TOE|ANKLE|CALCANEUS|HEEL"
)
_FRONT_VIEWS = ("AP", "PA")


def require_knee(radiograph: Radiograph) -> None:
    """Refuse a radiograph whose own header says that it shows no knee.

    Raises:
        WrongBodyPart: if DICOM Body Part Examined names another part of the body.
    """
    part = radiograph.body_part
    if part and _OTHER_PARTS.search(part) and not _KNEE.search(part):
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
    part = radiograph.body_part
    if part and not _KNEE.search(part):
        found.append(f"The header says that this shows {part}. Is it a knee?")
    if radiograph.view and radiograph.view not in _FRONT_VIEWS:
        found.append(
            f"The header says that the view is {radiograph.view}. The models were trained on front "
            "views (AP): on others their scores mean nothing."
        )
    if high - low < 0.02:
        found.append("The picture has almost no contrast. There may be nothing on it to classify.")
    elif high - low < 0.2:
        found.append("The picture uses little of the grey scale. Check how it was exported.")
    if preparation.fit == JOINTS and not find_knees(radiograph):
        found.append(
            "No knee joint was found in the picture, and this model judges joints. It was shown "
            "the whole picture instead: its scores mean little."
        )
    if min(radiograph.height, radiograph.width) < min(preparation.height, preparation.width):
        found.append(
            f"The picture ({radiograph.width} × {radiograph.height}) is smaller than the network's "
            f"input ({preparation.width} × {preparation.height}) and was enlarged."
        )
    if radiograph.colour:
        found.append("The file is in colour. Radiographs are grey: is this one?")
    return tuple(found)


def shows_two_legs(radiograph: Radiograph) -> bool:
    """Tell by a simple measure whether a front view shows both legs side by side.

    The median grey of each column over the middle half of the rows makes a profile; two
    legs are two wide bright runs in it. Made for counting in data sets: of the
    paper's collection 48 pictures that it calls two legs and 45 that it does not were looked
    at, and all were told right. It can be wrong elsewhere.
    """
    height, width = radiograph.pixels.shape
    if width < 0.7 * height:
        return False
    profile = np.median(radiograph.pixels[height // 4 : 3 * height // 4], axis=0)
    smooth = max(1, width // 30)
    profile = np.convolve(profile, np.ones(smooth) / smooth, "same")
    bright = np.concatenate(([0], profile > 0.45 * profile.max(), [0])).astype(int)
    edges = np.flatnonzero(np.diff(bright))
    runs = edges[1::2] - edges[::2]
    return int((runs > 0.12 * width).sum()) >= 2
