"""The runs of a benchmark: what is there, whether it fits, doing one, and keeping little of it."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kop_core import model_store, networks
from kop_core.benchmarking.planning import Job, settings_of
from kop_core.errors import KopError, RunError
from kop_core.reproduction.runs import FINISHED, MISSING, UNFINISHED, clear_if_not_begun, state
from kop_core.training import Progress, StopAsked, resume, train
from kop_core.training.config import TrainingConfig, differing
from kop_core.training.run_folder import RunFolder, replacing

__all__ = [
    "FINISHED",
    "MISSING",
    "UNFINISHED",
    "attempt",
    "check",
    "do",
    "files_of",
    "keep",
    "slim",
    "state",
]
# What is kept of a run, the card last: a run that has one is finished.
KEPT = ("run.json", "split.csv", "history.csv", "predictions.csv", "card.json")
_ANOTHER = "Name another folder with --runs, or take that one away."
# A checkpoint holds the weights and what Adam keeps of each, and the one before stays until
# it is whole; the model and spare room come on top.
_BYTES_A_PARAMETER = 2 * 3 * 4 + 4
_SPARE = 50 * 10**6
_NO_MEMORY = "There was not enough memory. End other programs, or choose smaller images."


class NoRoom(RunError):
    """There is too little room on the disk: no other job would fare better."""


def check(run: RunFolder, job: Job, fingerprint: str | None) -> dict[str, Any]:
    """Return the record of a run that is there, if it is the one that is wanted.

    Args:
        run: its folder.
        job: what is wanted.
        fingerprint: of the data, if that is known.

    Raises:
        RunError: if it was made with other settings or on other data.
    """
    record = run.read_record()
    problem = differs(record, job, fingerprint)
    if problem:
        raise RunError(f"The run in {run.path} {problem}. {_ANOTHER}")
    return record


def differs(record: Mapping[str, Any], job: Job, fingerprint: str | None) -> str | None:
    """Return, as the rest of a sentence, how a run is not the one that is wanted, or ``None``.

    Args:
        record: what its ``run.json`` says.
        job: what is wanted.
        fingerprint: of the data, if that is known.

    Raises:
        RunError: if its settings cannot be read.
    """
    config = config_of(record)
    there, wanted = ({**settings_of(c), "fold": c.fold} for c in (config, job.config))
    return unlike(there, record["data"]["fingerprint"], wanted, fingerprint)


def unlike(
    there: Mapping[str, Any], on: str, wanted: Mapping[str, Any], fingerprint: str | None
) -> str | None:
    """Return, as the rest of a sentence, how a run is not the one that is wanted, or ``None``.

    Args:
        there: its settings.
        on: fingerprint of its data.
        wanted: settings that are wanted.
        fingerprint: of the data, if that is known.
    """
    found = differing(there, wanted)
    if found:
        return f"has {', '.join(found)}"
    if fingerprint not in (None, on):
        return "was trained on other pictures than those there are now (another fingerprint)"
    return None


def config_of(record: Mapping[str, Any]) -> TrainingConfig:
    """Return the settings of a run by its record."""
    return TrainingConfig.from_config(record["config"])


def read_card(run: RunFolder) -> dict[str, Any]:
    """Return the card of a finished run, after a look at the files that are kept.

    Raises:
        RunError: if one is missing, or was altered after the card was written.
    """
    again = f"Take {run.path} away, and the benchmark trains it again."
    try:
        card = json.loads(run.card.read_text(encoding="utf-8"))
        for path in (run.history, run.predictions):
            if model_store.checksum(path) != card["checksums"][path.name]:
                raise RunError(f"{path} was altered after the run had ended. {again}")
        if not isinstance(card["parameters"], int):
            raise ValueError("parameters")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"The run in {run.path} is damaged ({error!r}). {again}") from error
    return card


def do(
    job: Job,
    folder: Path,
    data_folder: str | Path,
    report: Callable[[Progress], None] | None = None,
    keep_model: bool = False,
) -> None:
    """Train and evaluate one job, or go on with it where it was stopped.

    Args:
        job: what to do.
        folder: of the data set's runs.
        data_folder: the radiographs.
        report: called as the run goes on.
        keep_model: leave the model; else only what is small stays.

    Raises:
        Exception: whatever ended the training; see :func:`explained`.
    """
    import keras

    run = RunFolder(folder / job.name)
    clear_if_not_begun(run)
    try:
        if state(run) == UNFINISHED:
            resume(run.path, report, data_folder)
        elif state(run) == MISSING:
            train(job.config, data_folder, run.path, report)
    finally:
        keras.utils.clear_session()  # the next run is another network
    slim(run, keep_model)


def attempt(
    job: Job,
    folder: Path,
    data_folder: str | Path,
    report: Callable[[Progress], None] | None = None,
    keep_model: bool = False,
    beside: int = 0,
) -> None:
    """Do one job as :func:`do` does, if there is room for it.

    Args:
        job: what to do.
        folder: of the data set's runs.
        data_folder: the radiographs.
        report: called as the run goes on.
        keep_model: leave the model.
        beside: how many other jobs may be at work on the same disk, as large as this.

    Raises:
        NoRoom: if the disk is too full.
        KopError: whatever else ended the training, in words.
    """
    with explained():
        require_room(folder, (1 + beside) * _parameters(job))
        do(job, folder, data_folder, report, keep_model)


_PARAMETERS: dict[tuple[str, int | None, str], int] = {}


def _parameters(job: Job) -> int:
    """Return how many parameters a job's network has."""
    config = job.config
    key = (config.network, config.size, config.view)
    if key not in _PARAMETERS:
        import keras

        model = networks.build(config.network, size=config.size, view=config.view, **config.options)
        _PARAMETERS[key] = networks.counts(model)["parameters"]
        keras.utils.clear_session()
    return _PARAMETERS[key]


