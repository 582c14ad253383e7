"""Runs: what there is of them, and starting, stopping, going on with and deleting one.

A run is a folder. Its state is only there, so that anyone who can read the folder sees the
same, at any time, whoever started it. A run at work is a process of its own, which goes on
when whoever started it ends (:mod:`kop_core.training.worker`).
"""

from __future__ import annotations

import csv
import math
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import FileLock

from kop_core import child_process, networks
from kop_core.errors import DataSetError, RunError, UnknownRun
from kop_core.training import locks, run_queue
from kop_core.training.config import TrainingConfig
from kop_core.training.run_folder import RunFolder, lowest_loss, write_json
from kop_core.training.run_state import (
    ALIVE,
    EMPTY,
    ENDED,
    FAILED,
    FINISHED,
    INTERRUPTED,
    QUEUED,
    RUNNING,
    STARTING,
    STATE_FILE,
    STATES,
    STOP_FILE,
    STOPPED,
    is_starting,
    now,
    read_json,
    read_state,
    read_time,
    shown_state,
    write_state,
)

__all__ = [
    "ALIVE", "ENDED", "FAILED", "FINISHED", "INTERRUPTED", "QUEUED", "RUNNING", "STATES",
    "STOPPED", "Request", "Run", "at_once", "create", "default_root", "delete", "find", "get",
    "list_runs", "open_run", "read_request", "resume", "set_at_once", "start", "stop",
]  # fmt: skip

REQUEST_FILE, LOG_FILE = "request.json", "log.txt"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LONGEST_TITLE = 200
_GONE = ".deleted-"


@dataclass(frozen=True)
class Request:
    """What was asked for before a run began: ``request.json``.

    Attributes:
        config: its settings.
        data_folder: the radiographs.
        title: its name in a sentence.
        created: when it was set up.
    """

    config: TrainingConfig
    data_folder: Path
    title: str
    created: datetime | None


@dataclass(frozen=True)
class Run:
    """A run as it was at one moment.

    Attributes:
        id: its name in commands and addresses: the folder's.
        folder: where it is.
        state: ``"queued"``, ``"running"``, ``"finished"``, ``"stopped"``, ``"interrupted"``
            (its process ended without a word) or ``"failed"``.
        title: its name in a sentence.
        config: its settings, ``None`` if they cannot be read.
        data_folder: the radiographs, if that is known.
        created: when it was set up.
        epoch: whole epochs done.
        epochs: epochs asked for.
        best: the epoch of the highest ``val_accuracy``: ``epoch``, ``figure``, ``accuracy``,
            ``loss``, and ``part``, the part of the data that it was measured on
            (``"test"`` or ``"validation"``); ``None`` before the first has ended.
        progress: what the worker said last, every field of ``state.json`` there.
        message: a sentence for the person: why it ended, or what is wrong with its folder.
        damaged: whether something is wrong with its folder, as the message says.
        history: a row an epoch.
        record: what ``run.json`` says, ``None`` if it is not there or cannot be read.
    """

    id: str
    folder: Path
    state: str
    title: str
    config: TrainingConfig | None = None
    data_folder: Path | None = None
    created: datetime | None = None
    epoch: int = 0
    epochs: int = 0
    best: dict[str, Any] | None = None
    progress: dict[str, Any] = field(default_factory=lambda: dict(EMPTY), repr=False)
    message: str | None = None
    damaged: bool = False
    history: list[dict[str, float]] = field(default_factory=list, repr=False)
    record: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def alive(self) -> bool:
        """Whether a process is at work on it, or waits for its turn."""
        return self.state in ALIVE

    @property
    def kept_epoch(self) -> int | None:
        """The epoch whose weights are kept so far; ``None`` before the first has ended."""
        rows = [row for row in self.history if "val_loss" in row]
        if not rows:
            return None
        best = self.config is not None and self.config.keep == "best"
        return lowest_loss(rows) if best else int(rows[-1]["epoch"])

    @property
    def log(self) -> Path:
        """What its process wrote."""
        return self.folder / LOG_FILE

    def get_config(self) -> dict[str, Any]:
        """Return it as plain values for JSON, without settings and history."""
        return {
            "id": self.id,
            "state": self.state,
            "title": self.title,
            "network": self.config and self.config.network,
            "created": self.created and self.created.isoformat(),
            "epoch": self.epoch,
            "epochs": self.epochs,
            "best": self.best,
            "seconds_left": self.progress["seconds_left"] if self.state == RUNNING else None,
            "message": self.message,
            "folder": str(self.folder),
        }


