"""What an audit found, kept by the content of the files, so that a second one is quick.

Kept are measurements by digest: neither names of files nor pictures that a person could
recognise. The folder is ``$KOP_CACHE``, else ``kop`` in the user's cache folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from kop_core.datasets.audit.report import Shortcut
from kop_core.evaluation import Estimate

# To be raised whenever an audit could find something else in the same bytes.
VERSION = 6
_MOST = 60
_Unpacked = TypeVar("_Unpacked")


def folder() -> Path:
    """Return where audits are kept."""
    chosen = os.environ.get("KOP_CACHE")
    if chosen:
        return Path(chosen) / "audits"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "kop" / "audits"


def read(digests: Sequence[str], unpack: Callable[[dict[str, Any]], _Unpacked]) -> _Unpacked | None:
    """Return what was kept for exactly these files, or ``None``.

    Args:
        digests: of the files, sorted.
        unpack: makes of what :func:`write` was given what is returned; where it raises, what
            was kept is damaged and counts for nothing.
    """
    path = _path("found", digests)
    kept = _load(path)
    if kept is None:
        return None
    try:
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            hashes = arrays["hashes"]
        return unpack({**kept, "hashes": dict(zip(kept["looks"], hashes, strict=True))})
    except Exception:  # damaged bytes make the readers of archives raise anything at all
        return None


def write(
    digests: Sequence[str],
    looks: dict[str, tuple],
    hashes: dict[str, np.ndarray],
    matches: Sequence[tuple],
    unreadable: dict[str, str],
) -> None:
    """Keep what was found. A cache that cannot be written is no error."""
    path = _path("found", digests)
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        stacked = np.stack(list(hashes.values())) if hashes else np.empty((0, 0, 0), np.float16)
        with _replacing(path.with_suffix(".npz")) as stream:
            np.savez_compressed(stream, hashes=stacked)
        _save(path, {"looks": looks, "matches": list(matches), "unreadable": unreadable})
        _prune(path.parent)


def read_shortcuts(key: Sequence[str]) -> tuple[Shortcut, ...] | None:
    """Return the shortcuts that were measured on the same files, classes and groups."""
    kept = _load(_path("shortcuts", key))
    if kept is None:
        return None

    def figure(values: list | None) -> Estimate | None:
        return None if values is None else Estimate(*values)

    try:
        return tuple(Shortcut(n, t, figure(r), figure(b), m) for n, t, r, b, m in kept["shortcuts"])
    except (TypeError, ValueError, KeyError):
        return None


def write_shortcuts(key: Sequence[str], found: Sequence[Shortcut]) -> None:
    """Keep shortcuts. A cache that cannot be written is no error."""

    def figure(estimate: Estimate | None) -> tuple | None:
        return None if estimate is None else (estimate.value, estimate.low, estimate.high)

    rows = [(s.name, s.title, figure(s.random), figure(s.by_radiograph), s.majority) for s in found]
    with contextlib.suppress(OSError):
        path = _path("shortcuts", key)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _save(path, {"shortcuts": rows})


def _path(kind: str, key: Sequence[str]) -> Path:
    digest = hashlib.sha256(f"{VERSION}\n{kind}\n".encode())
    for part in key:
        digest.update(part.encode() + b"\n")
    return folder() / f"{kind}-{digest.hexdigest()[:40]}.json"


def _load(path: Path) -> dict[str, Any] | None:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return kept if isinstance(kept, dict) else None


def _save(path: Path, value: dict[str, Any]) -> None:
    with _replacing(path) as stream:
        stream.write(json.dumps(value).encode())


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a draft that takes a file's place when it is whole; several may be written at once."""
    draft = path.with_name(f"{path.name}.{os.urandom(6).hex()}.part")
    try:
        with draft.open("wb") as stream:
            yield stream
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _prune(kept_in: Path) -> None:
    """Forget the audits that were kept longest ago."""
    kept = sorted(kept_in.glob("found-*.json"), key=lambda p: p.stat().st_mtime, reverse=True)
    for old in kept[_MOST:]:
        old.with_suffix(".npz").unlink(missing_ok=True)
        old.unlink(missing_ok=True)
