"""The files of a run: its state is only on disk, so that anyone can look and go on.

``run.json``         settings, data, split, versions
``split.csv``        which file is in which part
``history.csv``      a row an epoch
``checkpoint.npz``   weights and optimiser after the last whole epoch
``best-0012.npz``    weights of the best epoch, if that is what is kept
``model.keras``, ``card.json``, ``predictions.csv``: when it has finished
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kop_core.errors import RunError

# What a run that was set up, or is about to begin, has in its folder.
_BEFORE = {"request.json", "state.json", "log.txt", "lock", "stop"}
HISTORY_COLUMNS = (
    "epoch",
    "accuracy",
    "loss",
    "val_accuracy",
    "val_loss",
    "val_macro_f1",
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
        """The trained model, in half precision if that will do."""
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
            RunError: if there is more in it than what is written of a run that has not begun.
        """
        there = self.path.exists()
        if there and (not self.path.is_dir() or {p.name for p in self.path.iterdir()} - _BEFORE):
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
        except (OSError, ValueError, RecursionError):
            pass
        raise RunError(f"{self.path} is not the folder of a training run (no readable run.json).")

    def read_history(self) -> list[dict[str, float]]:
        """Return the rows of ``history.csv`` as numbers; none if there is none yet."""
        if not self.history.is_file():
            return []
        with self.history.open(newline="", encoding="utf-8") as stream:
            try:
                rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(stream)]
                return [{**row, "epoch": int(row["epoch"])} for row in rows]
            except (TypeError, ValueError, AttributeError, KeyError, OverflowError) as error:
                raise RunError(f"{self.history} is damaged ({error}).") from error

    def write_history(self, rows: list[dict[str, float]]) -> None:
        """Write ``history.csv`` anew. What an older KOP did not measure is ``nan``.

        Raises:
            RunError: if it cannot be written; the one before stays.
        """
        lines = [",".join(HISTORY_COLUMNS)]
        lines += [",".join(f"{row.get(c, math.nan):.8g}" for c in HISTORY_COLUMNS) for row in rows]
        with self._told("history", len(rows)), replacing(self.history) as stream:
            stream.write(("\n".join(lines) + "\n").encode())

    def write_checkpoint(self, epoch: int, model: list, optimizer: list) -> None:
        """Keep what is needed to go on after ``epoch`` epochs.

        The old checkpoint stays until the new one is whole on disk.

        Raises:
            RunError: if it cannot be written; the one before stays.
        """
        arrays = {"epoch": np.array(epoch), **_numbered("model", model)}
        arrays |= _numbered("optimizer", optimizer)
        with self._told("checkpoint", epoch), replacing(self.checkpoint) as stream:
            np.savez(stream, **arrays)

    def _best(self, epoch: int) -> Path:
        return self.path / f"best-{epoch:04d}.npz"

    def write_best(self, epoch: int, model: list) -> None:
        """Keep the weights of an epoch that is the best so far.

        Raises:
            RunError: if they cannot be written.
        """
        arrays = _numbered("model", model)
        with self._told("best weights", epoch), replacing(self._best(epoch)) as stream:
            np.savez(stream, **arrays)

    def read_best(self, epoch: int) -> list[np.ndarray]:
        """Return the weights of the best epoch.

        Raises:
            RunError: if they are not there or damaged.
        """
        path = self._best(epoch)
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return [arrays[k] for k in sorted(arrays.files)]
        except Exception as error:  # a damaged zip fails in many ways
            raise RunError(
                f"{path}, the weights of the best epoch, is missing or damaged. Put it back, or "
                "start a new run."
            ) from error

    def remove_best_but(self, epoch: int) -> None:
        """Remove the weights of epochs that are the best no more."""
        for path in self.path.glob("best-*.npz"):
            if path != self._best(epoch):
                path.unlink(missing_ok=True)

    @contextmanager
    def _told(self, what: str, epoch: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(
                f"The {what} of epoch {epoch} could not be written "
                f"({error.strerror or 'the disk may be full'}). What was kept after the epoch "
                "before is whole. Free some space in "
                f"{self.path}, then resume the run: it goes on from there."
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


def lowest_loss(history: list[dict[str, float]]) -> int:
    """Return the epoch of the lowest loss on the part watched, the first of equals.

    Args:
        history: a row an epoch, at least one.
    """
    losses = [math.inf if math.isnan(row["val_loss"]) else row["val_loss"] for row in history]
    return int(history[losses.index(min(losses))]["epoch"])


def _numbered(kind: str, arrays: list) -> dict[str, np.ndarray]:
    """Return arrays by names whose order is theirs."""
    return {f"{kind}/{place:05d}": np.asarray(value) for place, value in enumerate(arrays)}


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