def default_root() -> Path:
    """Return where runs are: ``$KOP_RUNS``, else ``runs/`` beside the code."""
    chosen = os.environ.get("KOP_RUNS")
    return Path(chosen).expanduser().absolute() if chosen else child_process.CODE / "runs"


def _root(root: str | Path | None) -> Path:
    return Path(root).absolute() if root else default_root()


def at_once(root: str | Path | None = None) -> int:
    """Return how many runs may train at once; the others wait. 1 unless it was set."""
    return run_queue.at_once(_root(root))


def set_at_once(number: int, root: str | Path | None = None) -> None:
    """Set how many runs may train at once; those at work go on.

    Raises:
        RunError: unless it is a whole number from 1 to 64, or if it cannot be kept.
    """
    run_queue.set_at_once(number, _root(root))


def list_runs(root: str | Path | None = None) -> tuple[Run, ...]:
    """Return the runs of a runs folder, the newest first.

    What is no run is passed over. A run whose files were damaged is there, with what is
    wrong as its message, and the others are not touched by it.
    """
    root = _root(root)
    try:
        found = [p for p in root.iterdir() if not p.name.startswith(".") and p.is_dir()]
    except OSError:
        return ()
    runs = [_read(path) for path in found if path.is_symlink() or _looks_like_a_run(path)]
    oldest = datetime.min.replace(tzinfo=timezone.utc)
    return tuple(sorted(runs, key=lambda r: (r.created or oldest, r.id), reverse=True))


def get(run_id: str, root: str | Path | None = None) -> Run:
    """Return one run of a runs folder.

    Raises:
        UnknownRun: if there is none of that id; the message lists those there are.
    """
    folder = _root(root) / run_id
    if _ID.fullmatch(run_id) and (folder.is_symlink() or _looks_like_a_run(folder)):
        return _read(folder)
    known = [run.id for run in list_runs(root)]
    listed = ", ".join(known[:20]) + (" and others" if len(known) > 20 else "")
    raise UnknownRun(f"There is no run called {run_id[:100]!r}. Known: {listed or 'none'}.")


def open_run(folder: str | Path) -> Run:
    """Return the run in a folder, which may be outside the runs folder.

    Raises:
        RunError: if it is not the folder of a run.
    """
    folder = Path(folder).absolute()
    if not folder.is_dir() or not _looks_like_a_run(folder):
        raise RunError(f"{folder} is not the folder of a training run (no readable run.json).")
    return _read(folder)


def find(run: str | Path, root: str | Path | None = None) -> Run:
    """Return the run that a person means: by its id, else by its folder.

    Raises:
        UnknownRun: if there is neither.
    """
    try:
        return get(str(run), root)
    except UnknownRun:
        if not is_folder(run):
            raise
    return open_run(run)


def is_folder(path: str | Path) -> bool:
    """Return whether there is such a folder; a name too long for any is that of none."""
    try:
        return Path(path).is_dir()
    except OSError:
        return False


def _looks_like_a_run(folder: Path) -> bool:
    names = (REQUEST_FILE, STATE_FILE, RunFolder(folder).record.name)
    return any((folder / name).is_file() for name in names)


