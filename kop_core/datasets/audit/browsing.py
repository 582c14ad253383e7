"""An audit's groups of files for people who look at them: chosen, put in order, pictured."""

from __future__ import annotations

import base64
import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from kop_core import radiographs
from kop_core.classes import CLASS_NAMES
from kop_core.datasets.audit.engine import joined
from kop_core.datasets.audit.report import STRENGTHS
from kop_core.datasets.splits import make_split, with_radiographs
from kop_core.errors import DataSetError, RadiographError

if TYPE_CHECKING:
    from kop_core.datasets.audit.report import AuditReport, FileFacts
    from kop_core.datasets.scanning import DataSet


@dataclass(frozen=True)
class Group:
    """Files that show one radiograph.

    Attributes:
        radiograph: its name in the audit.
        files: the files, those of one class together, in the order of the classes.
        classes: the classes that they are filed under, in order.
        strengths: how they were found to be the same, the strongest first.
        mirrored: whether some are turned left to right against others.
    """

    radiograph: str
    files: tuple[FileFacts, ...]
    classes: tuple[str, ...]
    strengths: tuple[str, ...]
    mirrored: bool

    @property
    def conflicted(self) -> bool:
        """Whether the radiograph is filed under more than one class."""
        return len(self.classes) > 1

    @property
    def patients(self) -> tuple[str, ...]:
        """The patients that are named for it."""
        return tuple(sorted({f.patient for f in self.files if f.patient}))

    def shown(self, most: int) -> tuple[FileFacts, ...]:
        """Return at most so many of its files: of every class some, and few that are identical."""
        if len(self.files) <= most:
            return self.files
        by_class = [
            _distinct_first([f for f in self.files if f.true == name]) for name in self.classes
        ]
        turns = [row[i] for i in range(max(map(len, by_class))) for row in by_class if i < len(row)]
        chosen = set(turns[:most])
        return tuple(f for f in self.files if f in chosen)


def _distinct_first(files: Sequence[FileFacts]) -> list[FileFacts]:
    seen: set[str] = set()
    first = [f for f in files if not (f.sha256 in seen or seen.add(f.sha256))]
    return first + [f for f in files if f not in first]


def all_groups(report: AuditReport) -> tuple[Group, ...]:
    """Return the radiographs that several files show, the largest first."""
    strengths: dict[str, set[str]] = defaultdict(set)
    mirrored: set[str] = set()
    for link in report.links:
        radiograph = report.files[link.first].radiograph
        strengths[radiograph].add(link.strength)
        if link.mirrored:
            mirrored.add(radiograph)
    found = []
    for radiograph, places in report.groups().items():
        if len(places) < 2:
            continue
        files = [report.files[place] for place in places]
        order = in_order({f.true for f in files})
        files.sort(key=lambda f: (order.index(f.true), f.file))
        held = tuple(s for s in STRENGTHS if s in strengths[radiograph])
        found.append(Group(radiograph, tuple(files), order, held, radiograph in mirrored))
    return tuple(sorted(found, key=lambda g: (-len(g.files), g.radiograph)))


def choose(
    groups: Iterable[Group],
    strength: str | None = None,
    true: str | None = None,
    conflicted: bool = False,
) -> tuple[Group, ...]:
    """Return the groups that were found at a strength, hold a class, are conflicted."""
    return tuple(
        g
        for g in groups
        if (strength is None or strength in g.strengths)
        and (true is None or true in g.classes)
        and (not conflicted or g.conflicted)
    )


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of classes: ours in their order, then others."""
    held = set(names)
    return tuple(n for n in CLASS_NAMES if n in held) + tuple(sorted(held - set(CLASS_NAMES)))


def thumbnail(path: Path, side: int = 160) -> bytes | None:
    """Return a radiograph as a small JPEG, or ``None`` if it cannot be read any more.

    Args:
        path: the file.
        side: pixels of the longer side at most.
    """
    try:
        pixels = radiographs.read(path).pixels
    except RadiographError:
        return None
    picture = Image.fromarray(np.round(pixels * 255).astype(np.uint8))
    picture.thumbnail((side, side), Image.Resampling.BOX, reducing_gap=None)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=72)
    return stream.getvalue()


def data_uri(picture: bytes) -> str:
    """Return a JPEG as the address of a picture that holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(picture).decode()


def sizes(report: AuditReport) -> Sequence[int]:
    """Return how many files show each radiograph."""
    return [len(places) for places in report.groups().values()]


def with_groups(data: DataSet, report: AuditReport) -> DataSet:
    """Return a data set's readable files, each with the radiograph that it shows.

    As :func:`kop_core.datasets.with_radiographs` does it, without looking again: where the
    data set names the radiograph of every file, it is believed; else what it names is joined
    to what the audit found.
    """
    found = {f.file: f.radiograph for f in report.files}
    read = replace(data, items=tuple(i for i in data.items if i.file in found))
    if all(item.radiograph for item in read.items):
        return with_radiographs(read)
    return joined(read, [found[item.file] for item in read.items])


def split_csv(
    data: DataSet, report: AuditReport, test_share: float, seed: int, conflicts: str = "keep"
) -> str:
    """Return a split by radiograph, as a CSV table: the one that ``split`` makes.

    Args:
        data: the data set.
        report: its audit.
        test_share: share of the files in the test part.
        seed: the same seed gives the same split.
        conflicts: what to do with conflicted radiographs, see
            :func:`kop_core.datasets.splits.make_split`.

    Raises:
        DataSetError: if it cannot be split.
    """
    foreign = sorted({i.true for i in data.items} - set(CLASS_NAMES))
    if foreign:
        raise DataSetError(
            f"A split is made for the classes {', '.join(CLASS_NAMES)}; this data set has others "
            f"({', '.join(name or 'no class' for name in foreign[:5])})."
        )
    split = make_split(with_groups(data, report), "radiograph", test_share, seed, conflicts)
    return split.to_csv()


def groups_csv(report: AuditReport) -> str:
    """Return which radiograph each file shows, as a CSV table ``file,radiograph``."""
    stream = io.StringIO()
    rows = csv.writer(stream)
    rows.writerow(("file", "radiograph"))
    rows.writerows((f.file, f.radiograph) for f in report.files)
    return stream.getvalue()
