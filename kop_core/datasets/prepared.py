"""Prepared pictures in a file, for data sets that are too large for memory.

The file is in KOP's cache folder, readable by its owner alone: unlike what an audit keeps,
it holds pictures that a person could recognise. It is found again by the content of the
files and the preparation. What was used longest ago is removed above a limit.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import PIL

from kop_core.errors import DataSetError
from kop_core.radiographs import Preparation

# To be raised whenever the same bytes could be prepared otherwise.
VERSION = 1
# Bytes of all files together.
LIMIT = 20 * 2**30
# A draft that nobody wrote to for so many seconds was left by a process that was killed.
_ABANDONED = 3600.0

_Unreadable = list[tuple[int, str]]


def folder() -> Path:
    """Return where prepared pictures are kept."""
    from kop_core.datasets.audit import cache

    return cache.folder().parent / "prepared"


def keep(
    digests: Sequence[str],
    preparation: Preparation,
    pictures: Callable[[], Iterator[np.ndarray]],
    unreadable: _Unreadable,
    limit: int | None = None,
) -> tuple[np.ndarray, _Unreadable]:
    """Return prepared pictures as an array that stays on disk, and those left out.

    Args:
        digests: SHA-256 of each file.
        preparation: how they are prepared.
        pictures: gives the prepared pictures, float32, (height, width), one after another,
            without those that cannot be read.
        unreadable: filled by ``pictures`` with place and reason.
        limit: bytes of all files kept together; default :data:`LIMIT`.

    Returns:
        Read-only pictures, float32, (files read, height, width), and what is unreadable.

    Raises:
        DataSetError: if they cannot be written.
    """
    path = folder() / f"{_key(digests, preparation)}.f32"
    found = _open(path, len(digests), preparation)
    if found is None:
        try:
            _write(path, len(digests), preparation, pictures, unreadable)
        except OSError as error:
            raise _no_room(path, len(digests), preparation, error) from error
        _prune(path, LIMIT if limit is None else limit)
        found = _open(path, len(digests), preparation)
    if found is None:
        raise DataSetError(
            f"The prepared pictures in {path.parent} were altered while they were written. Start "
            "again, or choose another folder by the environment variable KOP_CACHE."
        )
    return found


def _key(digests: Sequence[str], preparation: Preparation) -> str:
    settings = json.dumps(preparation.get_config(), sort_keys=True)
    digest = hashlib.sha256(f"{VERSION}\n{PIL.__version__}\n{settings}\n".encode())
    for one in digests:
        digest.update(one.encode() + b"\n")
    return digest.hexdigest()[:40]


def _facts(path: Path) -> Path:
    return path.with_suffix(".json")


def _open(
    path: Path, count: int, preparation: Preparation
) -> tuple[np.ndarray, _Unreadable] | None:
    """Return what was kept of so many files, or ``None`` if it is not there or not whole."""
    try:
        facts = json.loads(_facts(path).read_text(encoding="utf-8"))
        unreadable = [(int(place), str(reason)) for place, reason in facts["unreadable"]]
        lost = {place for place, _ in unreadable if 0 <= place < count}
        files = count - len(lost)
        if len(lost) != len(unreadable) or files != facts["files"]:
            return None
        shape = (files, preparation.height, preparation.width)
        if path.stat().st_size != _bytes(files, preparation):
            return None
        if not files:  # nothing can be mapped
            return np.empty(shape, np.float32), unreadable
        with contextlib.suppress(OSError):  # it may be of somebody else, or not be writable
            os.utime(path)  # used last: removed last
        return np.asarray(np.memmap(path, np.float32, "r", shape=shape)), unreadable
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def _bytes(files: int, preparation: Preparation) -> int:
    return files * preparation.height * preparation.width * np.float32().nbytes


def _write(
    path: Path,
    files: int,
    preparation: Preparation,
    pictures: Callable[[], Iterator[np.ndarray]],
    unreadable: _Unreadable,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _remove_abandoned(path.parent)
    if shutil.disk_usage(path.parent).free < _bytes(files, preparation):
        raise OSError(None, "there is too little space")
    draft = path.with_suffix(f".{os.getpid()}.part")
    try:
        draft.touch(0o600)
        # Written, not mapped: on a full disk a write fails, a mapped page kills the process.
        with draft.open("wb") as stream:
            for picture in pictures():
                stream.write(np.ascontiguousarray(picture, np.float32))
        facts = {"files": files - len(unreadable), "unreadable": unreadable}
        _facts(path).unlink(missing_ok=True)
        draft.replace(path)
        draft.touch(0o600)
        draft.write_text(json.dumps(facts), encoding="utf-8")
        draft.replace(_facts(path))
    finally:
        draft.unlink(missing_ok=True)


def _no_room(path: Path, files: int, preparation: Preparation, error: OSError) -> DataSetError:
    size = _bytes(files, preparation)
    return DataSetError(
        f"The {files:,} prepared pictures of {size / 1e9:.1f} GB do not fit into memory and could "
        f"not be written to {path.parent} ({error.strerror or error}). Free some space, choose "
        "another folder by the environment variable KOP_CACHE, or a smaller size of picture."
    )


def _remove_abandoned(inside: Path) -> None:
    for draft in inside.glob("*.part"):
        with contextlib.suppress(OSError):
            if time.time() - draft.stat().st_mtime > _ABANDONED:
                draft.unlink()


def _prune(used: Path, limit: int) -> None:
    """Remove what was used longest ago until the rest is within the limit."""
    with contextlib.suppress(OSError):
        kept = sorted(used.parent.glob("*.f32"), key=lambda p: p.stat().st_mtime, reverse=True)
        kept.sort(key=lambda p: p != used)  # stable: the one in use first
        total = 0
        for path in kept:
            total += path.stat().st_size
            if total > limit and path != used:
                _facts(path).unlink(missing_ok=True)
                path.unlink(missing_ok=True)
