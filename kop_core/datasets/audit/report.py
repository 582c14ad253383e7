"""What an audit found, as plain values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median
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
        likeness: how alike the two are where they overlap, at most 1; see
            :class:`kop_core.datasets.audit.geometry.Fit`.
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
        name: ``"file_facts"`` or ``"nearest_picture"``.
        title: what it looks at, in words.
        random: share of the files that it calls as they are filed, in five folds by file;
            ``None`` if there is too little to measure.
        by_radiograph: the same in five folds by radiograph.
        majority: share of the largest class among the same files, what calling everything that
            would score.
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


@dataclass(frozen=True)
class SplitExamined:
    """What is to be known of a split before a figure measured on it is believed.

    Attributes:
        leakage: test files with a copy in training, by strength.
        look_up: share of the test files called as they are filed by giving each the class
            of its nearest picture in training, which learns nothing.
        looked_up: how far each of them is called so, from 0 to 1: a share where pictures of
            several classes are equally near.
    """

    leakage: Leakage
    look_up: Estimate
    looked_up: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class AuditReport:
    """What an audit found in one data set.

    Attributes:
        folder: the data set's.
        name: the folder's name.
        fingerprint: of the data set: paths, classes and bytes.
        files: the files that could be read.
        links: pairs of files that show the same radiograph, enough to join every group.
        unreadable: files that could not be read, with the reason.
        passed_over: files and folders that were not looked at, with the reason.
        shortcuts: what can be scored without bone.
        leakage: of splits that were tried.
        patients: summary of the patient variables, see
            :func:`kop_core.datasets.patients.summarise_patients`.
        seconds: how long it took.
    """

    folder: Path
    name: str
    fingerprint: str
    files: tuple[FileFacts, ...]
    links: tuple[Link, ...]
    unreadable: tuple[tuple[str, str], ...]
    passed_over: tuple[tuple[str, str], ...]
    shortcuts: tuple[Shortcut, ...]
    leakage: tuple[Leakage, ...]
    patients: dict[str, Any]
    seconds: float

    @cached_property
    def _groups(self) -> dict[str, list[int]]:
        found = defaultdict(list)
        for place, facts in enumerate(self.files):
            found[facts.radiograph].append(place)
        return dict(found)

    def groups(self) -> dict[str, list[int]]:
        """Return the places of the files that show each radiograph."""
        return self._groups

    def conflicted(self) -> list[str]:
        """Return the radiographs that are filed under more than one class."""
        return [
            radiograph
            for radiograph, places in self.groups().items()
            if len({self.files[p].true for p in places}) > 1
        ]

    def identical_groups(self) -> list[list[int]]:
        """Return the places of files that share their bytes, for bytes that several have."""
        found = defaultdict(list)
        for place, facts in enumerate(self.files):
            found[facts.sha256].append(place)
        return [places for places in found.values() if len(places) > 1]

    def counts_by_file(self) -> dict[str, int]:
        """Return how many readable files each class has: ours first, then others."""
        return self._counts([f.true for f in self.files])

    def counts_by_radiograph(self) -> dict[str, int]:
        """Return how many radiographs each class has; a conflicted one counts in each."""
        shown = {(f.radiograph, f.true) for f in self.files}
        return self._counts([true for _, true in shown])

    def _counts(self, found: list[str]) -> dict[str, int]:
        others = sorted(set(found) - set(CLASS_NAMES))
        return {name: found.count(name) for name in (*CLASS_NAMES, *others)}

    def random_split_leakage(self) -> dict[str, Any] | None:
        """Return the mean over the random splits tried, as shares; ``None`` if there are none."""
        tried = [k for k in self.leakage if k.protocol == "random" and k.test_files]
        if not tried:
            return None
        shares = {
            strength: sum(getattr(k, strength) / k.test_files for k in tried) / len(tried)
            for strength in ("identical", "near", "any")
        }
        return {**shares, "test_files": tried[0].test_files, "seeds": [k.seed for k in tried]}

    def get_config(self) -> dict[str, Any]:
        """Return it as plain values for JSON: counts first, then what stands behind them."""
        names = [f.file for f in self.files]
        groups, conflicted = self.groups(), self.conflicted()
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "files": len(self.files),
            "unreadable": [{"file": f, "reason": r} for f, r in self.unreadable],
            "passed_over": [{"file": f, "reason": r} for f, r in self.passed_over],
            "radiographs": len(groups),
            "identical_groups": len(self.identical_groups()),
            "conflicted_radiographs": len(conflicted),
            "files_by_class": self.counts_by_file(),
            "radiographs_by_class": self.counts_by_radiograph(),
            "shortcuts": {s.name: _plain(s) for s in self.shortcuts},
            "random_split_leakage": self.random_split_leakage(),
            "leakage": [asdict(k) for k in self.leakage],
            "groups": {
                radiograph: [names[p] for p in places]
                for radiograph, places in groups.items()
                if len(places) > 1
            },
            "conflicts": {
                radiograph: {names[p]: self.files[p].true for p in groups[radiograph]}
                for radiograph in conflicted
            },
            "links": [
                {**asdict(k), "first": names[k.first], "second": names[k.second]}
                for k in self.links
            ],
            "sizes": self._sizes(),
            "patients": self.patients,
            "seconds": self.seconds,
        }

    def _sizes(self) -> dict[str, dict[str, float]]:
        """Return least, median and most of what the files are like."""
        found = {}
        for what in ("width", "height", "bytes", "brightness", "contrast"):
            values = [getattr(f, what) for f in self.files]
            if values:
                found[what] = {"min": min(values), "median": median(values), "max": max(values)}
        return found


def _plain(shortcut: Shortcut) -> dict[str, Any]:
    def figure(estimate: Estimate | None) -> dict[str, float | None] | None:
        return None if estimate is None else estimate.get_config()

    return {
        "title": shortcut.title,
        "random": figure(shortcut.random),
        "by_radiograph": figure(shortcut.by_radiograph),
        "majority": shortcut.majority,
    }