def _read(folder: Path, alive: bool | None = None) -> Run:
    """Return a run with everything that is wrong with its folder in its message.

    Args:
        folder: the run's.
        alive: whether a process is at work on it; looked up if not given.
    """
    if folder.is_symlink():
        return Run(folder.name, folder, FAILED, folder.name, message=(
            f"{folder.name} is a link and not a folder: it is not followed. Put the folder itself "
            "there, or remove the link."
        ))  # fmt: skip
    wrong: list[str] = []
    said, request, record = _said(folder, wrong), _asked(folder, wrong), _record(folder, wrong)
    config = request.config if request else _config_of(record, wrong)
    history = _history(folder, wrong)
    state = shown_state(folder, said, alive)
    if request and record and not same_settings(request.config, record):
        wrong.append(OF_ANOTHER)
    if state not in ALIVE:
        wrong += _wrong_at_rest(folder, said, state, config, record, bool(history))
        if config is None:
            state = FAILED
    # What a worker said while it waited or trained is not true of it after its end, but for
    # why it was ended.
    told = state == said["state"] or (state, said["state"]) == (INTERRUPTED, RUNNING)
    message = said["message"] if told else None
    return Run(
        id=folder.name,
        folder=folder,
        state=state,
        title=request.title if request else folder.name,
        config=config,
        data_folder=request.data_folder if request else _data_of(record),
        created=(request and request.created) or _made(folder),
        epoch=history[-1]["epoch"] if history else 0,
        epochs=config.epochs if config else (said["epochs"] or 0),
        best=_best(history, config),
        progress=said,
        message=" ".join([*wrong, *([message] if message else [])]) or _why(state, said),
        damaged=bool(wrong),
        history=history,
        record=record,
    )


OF_ANOTHER = (
    "run.json has other settings than request.json, so it belongs to another run. Put back the "
    "one that was there, or delete this run."
)


def _why(state: str, said: dict[str, Any]) -> str | None:
    """Return what is to be said of a run whose worker said nothing."""
    if state != INTERRUPTED:
        return None
    if said["state"] is None:
        return "The run was set up, or begun, and no process is at work on it. Resume it."
    return (
        "Its process ended without a word: it was killed, or the machine was switched off. Resume "
        "it, and it goes on after its last whole epoch."
    )


def _said(folder: Path, wrong: list[str]) -> dict[str, Any]:
    try:
        return read_state(folder)
    except ValueError:
        wrong.append(
            f"{STATE_FILE} of the run {folder.name} cannot be read: it was altered. What it said "
            "is lost, the training is not."
        )
        return dict(EMPTY)


def _asked(folder: Path, wrong: list[str]) -> Request | None:
    try:
        return read_request(folder)
    except RunError as error:
        wrong.append(str(error))
        return None


def _record(folder: Path, wrong: list[str]) -> dict[str, Any] | None:
    try:
        record = read_json(RunFolder(folder).record)
        if record is not None and not {"config", "data"} <= record.keys():
            raise ValueError
        return record
    except ValueError:
        wrong.append(
            f"run.json of the run {folder.name} cannot be read: it was altered. Put it back, or "
            "start a new run."
        )
        return None


def _config_of(record: dict[str, Any] | None, wrong: list[str]) -> TrainingConfig | None:
    if record is None:
        return None
    try:
        return _settings(record["config"])
    except RunError as error:
        wrong.append(f"run.json: {error}")
        return None


def _data_of(record: dict[str, Any] | None) -> Path | None:
    data = record and record["data"]
    folder = data.get("folder") if isinstance(data, dict) else None
    return Path(folder) if isinstance(folder, str) else None


def _settings(values: Any) -> TrainingConfig:
    """Return settings from a file, which a hand may have altered."""
    try:
        return TrainingConfig.from_config(values)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise RunError(f"The run's settings cannot be read: {error}.") from error


