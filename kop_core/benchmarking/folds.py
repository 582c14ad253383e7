"""What came out of single folds, beside the page until their repeat is whole.

``<data>/<arm>/<network>/repeat-1/fold-2.json`` and ``fold-2.csv``. Sessions end and machines are
lost, and the runs with them; the page's folder stays. Once all folds of a repeat are there
they become its one table, and their files go.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kop_core import model_store
from kop_core.benchmarking import runs
from kop_core.benchmarking.planning import Job, as_today, settings_of
from kop_core.errors import RunError
from kop_core.evaluation import Predictions
from kop_core.training.run_folder import RunFolder, replacing, write_json

# The files of a repeat that tell of a fold.
EVERY = "fold-*.json"
_FORMAT = 1
_NEEDED = {"settings", "fold", "fingerprint", "parameters", "began_with", "predictions", "facts"}


@dataclass(frozen=True)
class Fold:
    """What came out of one fold.

    Attributes:
        record: its settings and number, the fingerprint of its data, ``parameters`` of the
            network, what that began with, the digest of its predictions, and ``facts`` of its
            training and split.
        table: its predictions.
    """

    record: Mapping[str, Any]
    table: Path

    @property
    def number(self) -> int:
        """Which fold, from 1."""
        return self.record["fold"]

    def check(self, job: Job, fingerprint: str | None) -> None:
        """See that it is the one that is wanted.

        Raises:
            RunError: if it has other settings or data.
        """
        there = {**self.record["settings"], "fold": self.number}
        wanted = {**settings_of(job.config), "fold": job.config.fold}
        problem = runs.unlike(there, self.record["fingerprint"], wanted, fingerprint)
        if problem:
            raise RunError(
                f"{self.table} is of a run that {problem}. Name another folder with --out, or take "
                f"{self.table.parent} away."
            )


def of_run(run: RunFolder, record: Mapping[str, Any]) -> Fold:
    """Return what came out of a finished run.

    Args:
        run: its folder.
        record: what its ``run.json`` says.

    Raises:
        RunError: if it is damaged, or was altered.
    """
    card, config = runs.read_card(run), runs.config_of(record)
    history = run.read_history()
    return Fold(
        {
            "settings": settings_of(config),
            "fold": config.fold,
            "fingerprint": record["data"]["fingerprint"],
            "parameters": card["parameters"],
            "began_with": record.get("pretrained"),
            "predictions": card["checksums"][run.predictions.name],
            "facts": {
                "epochs": len(history),
                "minutes": round(sum(row["seconds"] for row in history) / 60, 2),
                "precision": record.get("precision"),
                "versions": record.get("versions", {}),
                "tested": _tested(Predictions.read(run.predictions)),
                "unreadable": sorted(file for file, _ in card["data"].get("unreadable", ())),
                "split": {k: v for k, v in card["split"].items() if k not in ("protocol", "seed")},
            },
        },
        run.predictions,
    )


def _tested(predictions: Predictions) -> str:
    """Return a digest of which files a fold tests, and which radiograph each shows."""
    rows = sorted(zip(predictions.files, predictions.radiographs))
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def file_of(place: Path, number: int) -> Path:
    """Return the file of one fold in the folder of its repeat; its table is beside it."""
    return place / f"fold-{number}.json"


def keep(fold: Fold, place: Path) -> None:
    """Write a fold into the folder of its repeat, the table first: what has a record is whole.

    Raises:
        OSError: if it cannot be written.
    """
    path = file_of(place, fold.number)
    place.mkdir(parents=True, exist_ok=True)
    with replacing(path.with_suffix(".csv")) as stream:
        stream.write(fold.table.read_bytes())
    record = {"format": _FORMAT, **fold.record}
    write_json(path, {**record, "checksum": checksum(record)})


def kept(place: Path) -> list[Fold]:
    """Return the folds in the folder of a repeat, in order; none if there is no such folder.

    Raises:
        RunError: if one is damaged, or was altered.
    """
    return sorted((_read(path) for path in place.glob(EVERY)), key=lambda fold: fold.number)


def _read(path: Path) -> Fold:
    again = f"Restore it from where it came, or take {path} away: that fold is trained again then."
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != _FORMAT:
            raise RunError(f"{path} was written by another version of KOP. {again}")
        if not record.keys() >= _NEEDED:
            raise ValueError("it is incomplete")
        table = path.with_suffix(".csv")
        if record["checksum"] != checksum(record) or path != file_of(path.parent, record["fold"]):
            raise RunError(f"{path} was altered after it was written. {again}")
        if model_store.checksum(table) != record["predictions"]:
            raise RunError(f"{table} was altered after it was collected. {again}")
        return Fold({**record, "settings": as_today(record["settings"])}, table)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"{path} cannot be read ({error!r}). {again}") from error


def checksum(record: Mapping[str, Any]) -> str:
    """Return a digest of what a file says, but for the digest that stands in it."""
    plain = {k: v for k, v in record.items() if k != "checksum"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
