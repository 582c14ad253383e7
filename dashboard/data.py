"""Audits behind the Data page: one at a time, in a thread that no page waits for.

A job is known by a key in the page's address, so that a reload or a colleague finds it
again. What was unpacked from an archive is kept only as long as a session or the thread
holds its job, and is removed with it.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
import threading
import time
import traceback
import weakref
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import streamlit as st

from kop_core import wording
from kop_core.errors import DataSetError, KopError

if TYPE_CHECKING:
    from kop_core.datasets import DataSet
    from kop_core.datasets.audit import AuditReport

_LOG = logging.getLogger(__name__)
# Unpacks an archive where it stays: archive, title, progress → folder, members left out.
Keep = Callable[..., "tuple[Path, list[tuple[str, str]]]"]
KEPT = 8
_THUMBNAILS = 3000
_PREFIX = "kop-data-"
_STAGES = {
    "waiting": "Waiting for another audit to end",
    "unpacking": "Unpacking the archive",
    "scanning": "Listing the files",
    "reading": "Reading the pictures",
    "comparing": "Comparing pictures that look alike",
    "measuring": "Measuring shortcuts and leakage",
}


class _Cancelled(Exception):
    """The person who asked for an audit no longer wants it."""


class Job:
    """One audit: asked for, under way, or done.

    Attributes:
        key: its name in addresses; nobody can guess it.
        title: what the person calls the data set: a path, or an archive's name.
        any_class: whether folders named after no class of ours count.
        stage: what is being done, in words.
        done: of the stage.
        total: of the stage; 0 if that is not known.
        seconds_left: for all of it, or ``None``.
        data: the data set, once it is scanned.
        report: what was found, once it is done.
        left_out: members of an archive that were not unpacked, with reasons.
        error: why it ended without a report, or ``None``.
    """

    def __init__(
        self, source: Path | BinaryIO, title: str, any_class: bool, keep: Keep | None = None
    ) -> None:
        self.key = os.urandom(9).hex()
        self.title = title
        self.any_class = any_class
        self.stage = _STAGES["waiting"]
        self.done = 0
        self.total = 0
        self.seconds_left: float | None = None
        self.data: DataSet | None = None
        self.report: AuditReport | None = None
        self.left_out: list[tuple[str, str]] = []
        self.error: str | None = None
        self.uploaded = not isinstance(source, Path)
        self.temporary = self.uploaded and keep is None
        self._keep = keep
        self._source: Path | BinaryIO | None = source
        self._stop = threading.Event()
        self._future: Future[None] | None = None
        self._began = (0.0, "")
        self._split: tuple[tuple | None, str] = (None, "")
        self._thumbnails: dict[tuple[str, int], str | None] = {}

    def start(self, worker: ThreadPoolExecutor) -> None:
        """Put it in the queue."""
        self._future = worker.submit(self._run)

    def cancel(self) -> None:
        """Stop it at its next step, or before it begins."""
        self._stop.set()

    @property
    def running(self) -> bool:
        """Whether it waits or is under way."""
        return self._future is not None and not self._future.done()

    @property
    def cancelled(self) -> bool:
        """Whether it was stopped."""
        return self._stop.is_set()

    def share(self) -> float:
        """Return how much of the stage is done, between 0 and 1."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    def how_far(self) -> str:
        """Return what is being done, how much of it is done, and the time left, in words."""
        if self.cancelled:
            return "Stopping at the next step."
        said = self.stage
        if self.total > 1:
            said += f": {self.done:,} of {self.total:,}"
        if self.seconds_left is not None and self.seconds_left > 2:
            said += f", about {wording.duration(self.seconds_left)} left"
        return f"{said}."

    def split_csv(self, test_share: float, seed: int, conflicts: str) -> str:
        """Return a split by radiograph as a CSV table; made once for the same settings.

        Raises:
            DataSetError: if the data set cannot be split so.
        """
        from kop_core.datasets.audit import browsing

        asked = (test_share, seed, conflicts)
        if self._split[0] != asked:
            made = browsing.split_csv(self.data, self.report, test_share, seed, conflicts)
            self._split = (asked, made)
        return self._split[1]

    def _run(self) -> None:
        try:
            self._audit()
        except _Cancelled:
            self.error = "The audit was stopped."
        except KopError as error:
            self.error = str(error)
        except MemoryError:
            self.error = (
                "The audit needs more memory than this machine has. Audit a part of the data set."
            )
        except OSError as error:
            # The name of a file may be in the error's own text, and is not repeated.
            self.error = f"A file of the data set could not be read ({error.strerror})."
        except Exception as error:
            # Where it happened goes to the terminal; its words may hold names of files.
            where = "".join(traceback.format_tb(error.__traceback__))
            _LOG.error("An audit failed (%s):\n%s", type(error).__name__, where)
            self.error = (
                f"The audit ended unexpectedly ({type(error).__name__}). Where it happened is in "
                "the terminal that runs KOP; please report it."
            )
        finally:
            self._source = None

    def _audit(self) -> None:
        from kop_core.datasets.audit import audit
        from kop_core.datasets.scanning import scan

        source = self._source
        if not isinstance(source, Path):
            source = self._unpack(source)
        try:
            self.data = scan(source, self._step(_STAGES["scanning"]), any_class=self.any_class)
        except DataSetError:
            manifest = _only_manifest(source) if self.uploaded else None
            if manifest is None:
                raise
            self.data = scan(manifest, self._step(_STAGES["scanning"]), any_class=self.any_class)
        report = audit(self.data, self._told)
        self._check()
        self.report = report

    def _unpack(self, archive: BinaryIO) -> Path:
        from kop_core.datasets.archives import unpack

        if self._keep is not None:
            step = self._step(_STAGES["unpacking"])
            folder, self.left_out = self._keep(archive, self.title, progress=step)
            return folder
        # The report calls a data set what its folder is called.
        name = re.sub(r"[^\w.() -]", "_", Path(self.title).stem).strip(". ")[:80] or "archive"
        folder = _temporary_folder(self) / name
        self.left_out = unpack(archive, folder, progress=self._step(_STAGES["unpacking"]))
        return folder

    def thumbnail(self, file: str, side: int) -> str | None:
        """Return a small picture of a file as an address that holds it, or ``None``.

        Args:
            file: the file's path in the data set.
            side: pixels of the longer side.
        """
        from kop_core.datasets.audit import browsing

        if (file, side) not in self._thumbnails and self.data is not None:
            picture = browsing.thumbnail(self.data.folder / file, side)
            self._thumbnails[file, side] = picture and browsing.data_uri(picture)
            while len(self._thumbnails) > _THUMBNAILS:
                self._thumbnails.pop(next(iter(self._thumbnails)))
        return self._thumbnails.get((file, side))

    def _step(self, stage: str) -> Callable[[int, int], None]:
        return lambda done, total: self._told(stage, done, total, None)

    def _told(self, stage: str, done: int, total: int, seconds_left: float | None = None) -> None:
        """Take in progress; the one place where an audit can be stopped."""
        self._check()
        now = time.monotonic()
        if stage != self._began[1]:
            self._began = (now, stage)
        if seconds_left is None and 0 < done < total:
            seconds_left = (now - self._began[0]) / done * (total - done)
        self.stage, self.done, self.total = _STAGES.get(stage, stage), done, total
        self.seconds_left = seconds_left

    def _check(self) -> None:
        if self._stop.is_set():
            raise _Cancelled