def _history(folder: Path, wrong: list[str]) -> list[dict[str, float]]:
    try:
        rows = RunFolder(folder).read_history()
        return sorted(rows, key=lambda row: row["epoch"])
    except (RunError, ValueError, KeyError, OSError, csv.Error):
        wrong.append(
            f"history.csv of the run {folder.name} is damaged: it was altered. Put it back, or "
            "start a new run."
        )
        return []


def _wrong_at_rest(
    folder: Path,
    said: dict[str, Any],
    state: str,
    config: TrainingConfig | None,
    record: dict[str, Any] | None,
    begun: bool,
) -> list[str]:
    """Return what stands in the way of going on with a run, or of using it."""
    paths, wrong = RunFolder(folder), []
    if config is None:
        wrong.append(f"{folder.name} has no settings that can be read, so it cannot go on.")
    if record is None and not paths.record.exists() and (begun or paths.checkpoint.exists()):
        wrong.append(
            f"run.json of the run {folder.name} is missing. Put it back, or start a new run."
        )
    if said["state"] == FINISHED and state != FINISHED:
        wrong.append(
            f"{STATE_FILE} says that the run finished, and there is no card.json. Resume it, and "
            "it is made again."
        )
    if state != FINISHED and paths.checkpoint.is_file() and not _is_whole(paths.checkpoint):
        wrong.append(f"{paths.checkpoint} is damaged and cannot be gone on from.")
    return wrong


def _is_whole(checkpoint: Path) -> bool:
    """Return whether a checkpoint has its end; its numbers are checked when it is read."""
    try:
        return zipfile.is_zipfile(checkpoint)
    except OSError:
        return False


def _made(folder: Path) -> datetime | None:
    for name in (RunFolder(folder).split.name, RunFolder(folder).record.name, STATE_FILE):
        with suppress(OSError):
            return datetime.fromtimestamp((folder / name).stat().st_mtime, timezone.utc)
    return None


def _best(history: list[dict[str, float]], config: TrainingConfig | None) -> dict[str, Any] | None:
    rows = [r for r in history if math.isfinite(r.get("val_accuracy", math.nan))]
    if not rows:
        return None
    best = min(rows, key=lambda r: (-r["val_accuracy"], r.get("val_loss", 0.0), r["epoch"]))
    apart = getattr(config, "validation_share", 0) > 0
    return {
        "epoch": best["epoch"],
        "figure": "val_accuracy",
        "accuracy": best["val_accuracy"],
        "loss": best.get("val_loss"),
        "part": "validation" if apart else "test",
    }


def read_request(folder: Path) -> Request | None:
    """Return what ``request.json`` asks for, ``None`` if there is none.

    Raises:
        RunError: if it cannot be read.
    """
    try:
        asked = read_json(folder / REQUEST_FILE)
        if asked is None:
            return None
        if asked.get("format") != 1 or not isinstance(asked.get("data_folder"), str):
            raise ValueError
    except ValueError:
        raise RunError(
            f"{REQUEST_FILE} of the run {folder.name} cannot be read: it was altered, or written "
            "by a newer KOP."
        ) from None
    try:
        config = _settings(asked.get("config"))
    except RunError as error:
        raise RunError(f"{REQUEST_FILE} of the run {folder.name}: {error}") from error
    title = asked.get("title")
    return Request(
        config,
        Path(asked["data_folder"]),
        _one_line(title) if isinstance(title, str) and title.strip() else folder.name,
        read_time(asked.get("created")),
    )


def same_settings(config: TrainingConfig, record: dict[str, Any]) -> bool:
    """Return whether a ``run.json`` is of a run with these settings."""
    try:
        return _settings(record["config"]) == config
    except RunError:
        return False


