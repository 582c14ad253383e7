"""What an audit found, as plain values."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kop_core.classes import CLASS_NAMES
from kop_core.evaluation import Estimate

STRENGTHS = ("identical", "near", "part")


@dataclass(frozen=True)
class FileFacts:
    """One readable file of an audited data set.

    Attributes:
        file: its path inside the folder.
        true: name of its class.
        radiograph: the group that the audit put it in, ``"G0001"`` and on.
        given: the radiograph that the data set itself names, or ``""``.
        patient: the patient that the data set names, or ``""``.
        sha256: digest of its bytes.
        bytes: its size on disk.
        width: pixels a row.
        height: rows.
        format: such as ``"PNG"``.
        mode: how its pixels are kept, such as ``"L"`` or ``"RGB"``.
        brightness: mean of the grey picture, 0 to 1.
        contrast: standard deviation of the grey picture, 0 to 0.5.
    """

    file: str
    true: str
    radiograph: str
    given: str
    patient: str
    sha256: str
    bytes: int
    width: int
    height: int
    format: str
    mode: str
    brightness: float
    contrast: float


@dataclass(frozen=True)
class Link:
    """Two files that were found to show the same radiograph.

    Attributes:
        first: place of one in ``AuditReport.files``.
        second: place of the other.
        strength: ``"identical"`` bytes; ``"near"``, the same field of view, re-encoded,
            rescaled, squeezed or brightened; ``"part"``, one is a crop of the other.
        mirrored: whether one is turned left to right.
        likeness: correlation of the two pictures where they overlap, at most 1.
    """

    first: int
    second: int
    strength: str
    mirrored: bool
    likeness: float


@dataclass(frozen=True)
class Shortcut:
    """How well a classifier does that cannot have learned anything of bone.

    Attributes:
        name: ``"file_facts"`` or ``"nearest_copy"``.
        title: what it looks at, in words.
        random: its balanced... see ``metric``, five-fold by file.
        by_radiograph: the same, five-fold by radiograph; ``None`` if it cannot be measured.
        majority: share of the largest class, what calling everything that would score.
    """

    name: str
    title: str
    random: Estimate | None
    by_radiograph: Estimate | None
    majority: float


@dataclass(frozen=True)
class Leakage:
    """Share of the test files of a split that have a copy in training.

    Attributes:
        protocol: of the split, such as ``"random"``.
        seed: of the split.
        test_files: files in the test part.
        identical: of these, with a byte-identical file in training.
        near: with an identical or near-identical one.
        any: with any picture of the same radiograph.
    """

    protocol: str
    seed: int
    test_files: int
    identical: int
    near: int
    any: int
