"""An audit from start to end: read, compare, group, measure; quick the second time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from kop_core import radiographs
from kop_core.datasets.audit import cache as kept_audits
from kop_core.datasets.audit import threads
from kop_core.datasets.audit.copies import Groups, find_copies
from kop_core.datasets.audit.report import (
    AuditReport,
    FileFacts,
    Leakage,
    Link,
    Shortcut,
    SplitExamined,
)
from kop_core.datasets.audit.shortcuts import look_up, shortcuts
from kop_core.datasets.audit.signature import WORK_SIDE, Signature, shrink, sign
from kop_core.datasets.patients import summarise_patients
from kop_core.datasets.scanning import DataSet, Item
from kop_core.errors import FileMissing, OutOfMemory, RadiographError

Progress = Callable[[str, int, int, float | None], None]
SEEDS = (1, 2, 3, 4, 5)
TEST_SHARE = 0.2
# Trouble that says nothing of a file's bytes, and may be over the next time.
_PASSING = (FileMissing, OutOfMemory)


@dataclass(frozen=True)
class _Looks:
    """What a picture's bytes alone decide, so that it can be kept for them."""

    width: int
    height: int
    format: str
    mode: str
    brightness: float
    contrast: float


def audit(
    data: DataSet, progress: Progress | None = None, cache: bool = True, seed: int = 0
) -> AuditReport:
    """Look at every picture of a data set and say what is wrong with it.

    Args:
        data: the data set; a radiograph that it names itself is reported, not believed.
        progress: called with the stage (``"reading"``, ``"comparing"``, ``"measuring"``),
            what is done of it, what it has in all, and the seconds left for all of it or
            ``None``. What it raises stops the audit.
        cache: use and keep what was found for the same bytes before. Neither pictures nor
            names of files are kept.
        seed: decides the folds of the shortcuts.

    Returns:
        What was found. Files that cannot be read are named in it; the rest is done.
    """
    began = time.monotonic()
    tell = _Telling(progress, began)
    found = _compare(data, tell, cache)
    files, gone = _facts(data, found)
    links = _links(files, found)
    tell("measuring", 0, 1)
    measured = _measure(files, found, cache, seed)
    tell("measuring", 1, 1)
    reasons = {i.file: found.unreadable.get(i.sha256) or gone.get(i.file) for i in data.items}
    return AuditReport(
        data.folder,
        data.source.resolve().name,
        data.fingerprint,
        tuple(files),
        tuple(links),
        tuple((file, reason) for file, reason in reasons.items() if reason),
        data.passed_over,
        measured,
        _leakage(files, links),
        summarise_patients(data),
        time.monotonic() - began,
    )


def with_radiographs(data: DataSet, progress: Callable[[int, int], None] | None = None) -> DataSet:
    """Return a data set with the radiograph that each file shows, found by looking at it.

    Files for which the data set itself names one radiograph stay together too. A file that
    cannot be read stands for a radiograph of its own.

    Args:
        data: the data set.
        progress: called with files done and files in all.
    """

    def told(stage: str, done: int, total: int, _: float | None) -> None:
        if progress and stage == "reading":
            progress(done, total)

    found = _compare(data, _Telling(told, time.monotonic()), True)
    return joined(data, [found.stands_for.get(item.sha256, item.sha256) for item in data.items])


def joined(data: DataSet, shown: Sequence[str]) -> DataSet:
    """Return a data set whose radiographs are those that it names and those that were found.

    Args:
        data: the data set.
        shown: a name of what each file was found to show.

    Returns:
        The same files, radiographs named ``G0001`` and on. Files of which the data set or
        ``shown`` says that they are one radiograph have one name.
    """
    groups, first = Groups(len(data.items)), {}
    for place, item in enumerate(data.items):
        keys = [("found", shown[place])]
        if item.radiograph:
            keys.append(("given", item.radiograph))
        for key in keys:
            groups.join(first.setdefault(key, place), place)
    names = _names([groups.find(place) for place in range(len(data.items))])
    items = [replace(item, radiograph=name) for item, name in zip(data.items, names)]
    return replace(data, items=tuple(items))


# Share of the whole that each stage takes, roughly: from, to.
_STAGES = {"reading": (0.0, 0.62), "comparing": (0.62, 0.95), "measuring": (0.95, 1.0)}


def examine_split(
    data: DataSet,
    training: Collection[str],
    test: Collection[str],
    protocol: str,
    seed: int,
    progress: Progress | None = None,
) -> SplitExamined:
    """Say what a split of a data set leaks, and what a mere look-up scores on it.

    Args:
        data: the data set.
        training: files of the training part.
        test: files of the test part.
        protocol: of the split, to be handed on.
        seed: of the split, to be handed on.
        progress: see :func:`audit`.

    Returns:
        Both; files that cannot be read are left out.
    """
    found = _compare(data, _Telling(progress, time.monotonic()), True)
    files, _ = _facts(data, found)
    links = _links(files, found)
    part = {**dict.fromkeys(training, 0), **dict.fromkeys(test, 1)}
    kept = [place for place, facts in enumerate(files) if facts.file in part]
    in_test = np.array([bool(part[files[place].file]) for place in kept])
    keys = [key[kept] for key in _copy_keys(files, links)]
    scored, right = look_up(
        [files[place] for place in kept],
        [found.hashes[files[place].sha256] for place in kept],
        in_test,
    )
    return SplitExamined(_leak(protocol, seed, in_test, *keys), scored, right)