def create(
    config: TrainingConfig,
    data_folder: str | Path,
    title: str | None = None,
    root: str | Path | None = None,
) -> Run:
    """Set up a run; nothing is trained yet.

    Args:
        config: everything that decides the result.
        data_folder: the radiographs: a folder of class folders, or a table of files.
        title: its name in a sentence; its id if none is given.
        root: the runs folder.

    Raises:
        UnknownNetwork: if there is no such network.
        DataSetError: if there is no such folder or table.
        RunError: if the runs folder cannot be written.
    """
    networks.get(config.network)
    data = Path(data_folder).expanduser().absolute()
    if not data.exists():
        raise DataSetError(f"There is no folder or table {data} to train on.")
    root = _root(root)
    try:
        folder = _new_folder(root, config.network)
        request = {
            "format": 1,
            "config": config.get_config(),
            "data_folder": str(data),
            "title": _one_line(title or "") or folder.name,
            "created": now(),
        }
        write_json(folder / REQUEST_FILE, request)
    except OSError as error:
        raise RunError(
            f"A run cannot be set up in {root}: {error.strerror}. Name another folder with "
            "KOP_RUNS, or make room."
        ) from error
    return _read(folder)


def _new_folder(root: Path, network: str) -> Path:
    """Make a folder whose name nobody else has: the day, a number of that day, the network."""
    root.mkdir(parents=True, exist_ok=True)
    day = datetime.now().astimezone().date().isoformat()
    taken = [re.match(rf"{day}-(\d+)", path.name) for path in root.iterdir()]
    number = max((int(m[1]) for m in taken if m), default=0)
    plain = re.sub(r"[^a-z0-9]+", "-", network.lower()).strip("-")[:40] or "network"
    while True:
        number += 1
        folder = root / f"{day}-{number:02d}-{plain}"
        with suppress(FileExistsError):
            folder.mkdir()
            return folder


def _one_line(title: str) -> str:
    return " ".join(title.split())[:_LONGEST_TITLE]


def start(
    run: Run, root: str | Path | None = None, *, command: Sequence[str] | None = None
) -> None:
    """Start a process that trains a run, or waits until it may, and return at once.

    The process is in a session of its own: it goes on when this one ends. It goes on after
    the last whole epoch if the run has been at work before.

    Args:
        run: one that is not at work.
        root: the runs folder whose queue it joins; the one that it is in if none is given.
        command: what is run instead of ``python -m kop_core train --run FOLDER``.

    Raises:
        RunError: if it is at work already, has finished, or cannot be started.
    """
    folder = _folder_of(run)
    with locks.kept(_alone(run, "It can be started again when it has ended.")):
        current = _read(folder, alive=False)  # its lock is ours
        if is_starting(current.progress):
            raise RunError(f"The run {run.id} is starting already.")
        if current.state == FINISHED:
            raise RunError(f"The run {run.id} has finished. Start a new run to train further.")
        if current.config is None:
            raise RunError(current.message)
        try:
            (folder / STOP_FILE).unlink(missing_ok=True)
            said = {"state": QUEUED, "stage": STARTING, "epochs": current.epochs}
            write_state(folder, {**said, "epoch": current.epoch, "queued_at": now()})
        except OSError as error:
            raise RunError(f"{folder} cannot be written: {error.strerror}.") from error
    _spawn(
        folder,
        _root(root) if root else folder.parent,
        command or (sys.executable, "-m", "kop_core", "train", "--run", str(folder)),
    )


def _folder_of(run: Run) -> Path:
    """Return a run's folder, if it still is one."""
    if run.folder.is_symlink():
        raise RunError(f"{run.folder} is a link and not a folder: nothing is done with it.")
    if not run.folder.is_dir() or not _looks_like_a_run(run.folder):
        raise UnknownRun(f"The run {run.id} is not there any more.")
    return run.folder


def _alone(run: Run, advice: str, wait: float = 0.3) -> FileLock:
    """Return the lock of a run that nobody is at work on."""
    try:
        lock = locks.take(run.folder / locks.RUN_LOCK, wait)
    except OSError as error:
        raise RunError(f"{run.folder} cannot be written: {error.strerror}.") from error
    if lock is None:
        raise RunError(f"A process is at work on the run {run.id}. {advice}")
    return lock


