"""The process of one run: waits for its turn, trains, and says in ``state.json`` how far it is."""

from __future__ import annotations

import errno
import logging
import math
import re
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kop_core.errors import KopError, RunError
from kop_core.training import locks, run_queue, runs
from kop_core.training.run_folder import RunFolder
from kop_core.training.run_state import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    QUEUED,
    RUNNING,
    STARTING,
    STOP_FILE,
    STOPPED,
    now,
    overwrite_state,
    read_state,
    shown_state,
    write_state,
)

if TYPE_CHECKING:
    from kop_core.training import Progress

_WRITES_EVERY = 0.5
_log = logging.getLogger(__name__)
# What stands in quotation marks and has a slash may be the name of a patient's file.
_PATH = re.compile(r"""(?<!File )(['"])[^'"\n]*[/\\][^'"\n]*\1""")


class _Ended(BaseException):
    """The system asks this process to end."""


def work(
    run_folder: str | Path,
    root: str | Path | None = None,
    *,
    report: Callable[[Progress], None] | None = None,
    prepare: Callable[[], None] | None = None,
) -> str:
    """Train the run in a folder, or go on with it, when its turn has come.

    It stops at the next step once there is a file called ``stop`` in the folder. Nothing of
    a deep-learning library is imported before its turn.

    Args:
        run_folder: of a run that :func:`kop_core.training.runs.create` made.
        root: the runs folder whose queue it waits in; the one that it is in if not given.
        report: called as the run goes on.
        prepare: called when its turn has come, before training.

    Returns:
        How it ended: ``"finished"``, ``"stopped"``, ``"failed"``, or ``"interrupted"`` by a
        signal. Why, is in ``state.json``.

    Raises:
        RunError: if it is no run, or another process is at work on it.
        OSError: if its folder cannot be written.
    """
    run = runs.open_run(run_folder)
    if run.folder.is_symlink():
        raise RunError(run.message)
    root = Path(root).absolute() if root else run.folder.parent
    lock = locks.take(run.folder / locks.RUN_LOCK, wait=2.0)
    if lock is None:
        raise RunError(f"Another process is at work on the run {run.id}.")
    with locks.kept(lock):
        return _Worker(run, root, report, prepare or _nothing).go()


def _nothing() -> None:
    return None


class _Worker:
    """A run at work, or waiting."""

    def __init__(
        self,
        run: runs.Run,
        root: Path,
        report: Callable[[Progress], None] | None,
        prepare: Callable[[], None],
    ) -> None:
        self.folder, self.root, self.report, self.prepare = run.folder, root, report, prepare
        self.teller = _Teller(run.folder, run.epoch, run.epochs)

    def go(self) -> str:
        if self._has_finished():
            return FINISHED
        self.teller.say(state=QUEUED, stage="waiting")
        try:
            with _ends_cleanly():
                state, message = self._train_in_turn()
        except (_Ended, KeyboardInterrupt):
            # What it said last stays, so that it shows as interrupted: nobody stopped it.
            self.teller.say(message=_ENDED, seconds_left=None)
            return INTERRUPTED
        with suppress(OSError):
            (self.folder / STOP_FILE).unlink(missing_ok=True)
        self.teller.say(state=state, message=message, seconds_left=None, surely=True)
        return state

    def _has_finished(self) -> bool:
        try:
            said = read_state(self.folder)
        except ValueError:
            return False
        return shown_state(self.folder, said, alive=False) == FINISHED

    def _train_in_turn(self) -> tuple[str, str | None]:
        """Return how the run ended and why, whatever happens."""
        from kop_core.training import StopAsked

        try:
            self.teller.look()
            place = run_queue.wait_for_turn(
                self.folder,
                self.teller.queued_at,
                self.root,
                self.teller.waits,
                self.teller.begins,
            )
            with locks.kept(place):
                self.prepare()
                self._train()
        except StopAsked:
            return STOPPED, self._stopped()
        except KopError as error:
            _log.error("The run failed (%s).", error.code)
            return FAILED, str(error)
        except Exception as error:
            _log.error("%s", _without_names(error))
            return FAILED, _explained(error)
        return (STOPPED, self._stopped()) if self.teller.stopped else (FINISHED, None)

    def _stopped(self) -> str:
        run = runs.open_run(self.folder)
        return runs.stopped_message(run.epoch, run.epochs)

    def _train(self) -> None:
        from kop_core.training import resume, train

        request, paths = runs.read_request(self.folder), RunFolder(self.folder)

        def report(progress: Progress) -> None:
            self.teller.hear(progress)
            if self.report:
                with suppress(OSError):  # a full disk takes the log and leaves the training
                    self.report(progress)
            if progress.stage != "measuring":  # all but done
                self.teller.look()

        if paths.record.exists():
            record = paths.read_record()
            if request and not runs.same_settings(request.config, record):
                raise RunError(runs.OF_ANOTHER)
            resume(self.folder, report, request.data_folder if request else None)
            return
        if request is None:
            raise RunError(f"{self.folder} does not say what is to be trained.")
        if paths.checkpoint.exists() or paths.history.exists():
            raise RunError(
                "run.json is missing, though the run was at work before. Put it back, or start a "
                "new run."
            )
        _clear(paths)
        train(request.config, request.data_folder, self.folder, report)