class _Telling:
    """Progress with the time left, from how long what is done has taken."""

    def __init__(self, progress: Progress | None, began: float) -> None:
        self._progress, self._began = progress, began

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._progress is None:
            return
        start, end = _STAGES[stage]
        share = start + (end - start) * (done / total if total else 1)
        took = time.monotonic() - self._began
        left = took * (1 - share) / share if share > 0.02 and took > 1 else None
        self._progress(stage, done, total, left)


@dataclass(frozen=True, eq=False)
class _Found:
    """What the bytes of a data set show, whatever the files are called."""

    looks: dict[str, _Looks]
    hashes: dict[str, np.ndarray]
    matches: list[tuple[str, str, str, bool, float]]
    unreadable: dict[str, str]

    @cached_property
    def stands_for(self) -> dict[str, str]:
        """One digest for each radiograph, by the digest of every readable file."""
        order = list(self.looks)
        place = {sha: i for i, sha in enumerate(order)}
        groups = Groups(len(order))
        for first, second, *_ in self.matches:
            groups.join(place[first], place[second])
        return {sha: order[groups.find(i)] for sha, i in place.items()}


def _compare(data: DataSet, tell: _Telling, use_cache: bool) -> _Found:
    distinct = {item.sha256: item for item in reversed(data.items)}
    order = sorted(distinct)
    kept = kept_audits.read(order, _unpacked) if use_cache else None
    if kept:
        return kept
    looks, signatures, faults = _read_all(data, [distinct[sha] for sha in order], tell)
    readable = list(looks)
    with _single_threaded_opencv():
        copies = find_copies(
            [signatures[sha] for sha in readable],
            lambda done, total: tell("comparing", done, total),
        )
    matches = [
        (readable[m.first], readable[m.second], "near" if m.near else "part", m.mirrored,
         m.likeness)
        for m in copies
    ]  # fmt: skip
    hashes = {sha: signatures[sha].whole.astype(np.float16) for sha in readable}
    unreadable = {sha: fault.reason for sha, fault in faults.items()}
    found = _Found(looks, hashes, matches, unreadable)
    if use_cache and not any(isinstance(fault, _PASSING) for fault in faults.values()):
        kept_audits.write(
            order, {sha: _row(k) for sha, k in looks.items()}, hashes, matches, unreadable
        )
    return found


def _unpacked(kept: dict) -> _Found:
    looks = {sha: _Looks(*row) for sha, row in kept["looks"].items()}
    matches = [
        (one, other, strength, mirrored, likeness)
        for one, other, strength, mirrored, likeness in kept["matches"]
    ]
    return _Found(looks, kept["hashes"], matches, dict(kept["unreadable"]))


def _row(looks: _Looks) -> tuple:
    return tuple(getattr(looks, name) for name in looks.__dataclass_fields__)


def _read_all(data: DataSet, items: Sequence[Item], tell: _Telling):
    """Read and sign every distinct file, in threads; the order does not depend on them."""
    looks: dict[str, _Looks] = {}
    signatures: dict[str, Signature] = {}
    faults: dict[str, RadiographError] = {}

    def one(item: Item):
        try:
            return item, *_look(data.path(item))
        except RadiographError as error:
            return item, error, None

    with _single_threaded_opencv(), threads.pool() as pool:
        for done, (item, look, signature) in enumerate(_bounded(pool, one, items), start=1):
            if signature is None:
                faults[item.sha256] = look
            else:
                looks[item.sha256], signatures[item.sha256] = look, signature
            tell("reading", done, len(items))
    return looks, signatures, faults


def _look(path: Path) -> tuple[_Looks, Signature]:
    radiograph = radiographs.read(path)
    pixels = radiograph.pixels
    looks = _Looks(
        radiograph.width,
        radiograph.height,
        radiograph.format,
        _mode(path, radiograph.bits),
        float(pixels.mean()),
        float(pixels.std()),
    )
    grey = np.round(shrink(pixels, WORK_SIDE) * 255).astype(np.uint8)
    return looks, sign(np.ascontiguousarray(grey))


def _mode(path: Path, bits: int) -> str:
    """Return how a file keeps its pixels: Pillow's word, or the bits of a DICOM object."""
    try:
        with Image.open(path) as picture:
            return picture.mode
    except (OSError, ValueError, Image.DecompressionBombError):
        return f"{bits} bit"


