"""``state.json``: how far a run is, in its worker's own words, and what is true of it."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from kop_core.training import locks
from kop_core.training.run_folder import RunFolder, write_json

QUEUED, RUNNING, FINISHED, STOPPED, INTERRUPTED, FAILED = STATES = (
    "queued",
    "running",
    "finished",
    "stopped",
    "interrupted",
    "failed",
)
ALIVE = (QUEUED, RUNNING)
ENDED = (FINISHED, STOPPED, FAILED)
STATE_FILE, STOP_FILE = "state.json", "stop"
STARTING = "starting"
# A process that was started needs this long at most until it has its lock.
STARTS_WITHIN = timedelta(seconds=30)
_MOST_BYTES = 16 * 2**20

_NUMBER = (int, float)
_KINDS: dict[str, type | tuple[type, ...]] = {
    "state": str,
    "stage": str,
    "epoch": int,
    "epochs": int,
    "step": int,
    "steps": int,
    "seconds_left": _NUMBER,
    "images_per_second": _NUMBER,
    "memory_bytes": int,
    "figures": dict,
    "queued_at": str,
    "started_at": str,
    "updated_at": str,
    "pid": int,
    "message": str,
}
EMPTY: dict[str, Any] = {"format": 1, **dict.fromkeys(_KINDS), "figures": {}}


def now() -> str:
    """Return the time as it is written into a run's files."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def read_time(text: Any) -> datetime | None:
    """Return a time that :func:`now` wrote, or ``None`` for anything else."""
    try:
        time = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the values of a JSON file, ``None`` if there is no such file.

    Raises:
        ValueError: if something else is there, or it cannot be read.
    """
    try:
        if not path.is_file():
            if path.exists() or path.is_symlink():
                raise ValueError
            return None
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, RecursionError) as error:
        raise ValueError from error
    if not isinstance(value, dict):
        raise ValueError
    return value


def read_state(folder: Path) -> dict[str, Any]:
    """Return what ``state.json`` says, every field there, ``None`` where it says nothing.

    Args:
        folder: the run's.

    Returns:
        The fields; those that a hand has made into something else count as not there.

    Raises:
        ValueError: if the file cannot be read.
    """
    said = read_json(folder / STATE_FILE)
    if said is None:
        return dict(EMPTY)
    if said.get("format") != 1 or said.get("state") not in STATES:
        raise ValueError
    kept = {name: said.get(name) for name, kind in _KINDS.items() if _is(said.get(name), kind)}
    figures = kept.get("figures") or {}
    kept["figures"] = {k: float(v) for k, v in figures.items() if _is(v, _NUMBER)}
    return {**EMPTY, **kept}


def _is(value: Any, kind: type | tuple[type, ...]) -> bool:
    if isinstance(value, bool) or not isinstance(value, kind):
        return False
    return math.isfinite(value) if isinstance(value, float) else not _is_huge(value)


def _is_huge(value: Any) -> bool:
    """Return whether it is a whole number that no program would write here."""
    return isinstance(value, int) and abs(value) >= 2**63


def write_state(folder: Path, said: dict[str, Any]) -> None:
    """Write ``state.json``, whole, with the time.

    Raises:
        OSError: if it cannot be written; the one before stays.
    """
    write_json(folder / STATE_FILE, {**EMPTY, **said, "updated_at": now()})


def overwrite_state(folder: Path, said: dict[str, Any]) -> None:
    """Write ``state.json`` over itself: on a full disk that takes no new space.

    Who reads it in that instant may find half of it, so it is for a last word only.

    Raises:
        OSError: if it cannot be written.
    """
    text = json.dumps({**EMPTY, **said, "updated_at": now()}, ensure_ascii=False)
    with (folder / STATE_FILE).open("r+b") as stream:
        stream.write(text.encode())
        stream.truncate()


def is_starting(said: dict[str, Any]) -> bool:
    """Return whether a process was started a moment ago that has not got its lock yet."""
    if said["state"] != QUEUED or said["stage"] != STARTING:
        return False
    since = read_time(said["updated_at"])
    return since is not None and abs(datetime.now(timezone.utc) - since) < STARTS_WITHIN


def shown_state(folder: Path, said: dict[str, Any], alive: bool | None = None) -> str:
    """Return what is true of a run, whatever its worker said last.

    Args:
        folder: the run's.
        said: its ``state.json``.
        alive: whether a process holds its lock; looked up if not given.
    """
    claimed = said["state"]
    if alive is None:
        alive = locks.held(folder / locks.RUN_LOCK)
    if claimed == FINISHED and RunFolder(folder).card.is_file():
        return claimed
    if alive:  # whoever is at work on it may not write what it says of itself
        return claimed if claimed in ALIVE else RUNNING
    if claimed in (STOPPED, FAILED):
        return FINISHED if card_state(folder) == FINISHED else claimed
    if is_starting(said):
        return QUEUED
    # The card is written last of all: only the word that it is there has not come through.
    return (card_state(folder) if claimed != QUEUED else None) or INTERRUPTED


def card_state(folder: Path) -> str | None:
    """Return how a run ended by its card, ``None`` if it has none."""
    try:
        card = read_json(RunFolder(folder).card)
    except ValueError:
        return FAILED
    if card is None:
        return None
    training = card.get("training")
    return STOPPED if isinstance(training, dict) and training.get("stopped") else FINISHED
