"""The files of a run: its state is only on disk, so that anyone can look and go on.

``run.json``         settings, data, split, versions
``split.csv``        which file is in which part
``history.csv``      a row an epoch
``checkpoint.npz``   weights and optimiser after the last whole epoch
``model.keras``, ``card.json``, ``predictions.csv``: when it has finished
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kop_core.errors import RunError

HISTORY_COLUMNS = (
    "epoch",
    "accuracy",
    "loss",
    "val_accuracy",
    "val_loss",
    "learning_rate",
    "seconds",
)


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps its files.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def split(self) -> Path:
        """The table of parts."""
        return self.path / "split.csv"

    @property
    def history(self) -> Path:
        """A row an epoch."""
        return self.path / "history.csv"

    @property
    def predictions(self) -> Path:
        """Probabilities of the test part."""
        return self.path / "predictions.csv"

    @property
    def model(self) -> Path:
        """The trained model, in half precision."""
        return self.path / "model.keras"

    @property
    def card(self) -> Path:
        """The model's card. Written last: a run that has one is finished."""
        return self.path / "card.json"

    @property
    def checkpoint(self) -> Path:
        """Weights and optimiser."""
        return self.path / "checkpoint.npz"

    @property
    def record(self) -> Path:
        """Settings, data, split and versions."""
        return self.path / "run.json"

    def create(self) -> None:
        """Make the folder.

        Raises:
            RunError: if there is something in it already.
        """
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise RunError(
                f"{self.path} exists already. Choose another folder, or go on with that run: "
                f"--resume {self.path}"
            )
        self.path.mkdir(parents=True, exist_ok=True)

    def read_record(self) -> dict[str, Any]:
        """Return what ``run.json`` says.

        Raises:
            RunError: if this is no run folder.
        """
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
            if isinstance(record, dict) and {"config", "data"} <= record.keys():
                return record
        except (OSError, ValueError):
            pass
        raise RunError(f"{self.path} is not the folder of a training run (no readable run.json).")

    def read_history(self) -> list[dict[str, float]]:
        """Return the rows of ``history.csv`` as numbers; none if there is none yet."""
        if not self.history.is_file():
            return []
        with self.history.open(newline="", encoding="utf-8") as stream:
            try:
                rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(stream)]
            except (TypeError, ValueError, AttributeError) as error:
                raise RunError(f"{self.history} is damaged ({error}).") from error
        return [{**row, "epoch": int(row["epoch"])} for row in rows]

    def write_history(self, rows: list[dict[str, float]]) -> None:
        """Write ``history.csv`` anew."""
        with replacing(self.history) as stream:
            lines = [",".join(HISTORY_COLUMNS)]
            lines += [",".join(f"{row[c]:.8g}" for c in HISTORY_COLUMNS) for row in rows]
            stream.write(("\n".join(lines) + "\n").encode())

    def write_checkpoint(self, epoch: int, model: list, optimizer: list) -> None:
        """Keep what is needed to go on after ``epoch`` epochs.

        The old checkpoint stays until the new one is whole on disk.
        """
        arrays = {"epoch": np.array(epoch)}
        arrays |= {f"model/{i:03d}": np.asarray(v) for i, v in enumerate(model)}
        arrays |= {f"optimizer/{i:03d}": np.asarray(v) for i, v in enumerate(optimizer)}
        try:
            with replacing(self.checkpoint) as stream:
                np.savez(stream, **arrays)
        except OSError as error:
            raise RunError(
                f"The checkpoint of epoch {epoch} could not be written ({error.strerror}). Free "
                f"some space; then go on from the one before: --resume {self.path}"
            ) from error

    def read_checkpoint(self) -> tuple[int, list[np.ndarray], list[np.ndarray]] | None:
        """Return epochs done, the model's arrays and the optimiser's, or ``None``.

        Raises:
            RunError: if the file is damaged.
        """
        if not self.checkpoint.is_file():
            return None
        try:
            with np.load(self.checkpoint, allow_pickle=False) as arrays:
                keys = sorted(arrays.files)
                model = [arrays[k] for k in keys if k.startswith("model/")]
                optimizer = [arrays[k] for k in keys if k.startswith("optimizer/")]
                return int(arrays["epoch"]), model, optimizer
        except Exception as error:  # a damaged zip fails in many ways
            raise RunError(f"{self.checkpoint} is damaged and cannot be gone on from.") from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that takes ``path``'s place only when it is whole."""
    draft = path.with_name(path.name + ".part")
    try:
        with draft.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write plain values as JSON for people to read; the file is whole or not there."""
    with replacing(path) as stream:
        stream.write((json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())