def _bounded(pool: ThreadPoolExecutor, work: Callable, items: Sequence) -> Iterator:
    """Yield results in order, with only a few pictures in memory at a time."""
    ahead = 4 * threads.workers()
    waiting = [pool.submit(work, item) for item in items[:ahead]]
    for place in range(len(items)):
        yield waiting[place].result()
        waiting[place] = None
        if place + ahead < len(items):
            waiting.append(pool.submit(work, items[place + ahead]))


_OPENCV = threading.Lock()
_using = 0
_before = 1


@contextmanager
def _single_threaded_opencv() -> Iterator[None]:
    """Keep OpenCV's own threads out of the way of ours, for as long as any audit works."""
    global _using, _before
    with _OPENCV:
        if _using == 0:
            _before = cv2.getNumThreads()
            cv2.setNumThreads(1)
        _using += 1
    try:
        yield
    finally:
        with _OPENCV:
            _using -= 1
            if _using == 0:
                cv2.setNumThreads(_before)


def _names(groups: Sequence) -> list[str]:
    """Return ``G0001`` and on for groups, by the first file of each."""
    numbers = {group: n for n, group in enumerate(dict.fromkeys(groups), start=1)}
    width = max(4, len(str(len(numbers))))
    return [f"G{numbers[group]:0{width}d}" for group in groups]


def _facts(data: DataSet, found: _Found) -> tuple[list[FileFacts], dict[str, str]]:
    """Return the readable files, and those that are there no more, with the reason."""
    sizes, gone = {}, {}
    for item in data.items:
        if item.sha256 in found.looks:
            try:
                sizes[item.file] = data.path(item).stat().st_size
            except OSError as error:
                gone[item.file] = f"the file cannot be opened any more ({error.strerror})."
    readable = [item for item in data.items if item.file in sizes]
    names = _names([found.stands_for[item.sha256] for item in readable])
    files = []
    for item, name in zip(readable, names):
        looks = found.looks[item.sha256]
        files.append(
            FileFacts(item.file, item.true, name, item.radiograph, item.patient, item.sha256,
                      sizes[item.file], looks.width, looks.height, looks.format, looks.mode,
                      looks.brightness, looks.contrast)
        )  # fmt: skip
    return files, gone


def _links(files: Sequence[FileFacts], found: _Found) -> list[Link]:
    links, first = [], {}
    for place, facts in enumerate(files):
        if first.setdefault(facts.sha256, place) != place:
            links.append(Link(first[facts.sha256], place, "identical", False, 1.0))
    for one, other, strength, mirrored, likeness in found.matches:
        if one in first and other in first:
            low, high = sorted((first[one], first[other]))
            links.append(Link(low, high, strength, mirrored, likeness))
    return sorted(links, key=lambda link: (link.first, link.second))


def _measure(
    files: Sequence[FileFacts], found: _Found, use_cache: bool, seed: int
) -> tuple[Shortcut, ...]:
    key = [f"{f.sha256} {f.true} {f.radiograph}" for f in files] + [f"seed {seed}"]
    kept = kept_audits.read_shortcuts(key) if use_cache else None
    if kept is None:
        kept = shortcuts(files, [found.hashes[f.sha256] for f in files], seed)
        if use_cache:
            kept_audits.write_shortcuts(key, kept)
    return kept


def _leakage(files: Sequence[FileFacts], links: Sequence[Link]) -> tuple[Leakage, ...]:
    """Try splits of 80 to 20 and count the test files that have a copy in training."""
    size = round(len(files) * TEST_SHARE)
    if not 0 < size < len(files):
        return ()
    sha, near, radiograph = _copy_keys(files, links)
    found = []
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        test = np.zeros(len(files), bool)
        test[rng.permutation(len(files))[:size]] = True
        found.append(_leak("random", seed, test, sha, near, radiograph))
    if radiograph.max() > 0:
        order = np.random.default_rng(SEEDS[0]).permutation(radiograph.max() + 1)
        chosen = order[: max(1, round(len(order) * TEST_SHARE))]
        test = np.isin(radiograph, chosen)
        found.append(_leak("radiograph", SEEDS[0], test, sha, near, radiograph))
    return tuple(found)


def _copy_keys(files: Sequence[FileFacts], links: Sequence[Link]) -> tuple[np.ndarray, ...]:
    """Return numbers that copies share: identical ones, near-identical ones, all."""
    sha = np.unique([f.sha256 for f in files], return_inverse=True)[1]
    radiograph = np.unique([f.radiograph for f in files], return_inverse=True)[1]
    groups = Groups(len(files))
    for link in links:
        if link.strength != "part":
            groups.join(link.first, link.second)
    near = np.array([groups.find(place) for place in range(len(files))], dtype=int)
    return sha, near, radiograph


def _leak(protocol: str, seed: int, test: np.ndarray, *keys: np.ndarray) -> Leakage:
    copied = [int(np.isin(key[test], key[~test]).sum()) for key in keys]
    return Leakage(protocol, seed, int(test.sum()), *copied)
