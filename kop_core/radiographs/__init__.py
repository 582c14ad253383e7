"""Radiographs: reading them from files, and preparing their pixels for a network."""

from kop_core.radiographs.knees import Knee, find_knees
from kop_core.radiographs.preparation import PREPARATIONS, Preparation, prepare
from kop_core.radiographs.quality import cautions, require_knee, shows_two_legs
from kop_core.radiographs.radiograph import Radiograph
from kop_core.radiographs.reading import EXTENSIONS, LIMITS, Limits, read

__all__ = [
    "EXTENSIONS",
    "LIMITS",
    "PREPARATIONS",
    "Knee",
    "Limits",
    "Preparation",
    "Radiograph",
    "cautions",
    "find_knees",
    "prepare",
    "read",
    "require_knee",
    "shows_two_legs",
]
