"""Locks between processes: the system takes them back from a process that ends, however it ends.

Whether a run is alive is decided by its lock alone. A process number says nothing: another
process may have it by now, or the run may have been at work on another machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from kop_core.errors import RunError
from kop_core.training.run_folder import RunFolder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

RUN_LOCK = "lock"
# Whoever only looks holds a lock for an instant; whoever takes it waits that out.
_INSTANT = 0.3


def take(path: Path, wait: float = _INSTANT) -> FileLock | None:
    """Return the lock on ``path``, taken, or ``None`` if another has it.

    Args:
        path: the lock's file; it is made, and it stays.
        wait: how long to try, in seconds.

    Raises:
        OSError: if the file cannot be made.
    """
    lock = FileLock(path, timeout=wait, thread_local=False)
    try:
        lock.acquire(poll_interval=0.02)
    except Timeout:
        return None
    return lock


def held(path: Path) -> bool:
    """Return whether someone has the lock on ``path``. It needs no right to write there."""
    if fcntl is None:
        return _held_by_trying(path)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # no such file: nobody ever had it
        return False
    try:
        # Shared: any number may look at the same moment without seeing one another.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False


def _held_by_trying(path: Path) -> bool:
    if not path.is_file():
        return False
    lock = take(path, 0.05)
    if lock is not None:
        lock.release()
    return lock is None


@contextmanager
def alone(folder: Path, what: str) -> Iterator[None]:
    """Keep others from working on the same folder of runs.

    Args:
        folder: of the runs; it is made if it is not there.
        what: is at work on it, such as ``"benchmark"``.

    Raises:
        RunError: if another is at work there, or the folder cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = take(folder / RUN_LOCK)
    except OSError as error:
        raise RunError(
            f"The folder {folder} of the runs cannot be used ({error.strerror}). Name another "
            "with --runs."
        ) from error
    if lock is None:
        raise RunError(
            f"Another {what} is at work in {folder}. Wait for it, or name another folder with "
            "--runs."
        )
    with kept(lock):
        yield


@contextmanager
def kept(lock: FileLock) -> Iterator[None]:
    """Keep a lock that was taken, and give it back at the end."""
    try:
        yield
    finally:
        lock.release()


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Hold the lock of a run's folder, which is made if it is not there.

    Nothing is left behind of a run that did not begin.

    Raises:
        RunError: if another process is at work on the run, or the folder is a file.
        OSError: if the folder cannot be made.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} exists already and is a file. Choose another folder.")
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RUN_LOCK
    new = not path.exists()
    lock = take(path)
    if lock is None:
        raise RunError(f"Another process is at work on the run in {folder}.")
    try:
        with kept(lock):
            yield
    finally:
        if new and not RunFolder(folder).record.exists():
            with suppress(OSError):
                path.unlink()
                if made:
                    folder.rmdir()
