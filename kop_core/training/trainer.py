"""A training run, from a folder of radiographs to a model folder.

The step is Keras's own compiled one and knows no backend: a machine with JAX or PyTorch
trains what TensorFlow then serves.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import kop_core
from kop_core import networks
from kop_core.datasets import DataSet, Split, feeding, make_split, scan, with_radiographs
from kop_core.errors import RunError
from kop_core.training.config import TrainingConfig
from kop_core.training.precision import best_precision
from kop_core.training.predicting import predict
from kop_core.training.run_folder import RunFolder, write_json
from kop_core.training.versions import versions

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        stage: ``"scanning"``, ``"reading"``, ``"training"``, ``"validating"``, ``"epoch"``
            (one has just ended) or ``"measuring"``.
        done: steps or files done in this stage.
        total: steps or files of this stage.
        epoch: the epoch at work, from 1.
        epochs: epochs of the run.
        seconds_left: estimate until the last epoch ends, or ``None``.
        figures: loss, accuracy and so on, as they are known.
    """

    stage: str
    done: int
    total: int
    epoch: int
    epochs: int
    seconds_left: float | None
    figures: dict[str, float]


Report = Callable[[Progress], None]


def train(
    config: TrainingConfig, data_folder: str | Path, out: str | Path, report: Report | None = None
) -> Path:
    """Train a network on a folder of class folders.

    Args:
        config: everything that decides the result.
        data_folder: the radiographs.
        out: folder of the run, new or empty.
        report: called as the run goes on.

    Returns:
        The folder of the run, finished: it is a model folder too.

    Raises:
        DataSetError: if the folder cannot be trained on.
        RunError: if the run's folder is taken or the loss stops being a number.
    """
    networks.get(config.network)
    run = RunFolder(Path(out))
    scanning = _scanning(report, config)
    scanned = scan(data_folder, scanning)
    data = with_radiographs(scanned, scanning)
    split = make_split(
        data,
        config.split,
        config.test_share,
        config.seed,
        config.conflicts,
        config.fold,
        config.folds,
    )
    run.create()
    split.write(run.split)
    write_json(run.record, _record(config, scanned, split))
    return _Run(run, config, data, split, _precision(config), report or _silent).go()


def resume(
    folder: str | Path, report: Report | None = None, data_folder: str | Path | None = None
) -> Path:
    """Go on with a run after its last whole epoch, as if it had never stopped.

    Args:
        folder: the run's.
        report: called as the run goes on.
        data_folder: where the radiographs are now, if they were moved.

    Raises:
        RunError: if it is no run, or its data has changed.
    """
    run = RunFolder(Path(folder))
    record = run.read_record()
    config = TrainingConfig.from_config(record["config"])
    data = scan(data_folder or record["data"]["folder"], _scanning(report, config))
    if data.fingerprint != record["data"]["fingerprint"]:
        raise RunError(
            f"The pictures in {data.folder} are not those that the run was started on (another "
            "fingerprint). Restore them, or start a new run."
        )
    kept = record["split"]
    split = Split.read(
        run.split,
        kept["protocol"],
        kept["seed"],
        kept.get("conflicts", "keep"),
        kept.get("fold"),
        kept.get("folds"),
    )
    precision = record.get("precision", _precision(config))
    return _Run(run, config, data, split, precision, report or _silent).go()


def _silent(_: Progress) -> None:
    return None


def _scanning(report: Report | None, config: TrainingConfig) -> Callable[[int, int], None] | None:
    if report is None:
        return None
    return lambda done, total: report(Progress("scanning", done, total, 0, config.epochs, None, {}))


def _record(config: TrainingConfig, data: DataSet, split: Split) -> dict[str, Any]:
    return {
        "kop": kop_core.__version__,
        "config": config.get_config(),
        "precision": _precision(config),
        "data": {
            "folder": str(data.source.resolve()),
            "name": data.folder.resolve().name,
            "fingerprint": data.fingerprint,
            "files": len(data.items),
            "classes": data.counts(),
            "passed_over": [list(p) for p in data.passed_over],
            "radiographs_from": "data set" if all(i.radiograph for i in data.items) else "audit",
        },
        "split": split.facts(),
        "versions": versions(),
    }


def _precision(config: TrainingConfig) -> str:
    return best_precision() if config.precision == "auto" else config.precision