class _Jobs:
    """The audits that a server knows of, for all sessions."""

    def __init__(self) -> None:
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="kop-audit")
        self._kept: OrderedDict[str, Job] = OrderedDict()
        self._uploaded: weakref.WeakValueDictionary[str, Job] = weakref.WeakValueDictionary()

    def add(self, job: Job) -> Job:
        if job.temporary:
            self._uploaded[job.key] = job
        else:
            self._kept[job.key] = job
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)[1].cancel()
        job.start(self.worker)
        return job

    def get(self, key: str) -> Job | None:
        return self._kept.get(key) or self._uploaded.get(key)


@st.cache_resource(show_spinner=False)
def _jobs() -> _Jobs:
    return _Jobs()


def start(
    source: Path | BinaryIO, title: str, any_class: bool = False, keep: Keep | None = None
) -> Job:
    """Begin an audit of a folder, a manifest or an archive; never waits.

    Args:
        source: what to audit.
        title: what the person calls it.
        any_class: whether folders named after no class of ours count.
        keep: unpacks an archive where it stays, see
            :func:`kop_core.training.kept_data.keep`; else it goes with the session.

    Raises:
        DataSetError: if there is no such folder or table, or it cannot be opened.
    """
    if isinstance(source, Path) and not _is_there(source):
        raise DataSetError(
            f"There is no folder or table {source} on the machine that runs KOP. Check the path."
        )
    return _jobs().add(Job(source, title, any_class, keep))


def find(key: str) -> Job | None:
    """Return the audit of an address, if the server still knows it."""
    return _jobs().get(key)


def cancel(key: str) -> None:
    """Stop an audit, if it is still known.

    What a button calls: Streamlit keeps that for as long as a session lasts, and a method of
    the audit itself would keep the audit, and what was unpacked for it, as long.
    """
    if (job := find(key)) is not None:
        job.cancel()


def folder_from(text: str) -> Path:
    """Return the path that a person typed or pasted, perhaps in quotation marks.

    Raises:
        DataSetError: if it begins with the home of a user whom the machine does not know.
    """
    plain = re.sub(r"^file://", "", text.strip().strip("'\""))
    try:
        return Path(plain).expanduser()
    except RuntimeError as error:
        raise DataSetError(
            f"The machine that runs KOP knows no home folder of {Path(plain).parts[0]}. Write the "
            "path in full."
        ) from error


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise DataSetError(f"{path} cannot be opened ({error.strerror}).") from error


def _only_manifest(folder: Path) -> Path | None:
    """Return the one CSV table in an unpacked archive that may list its files."""
    from kop_core.datasets.scanning import PATIENTS_CSV, RADIOGRAPHS_CSV

    known = {PATIENTS_CSV, RADIOGRAPHS_CSV}
    found = [p for p in folder.rglob("*.csv") if p.name.lower() not in known]
    return found[0] if len(found) == 1 else None


def _temporary_folder(job: Job) -> Path:
    """Return a new folder that is removed when nothing holds the job any more."""
    sweep()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    weakref.finalize(job, shutil.rmtree, folder, ignore_errors=True)
    return folder


def sweep() -> None:
    """Remove what servers that are no longer running have left behind."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdecimal() and int(owner) != os.getpid() and not _is_running(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_running(process: int) -> bool:
    if os.name == "nt":  # os.kill would end the process there
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