def _clear(paths: RunFolder) -> None:
    """Take away what is left of a start that was killed before its record was written."""
    for path in (paths.split, *paths.path.glob("*.part")):
        path.unlink(missing_ok=True)


class _Teller:
    """Writes ``state.json`` and sees whether the run is to stop."""

    def __init__(self, folder: Path, epoch: int, epochs: int) -> None:
        import psutil

        self.folder, self.stopped = folder, False
        self.process = psutil.Process()
        self.written = -math.inf
        try:
            before = read_state(folder)
        except ValueError:
            before = {}
        begins = before.get("state") == QUEUED and before.get("queued_at")
        self.queued_at: str = before["queued_at"] if begins else now()
        self.said: dict[str, Any] = {
            "queued_at": self.queued_at,
            "pid": self.process.pid,
            "epoch": epoch,
            "epochs": epochs,
        }

    def look(self) -> None:
        """Raise ``StopAsked``, once, if the run is to stop."""
        from kop_core.training import StopAsked

        if not self.stopped and (self.folder / STOP_FILE).exists():
            self.stopped = True
            raise StopAsked

    def waits(self, before: int) -> None:
        """Say that the run waits."""
        others = "1 run is" if before == 1 else f"{before} runs are"
        message = f"Waits for its turn: {others} before it."
        if message != self.said.get("message"):
            self.say(message=message)
        self.look()

    def begins(self) -> None:
        """Say that its turn has come."""
        self.say(state=RUNNING, stage=STARTING, started_at=now(), message=None, surely=True)

    def hear(self, progress: Progress) -> None:
        """Take in how far the run is; write it at a change of stage, else twice a second."""
        new_stage = progress.stage != self.said.get("stage")
        figures = {k: float(v) for k, v in progress.figures.items() if math.isfinite(v)}
        self.said |= {
            "stage": progress.stage,
            "epoch": progress.epoch,
            "epochs": progress.epochs,
            "step": progress.done,
            "steps": progress.total,
            "seconds_left": progress.seconds_left,
            "images_per_second": getattr(progress, "images_per_second", None),
            "figures": figures or self.said.get("figures") or {},
        }
        if new_stage or time.monotonic() - self.written >= _WRITES_EVERY:
            self.say()

    def say(self, *, surely: bool = False, **changes: Any) -> None:
        """Write ``state.json`` with changes. A disk that is full must not end a training.

        Args:
            surely: try for some seconds if it cannot be written, and then without new space.
        """
        self.said |= changes
        for again in range(8 if surely else 1):
            time.sleep(0.5 * bool(again))
            self.written = time.monotonic()
            with suppress(OSError):
                memory = self.process.memory_info().rss
                write_state(self.folder, {**self.said, "memory_bytes": memory})
                return
        if surely:
            with suppress(OSError):
                overwrite_state(self.folder, self.said)


_ENDED = (
    "Its process was asked to end from outside. Resume the run, and it goes on after its last "
    "whole epoch."
)


@contextmanager
def _ends_cleanly() -> Iterator[None]:
    """Let a request of the system to end unwind the run, so that no half file is left."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise _Ended

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _without_names(error: BaseException) -> str:
    """Return a traceback without names of files of the data: they may be patients'."""
    return _PATH.sub("'…'", "".join(traceback.format_exception(error)))


def _explained(error: Exception) -> str:
    """Return in a sentence, for a person, what went wrong and what to do."""
    kind = type(error).__name__
    if isinstance(error, MemoryError) or kind == "ResourceExhaustedError":
        return (
            "There was not enough memory. Resume the run when other programs have ended, or start "
            "a new one with smaller batches or smaller images."
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            "The disk is full. Make room, then resume the run: it goes on after its last whole "
            "epoch."
        )
    if isinstance(error, OSError):
        return f"A file could not be read or written: {error.strerror or kind}. Look at the log."
    return (
        f"Something went wrong that KOP did not foresee ({kind}). What it was is in the run's "
        "log. Resume the run to try again after its last whole epoch."
    )