class _Run:
    """A run at work."""

    def __init__(
        self,
        run: RunFolder,
        config: TrainingConfig,
        data: DataSet,
        split: Split,
        precision: str,
        report: Report,
    ) -> None:
        self.run, self.config, self.data, self.split = run, config, data, split
        self.precision, self.report = precision, report
        self.preparation = networks.get(config.network).input
        self.history: list[dict[str, float]] = []
        self.step_seconds = 0.0

    def go(self) -> Path:
        if self.run.card.is_file():
            return self.run.path
        self.training = self._load(self.split.training)
        self.test = self._load(self.split.test)
        if not self.training.items or not self.test.items:
            raise RunError(
                "None of the pictures of one part could be read; nothing can be trained."
            )
        self.model = self._build()
        self.steps = math.ceil(len(self.training.items) / self.config.batch_size)
        for epoch in range(self._restore(), self.config.epochs):
            self._epoch(epoch)
        return self._finish()

    def _load(self, items: tuple) -> feeding.Pixels:
        return feeding.load(
            self.data,
            items,
            self.preparation,
            lambda done, total: self._tell("reading", done, total, 0, {}),
        )

    def _build(self) -> keras.Model:
        import keras

        keras.utils.set_random_seed(self.config.seed)
        model = networks.build(self.config.network, precision=self.precision, **self.config.options)
        if self.config.optimizer == "sgd":
            optimizer = keras.optimizers.SGD(
                self.config.learning_rate, self.config.momentum, nesterov=self.config.momentum > 0
            )
        else:
            optimizer = keras.optimizers.Adam(self.config.learning_rate)
        model.compile(optimizer, loss="categorical_crossentropy", metrics=["accuracy"])
        optimizer.build(model.trainable_variables)
        return model

    def _restore(self) -> int:
        """Return how many epochs are done, with the state after them put back."""
        kept = self.run.read_checkpoint()
        if kept is None:
            return 0
        epoch, weights, optimizer = kept
        variables = self.model.optimizer.variables
        if len(optimizer) != len(variables):
            raise RunError(f"{self.run.checkpoint} belongs to another kind of run.")
        try:
            self.model.set_weights(weights)
            for variable, value in zip(variables, optimizer):
                variable.assign(value)
        except ValueError as error:
            raise RunError(f"{self.run.checkpoint} belongs to another kind of run.") from error
        self.history = [row for row in self.run.read_history() if row["epoch"] <= epoch]
        if self.history:
            self.step_seconds = self.history[-1]["seconds"] / self.steps
        return epoch

    def _epoch(self, epoch: int) -> None:
        began = time.monotonic()
        self._seed_dropout(epoch)
        sums, seen = {"loss": 0.0, "accuracy": 0.0}, 0
        batches = feeding.training_batches(
            self.training, self.config.batch_size, self.config.augmentation, self.config.seed, epoch
        )
        for step, (inputs, targets) in enumerate(batches):
            self.model.optimizer.learning_rate = self._learning_rate(epoch * self.steps + step)
            self.model.reset_metrics()  # older Keras would go on averaging over batches
            of_batch = self.model.train_on_batch(inputs, targets, return_dict=True)
            sums = {k: v + float(of_batch[k]) * len(inputs) for k, v in sums.items()}
            seen += len(inputs)
            figures = {k: v / seen for k, v in sums.items()}
            if not math.isfinite(figures["loss"]):
                raise RunError(
                    f"The loss stopped being a number in epoch {epoch + 1}, step {step + 1}. The "
                    f"learning rate ({self.config.learning_rate:g}) is likely too high: start a "
                    "new run with a tenth of it. The history up to here is kept."
                )
            self.step_seconds = (time.monotonic() - began) / (step + 1)
            self._tell("training", step + 1, self.steps, epoch, figures)
        validation = self._validate(epoch)
        row = {
            "epoch": epoch + 1,
            **figures,
            **validation,
            "learning_rate": float(self.model.optimizer.learning_rate),
            "seconds": time.monotonic() - began,
        }
        self.history.append(row)
        self.step_seconds = row["seconds"] / self.steps
        # History first: rows after the checkpoint are dropped when a run goes on.
        self.run.write_history(self.history)
        self.run.write_checkpoint(
            epoch + 1, self.model.get_weights(), self.model.optimizer.variables
        )
        self._tell("epoch", epoch + 1, self.config.epochs, epoch, row)

    def _seed_dropout(self, epoch: int) -> None:
        """Start the epoch's dropout from the seed and the epoch, not from the steps before."""
        for place, layer in enumerate(self.model.layers):
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                state = np.random.default_rng((self.config.seed, 2, epoch, place))
                generator.state.assign(state.integers(0, 2**31, size=2, dtype=np.int64))

    def _learning_rate(self, step: int) -> float:
        warm = self.steps * self.config.warmup_epochs
        if step < warm:
            return self.config.learning_rate * (step + 1) / (warm + 1)
        if self.config.schedule == "constant":
            return self.config.learning_rate
        share = (step - warm) / (self.steps * self.config.epochs - warm)
        return self.config.learning_rate * (1 + math.cos(math.pi * share)) / 2

    def _validate(self, epoch: int) -> dict[str, float]:
        probabilities = predict(
            self.model,
            self.test,
            self.config.batch_size,
            lambda done, total: self._tell("validating", done, total, epoch, {}),
        )
        right = probabilities.argmax(axis=1) == self.test.targets.argmax(axis=1)
        of_truth = (probabilities * self.test.targets).sum(axis=1)
        return {
            "val_accuracy": float(right.mean()),
            "val_loss": float(-np.log(np.clip(of_truth, 1e-7, 1)).mean()),
        }

    def _finish(self) -> Path:
        from kop_core.training.finishing import finish

        self._tell("measuring", 0, len(self.test.items), self.config.epochs - 1, {})
        finish(
            self.run,
            self.model,
            self.test,
            self.run.read_record(),
            self.split,
            unreadable=self.training.unreadable + self.test.unreadable,
            progress=lambda done, total: self._tell(
                "measuring", done, total, self.config.epochs - 1, {}
            ),
        )
        return self.run.path

    def _tell(
        self, stage: str, done: int, total: int, epoch: int, figures: dict[str, float]
    ) -> None:
        left = None
        if self.step_seconds and stage in ("training", "validating", "epoch"):
            steps = (self.config.epochs - epoch) * self.steps
            steps -= {"training": done, "validating": self.steps, "epoch": self.steps}[stage]
            left = steps * self.step_seconds
        self.report(Progress(stage, done, total, epoch + 1, self.config.epochs, left, figures))
