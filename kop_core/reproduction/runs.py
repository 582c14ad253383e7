"""The runs of a reproduction: what is there, whether it fits, and going on with it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from kop_core import model_store
from kop_core.errors import RunError
from kop_core.reproduction.settings import Job
from kop_core.training.config import TrainingConfig, differing
from kop_core.training.run_folder import RunFolder

MISSING, UNFINISHED, FINISHED = "missing", "unfinished", "finished"
_ANOTHER = "Name another folder with --runs, or take that one away."


def state(run: RunFolder) -> str:
    """Return whether a run is missing, unfinished or finished."""
    if run.card.is_file():
        return FINISHED
    return UNFINISHED if run.record.is_file() else MISSING


def check(run: RunFolder, job: Job, fingerprint: str | None) -> dict[str, Any]:
    """Return the record of a run that is there, if it is the one that is wanted.

    A run that was recorded before there was a choice of splits is a random split.

    Args:
        run: its folder.
        job: what is wanted.
        fingerprint: of the data that it must have been trained on, if that is known.

    Raises:
        RunError: if it was made with other settings or on other data.
    """
    record = run.read_record()
    found = unlike(record["config"], job, record.get("precision"))
    if found:
        raise RunError(f"The run in {run.path} has {found}. {_ANOTHER}")
    if fingerprint not in (None, record["data"]["fingerprint"]):
        raise RunError(
            f"The run in {run.path} was trained on other pictures than those there are now "
            f"(another fingerprint). {_ANOTHER}"
        )
    return record


def unlike(config: Mapping[str, Any], job: Job, precision: str | None) -> str:
    """Return, as part of a sentence, by what stored settings differ from those of a job.

    Args:
        config: the stored settings.
        job: what is wanted.
        precision: that the run had, if it was left to the machine.
    """
    there = TrainingConfig.from_config(config).get_config()
    if there["precision"] == "auto":
        there["precision"] = precision or there["precision"]
    return ", ".join(differing(there, job.config.get_config()))


def check_whole(run: RunFolder) -> None:
    """See that the files of a finished run are those that its card speaks of.

    Raises:
        ModelError: naming what was altered.
    """
    model_store.verify(model_store.open_model(run.path))


def clear_if_not_begun(run: RunFolder) -> None:
    """Take away what a run left that was stopped before it had written its record."""
    if not run.path.is_dir() or run.record.exists():
        return
    left = {path.name for path in run.path.iterdir()}
    if left <= {run.split.name, run.record.name + ".part"}:
        shutil.rmtree(run.path)