def _spawn(folder: Path, root: Path, command: Sequence[str]) -> None:
    environment = child_process.environment({"KOP_RUNS": str(root), "PYTHONUNBUFFERED": "1"})
    flags = 0
    if os.name == "nt":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS
    try:
        with (folder / LOG_FILE).open("ab") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                creationflags=flags,
            )
    except OSError as error:
        message = f"The run's process could not be started: {error.strerror}."
        with suppress(OSError):
            write_state(folder, {"state": FAILED, "message": message})
        raise RunError(message) from error
    # Whoever started it may live on: without this the ended process would stay in its table.
    threading.Thread(target=process.wait, daemon=True).start()


def stop(run: Run) -> None:
    """Ask a run to stop: one at work does at its next step, one that waits at once.

    A run whose process was killed is marked as stopped.

    Raises:
        RunError: if it has ended already, or cannot be told.
    """
    folder = _folder_of(run)
    try:
        lock = locks.take(folder / locks.RUN_LOCK)
        if lock is None:
            _ask_to_stop(run)
            return
        with locks.kept(lock):
            _mark_stopped(run)
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror}.") from error


def _ask_to_stop(run: Run) -> None:
    state = _read(run.folder).state
    if state in ENDED:
        raise RunError(f"The run {run.id} has ended already: it is {state}.")
    (run.folder / STOP_FILE).touch()


def _mark_stopped(run: Run) -> None:
    """Write, of a run that nobody is at work on, that it was stopped."""
    current = _read(run.folder, alive=False)
    if current.state in ENDED:
        raise RunError(f"The run {run.id} has ended already: it is {current.state}.")
    if is_starting(current.progress):  # its process finds this when it has come so far
        (run.folder / STOP_FILE).touch()
    said = {**current.progress, "state": STOPPED, "seconds_left": None}
    write_state(run.folder, {**said, "message": stopped_message(current.epoch, current.epochs)})


def stopped_message(epoch: int, epochs: int) -> str:
    """Return in a sentence how far a stopped run had come."""
    if not epoch:
        return "Stopped before its first epoch had ended. Resume it to begin again."
    many = "1 epoch" if epoch == 1 else f"{epoch} epochs"
    return f"Stopped after {many} of {epochs}. Resume it to go on."


def resume(run: Run, *, command: Sequence[str] | None = None) -> None:
    """Put a run that ended too early into the queue again; it goes on as if it had not.

    Raises:
        RunError: if it has finished or is at work.
    """
    state = _read(_folder_of(run)).state
    if state in ALIVE:
        raise RunError(f"The run {run.id} is {state} already.")
    start(run, command=command)


def delete(run: Run, *, stop_first: bool = False, wait: float = 60.0) -> None:
    """Remove a run's folder for good. Nothing outside it is touched, links are not followed.

    Args:
        run: one that is not at work.
        stop_first: stop it if it is.
        wait: how long it may take to stop, in seconds.

    Raises:
        RunError: if it is at work, or cannot be removed.
    """
    folder = _folder_of(run)
    if _read(folder).alive:
        if not stop_first:
            raise RunError(f"The run {run.id} is at work. Stop it first.")
        with suppress(RunError):  # it may have ended this moment
            stop(run)
    # A worker that has said its last word holds its lock for a moment longer.
    advice = "Stop it first." if not stop_first else "It does not stop; try again later."
    lock = _alone(run, advice, wait if stop_first else 3.0)
    doomed = folder.with_name(f"{_GONE}{folder.name}-{time.time_ns()}")
    try:
        if os.name == "nt":  # there an open file cannot be moved
            lock.release()
        folder.rename(doomed)  # at once gone from every list, however long the rest takes
    except OSError as error:
        raise RunError(f"{folder} cannot be removed: {error.strerror}.") from error
    finally:
        lock.release()
    try:
        shutil.rmtree(doomed)
    except OSError as error:
        raise RunError(f"{doomed} cannot be removed: {error.strerror}. Remove it.") from error
