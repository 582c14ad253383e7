"""Archives that were dropped to train on, unpacked where the runs are.

A run reads its pictures when it starts, when it goes on and when its worst mistakes are
shown, so what it trains on must be there as long as it is. An archive is kept once however
often it is dropped (its folder is named by its content), and is removed when no run needs it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from kop_core.errors import RunError
from kop_core.training import runs

_FOLDER = ".data"
_LEFT_OUT = ".left_out.json"  # no data set is called so
# Somebody may still be setting up a run on what was unpacked.
SPARED = 24 * 3600.0


def folder(root: str | Path | None = None) -> Path:
    """Return where unpacked archives are kept.

    Args:
        root: the runs folder, see :func:`kop_core.training.runs.default_root`.
    """
    return (Path(root).absolute() if root else runs.default_root()) / _FOLDER


def keep(
    archive: BinaryIO,
    name: str,
    root: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, list[tuple[str, str]]]:
    """Unpack an archive to train on, unless the same one is there already.

    Args:
        archive: open for reading.
        name: what it is called; its data set will be called so.
        root: the runs folder.
        progress: called with members done and members in all.

    Returns:
        The data set's folder, and names and reasons of members that were left out.

    Raises:
        DataSetError: if it cannot be unpacked, see
            :func:`kop_core.datasets.archives.unpack`.
        RunError: if the folder cannot be written.
    """
    from kop_core.datasets.archives import unpack

    inside, called = folder(root), _plain(name)
    place = inside / _digest(archive)[:24]
    found = _found(place, called)
    if found is not None:
        return found
    draft = inside / f".part-{os.getpid()}-{time.time_ns()}"
    try:
        remove_unused(root)
        draft.mkdir(parents=True)
        left_out = unpack(archive, draft / called, progress=progress)
        (draft / _LEFT_OUT).write_text(json.dumps(left_out), encoding="utf-8")
        with contextlib.suppress(OSError):  # another one has just unpacked the same
            draft.rename(place)
        found = _found(place, called) or _mended(place, draft, called)
    except OSError as error:
        raise RunError(
            f"The archive cannot be unpacked in {inside}: {error.strerror}. Make room, or name a "
            "folder on this machine instead."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    if found is None:
        raise RunError(f"The archive could not be kept in {inside}. Name a folder instead.")
    return found


def _mended(place: Path, draft: Path, called: str) -> tuple[Path, list[tuple[str, str]]] | None:
    """Put what a hand took from what was unpacked before back into it."""
    for path in draft.iterdir():
        with contextlib.suppress(OSError):  # a folder that is there stays: a run may need it
            path.replace(place / path.name)
    return _found(place, called)


def _found(place: Path, called: str) -> tuple[Path, list[tuple[str, str]]] | None:
    """Return what was unpacked before, under whatever name it had then."""
    try:
        pairs = json.loads((place / _LEFT_OUT).read_text("utf-8"))
        left_out = [(str(name), str(reason)) for name, reason in pairs]
        folders = sorted(p for p in place.iterdir() if p.is_dir())
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    if not folders:
        return None
    with contextlib.suppress(OSError):
        os.utime(place)  # somebody wants it now
    return next((p for p in folders if p.name == called), folders[0]), left_out


def unused(root: str | Path | None = None, spared: float = SPARED) -> list[Path]:
    """Return the unpacked archives that no run needs.

    Args:
        root: the runs folder.
        spared: one that was dropped or chosen less than so many seconds ago is not named:
            somebody may be setting up a run on it.
    """
    inside = folder(root)
    # By name, which is the archive's content: whichever way a run's path leads there, and also
    # if the runs folder was somewhere else when it was set up.
    needed = {
        part for run in runs.list_runs(root) if run.data_folder for part in run.data_folder.parts
    }
    now, found = time.time(), []
    with contextlib.suppress(OSError):
        for path in sorted(inside.iterdir()):
            if path.name not in needed and now - path.stat().st_mtime > spared:
                found.append(path)
    return found


def remove_unused(root: str | Path | None = None, spared: float = SPARED) -> list[Path]:
    """Remove the unpacked archives that no run needs; return them. See :func:`unused`."""
    gone = unused(root, spared)
    for path in gone:
        doomed = path.with_name(f".gone-{path.name.lstrip('.')}")
        with contextlib.suppress(OSError):  # what is removed halfway must not be found again
            path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    return gone


def _digest(archive: BinaryIO) -> str:
    digest = hashlib.sha256()
    archive.seek(0)
    while block := archive.read(2**20):
        digest.update(block)
    archive.seek(0)
    return digest.hexdigest()


def _plain(name: str) -> str:
    """Return an archive's name as a folder may be called."""
    plain = re.sub(r"[^\w.() -]", "_", Path(name.replace("\0", "_")).stem).strip(". ")
    # No file system takes a longer name, in whatever script it is.
    return plain.encode()[:200].decode(errors="ignore").strip(". ") or "archive"