@contextmanager
def explained() -> Iterator[None]:
    """Make an error of another library, or of the system, one of this job alone.

    Raises:
        NoRoom: if the disk is full.
        KopError: for every other error.
    """
    try:
        yield
    except (KopError, StopAsked):
        raise
    except MemoryError as error:
        raise RunError(_NO_MEMORY) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoRoom(
                "The disk is full. Free some space, and call the benchmark again: it goes on "
                "after the last whole epoch."
            ) from error
        raise RunError(
            f"A file could not be read or written: {error.strerror or type(error).__name__}."
        ) from error
    except Exception as error:
        kind = type(error).__name__
        if kind == "ResourceExhaustedError":  # TensorFlow's
            raise RunError(_NO_MEMORY) from error
        raise RunError(f"Something went wrong that KOP did not foresee ({kind}).") from error


def slim(run: RunFolder, keep_model: bool = False) -> None:
    """Take away what is large of a finished run, if that was not done yet.

    The checkpoint goes last: while it is there, something is left to do.
    """
    if state(run) != FINISHED or not run.checkpoint.exists():
        return
    for path in run.path.glob("best-*.npz"):
        path.unlink(missing_ok=True)
    if not keep_model:
        run.model.unlink(missing_ok=True)
    run.checkpoint.unlink(missing_ok=True)


def files_of(run: RunFolder) -> dict[str, bytes]:
    """Return the content of what is kept of a finished run, by name."""
    return {name: (run.path / name).read_bytes() for name in KEPT}


def keep(run: RunFolder, files: Mapping[str, bytes]) -> None:
    """Write what was kept of a run that was done elsewhere; it is finished then.

    Raises:
        RunError: if it cannot be written.
    """
    try:
        if run.path.is_dir():  # begun here, and done there
            shutil.rmtree(run.path)
        run.path.mkdir(parents=True)
        for name in KEPT:
            with replacing(run.path / name) as stream:
                stream.write(files[name])
    except OSError as error:
        raise NoRoom(
            f"What came of a job could not be written to {run.path} ({error.strerror}). Free some "
            "space and call the benchmark again: it goes on from there."
        ) from error


def require_room(folder: Path, parameters: int) -> None:
    """See that there is room for a run at work.

    Args:
        folder: where it will be, or will be made.
        parameters: of its network.

    Raises:
        NoRoom: if there is too little.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    needed = parameters * _BYTES_A_PARAMETER + _SPARE
    free = shutil.disk_usage(there).free
    if free < needed:
        raise NoRoom(
            f"There is too little room in {there}: a run of this network needs "
            f"{needed / 1e9:.1f} GB while it is at work, and {free / 1e9:.1f} GB are free. Free "
            "some space, or name another folder with --runs; what is finished is kept."
        )
