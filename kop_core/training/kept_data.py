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
_LEFT_OUT = "left_out.json"
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
        found = _found(place, called)
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


def _found(place: Path, called: str) -> tuple[Path, list[tuple[str, str]]] | None:
    """Return what was unpacked before, under whatever name it had then."""
    try:
        left_out = [tuple(pair) for pair in json.loads((place / _LEFT_OUT).read_text("utf-8"))]
        folders = sorted(p for p in place.iterdir() if p.is_dir())
    except (OSError, ValueError, TypeError):
        return None
    if not folders:
        return None
    with contextlib.suppress(OSError):
        os.utime(place)  # somebody wants it now
    return next((p for p in folders if p.name == called), folders[0]), left_out


def holds(data_folder: str | Path, root: str | Path | None = None) -> bool:
    """Return whether a data set is one that was unpacked here."""
    return Path(data_folder).absolute().is_relative_to(folder(root))


def unused(root: str | Path | None = None, spared: float = SPARED) -> list[Path]:
    """Return the unpacked archives that no run needs.

    Args:
        root: the runs folder.
        spared: one that was dropped or chosen less than so many seconds ago is not named:
            somebody may be setting up a run on it.
    """
    inside = folder(root)
    needed = {
        inside / Path(run.data_folder).relative_to(inside).parts[0]
        for run in runs.list_runs(root)
        if run.data_folder and holds(run.data_folder, root) and Path(run.data_folder) != inside
    }
    now, found = time.time(), []
    with contextlib.suppress(OSError):
        for path in sorted(inside.iterdir()):
            if path not in needed and now - path.stat().st_mtime > spared:
                found.append(path)
    return found


def remove_unused(root: str | Path | None = None, spared: float = SPARED) -> list[Path]:
    """Remove the unpacked archives that no run needs; return them. See :func:`unused`."""
    gone = unused(root, spared)
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)
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
    return plain[:80] or "archive"
