"""Whose turn it is: as many runs train at once as a setting says, the others wait.

Nobody hands out turns. Every worker that waits looks for itself whether it is the oldest
and a place is free; a place is a lock, so that a worker that is killed leaves it free.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from kop_core.errors import RunError
from kop_core.training import locks
from kop_core.training.run_folder import write_json
from kop_core.training.run_state import QUEUED, read_json, read_state, shown_state

MOST_AT_ONCE = 64
_PLACES, _SETTINGS = ".slots", "settings.json"
_LOOKS_EVERY = 0.3


def at_once(root: Path) -> int:
    """Return how many runs of a runs folder may train at once; 1 unless it was set."""
    try:
        number = (read_json(root / _SETTINGS) or {}).get("at_once")
    except ValueError:
        return 1
    return number if _is_number(number) else 1


def set_at_once(number: int, root: Path) -> None:
    """Set how many runs may train at once. Those at work go on.

    Raises:
        RunError: unless it is a whole number from 1 to 64, or if it cannot be kept.
    """
    if not _is_number(number):
        raise RunError(
            f"From 1 to {MOST_AT_ONCE} runs may train at once, and {number} were asked for."
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        write_json(root / _SETTINGS, {"at_once": number})
    except OSError as error:
        raise RunError(f"The setting cannot be kept in {root}: {error.strerror}.") from error


def _is_number(value: object) -> bool:
    return type(value) is int and 1 <= value <= MOST_AT_ONCE


def wait_for_turn(
    folder: Path,
    queued_at: str,
    root: Path,
    look: Callable[[int], None],
    begin: Callable[[], None],
) -> FileLock:
    """Wait until a run may train, and return its place; releasing it gives the place back.

    Args:
        folder: the run's.
        queued_at: since when it waits.
        root: the runs folder.
        look: called again and again with the runs before it; may raise to end the wait.
        begin: called once it has its place, before anyone else counts again: it says in
            ``state.json`` that the run waits no longer, so that it counts as one run only.

    Raises:
        OSError: if no place can be written.
    """
    places = root / _PLACES
    places.mkdir(parents=True, exist_ok=True)
    while True:
        place, before = _try(folder, queued_at, root, places, begin)
        if place is not None:
            return place
        look(before)
        time.sleep(_LOOKS_EVERY)


def _try(
    folder: Path, queued_at: str, root: Path, places: Path, begin: Callable[[], None]
) -> tuple[FileLock | None, int]:
    """Return a place, if it is this run's turn, and how many runs are before it."""
    with FileLock(places / "queue.lock"):  # between counting and taking nobody else may take
        taken = [p for p in places.glob("*.lock") if p.stem.isdecimal() and locks.held(p)]
        older = _waiting_longer(folder, queued_at, root)
        if not older and len(taken) < at_once(root):
            for number in range(1, len(taken) + 2):
                place = locks.take(places / f"{number}.lock", wait=0)
                if place is not None:
                    try:
                        begin()
                    except BaseException:
                        place.release()
                        raise
                    return place, 0
        return None, len(taken) + older


def _waiting_longer(folder: Path, queued_at: str, root: Path) -> int:
    """Return how many live runs have waited longer than this one."""
    older = 0
    for other in root.iterdir():
        if other.name.startswith(".") or other.is_symlink() or other == folder:
            continue
        try:
            said = read_state(other)
        except ValueError:
            continue
        if said["state"] != QUEUED or (said["queued_at"] or "", other.name) > (
            queued_at,
            folder.name,
        ):
            continue
        older += shown_state(other, said) == QUEUED
    return older
