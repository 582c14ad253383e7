"""A training run, from a folder of radiographs to a model folder.

The step is Keras's own compiled one and knows no backend: a machine with JAX or PyTorch
trains what TensorFlow then serves.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import kop_core
from kop_core import networks
from kop_core.datasets import (
    DataSet,
    Split,
    feeding,
    make_split,
    pipeline,
    scan,
    with_radiographs,
    with_validation,
)
from kop_core.errors import RunError
from kop_core.networks import pretrained
from kop_core.training import transfer
from kop_core.training.config import TrainingConfig
from kop_core.training.leaving_out import count_marked, without_marked
from kop_core.training.mirrored import Mirrored
from kop_core.training.precision import precision_for
from kop_core.training.predicting import predict
from kop_core.training.run_folder import RunFolder, lowest_loss, write_json
from kop_core.training.run_state import STOPPED, card_state
from kop_core.training.steps import OneProcessor
from kop_core.training.versions import at_work

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        stage: ``"scanning"``, ``"reading"``, ``"compiling"``, ``"features"`` (of a frozen
            backbone), ``"training"``, ``"validating"``, ``"epoch"`` (one has just ended) or
            ``"measuring"``.
        done: steps or files done in this stage.
        total: steps or files of this stage.
        epoch: the epoch at work, from 1.
        epochs: epochs of the run.
        seconds_left: estimate until the last epoch ends, or ``None``.
        figures: loss, accuracy and so on, as they are known.
        images_per_second: of the last steps, in training.
    """

    stage: str
    done: int
    total: int
    epoch: int
    epochs: int
    seconds_left: float | None
    figures: dict[str, float]
    images_per_second: float | None = None


class StopAsked(Exception):
    """Raised by whoever is reported to: the run is to stop.

    With at least one whole epoch a model is made of what was learned, as if the run had
    been set to end there; it goes on from there when it is resumed.
    """


Report = Callable[[Progress], None]


def train(
    config: TrainingConfig, data_folder: str | Path, out: str | Path, report: Report | None = None
) -> Path:
    """Train a network on a folder of class folders.

    Args:
        config: everything that decides the result.
        data_folder: the radiographs.
        out: folder of the run, new or empty.
        report: called as the run goes on; may raise :class:`StopAsked` to end it.

    Returns:
        The folder of the run, finished or stopped: it is a model folder too.

    Raises:
        DataSetError: if the folder cannot be trained on.
        RunError: if the run's folder is taken or the loss stops being a number.
        WeightsError: if the weights to begin with are not there, or are of another network.
        StopAsked: if it was stopped before there was a whole epoch.
    """
    networks.get(config.network)
    run = RunFolder(Path(out))
    scanning = _scanning(report, config)
    scanned = scan(data_folder, scanning)
    data = with_radiographs(scanned, scanning)
    split = split_of(data, config)
    transfer.require_weights(config)
    record = _record(config, scanned, split)
    run.create()
    split.write(run.split)
    write_json(run.record, record)
    return Training(run, config, data, split, record["precision"], report or _silent).go()


def split_of(data: DataSet, config: TrainingConfig) -> Split:
    """Return the parts of a data set that a run with these settings has.

    Raises:
        DataSetError: if it cannot be divided so.
    """
    data, left_out = without_marked(data, config.leave_out)
    split = make_split(
        data,
        config.split,
        config.test_share,
        config.seed,
        config.conflicts,
        config.fold,
        config.folds,
    )
    if config.validation_share:
        split = with_validation(split, config.validation_share, config.seed)
    return replace(split, left_out=split.left_out + left_out)


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
        StopAsked: if it was stopped before it went on to learn.
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
    if not run.checkpoint.exists() and transfer.origin(config) != record.get("pretrained"):
        raise RunError(
            f"The weights in {config.pretrained} are not those that the run was to begin with. "
            "Restore them, or start a new run."
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
    precision = record.get("precision", precision_for(config.precision))
    return Training(run, config, data, split, precision, report or _silent).go()


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
        "precision": precision_for(config.precision),
        "pretrained": transfer.origin(config),
        "data": {
            "folder": str(data.source.resolve()),
            "name": data.folder.resolve().name,
            "fingerprint": data.fingerprint,
            "files": len(data.items),
            "classes": data.counts(),
            "passed_over": [list(p) for p in data.passed_over],
            "radiographs_from": "data set" if all(i.radiograph for i in data.items) else "audit",
            "left_out_marked": count_marked(data, config.leave_out),
        },
        "split": split.facts(),
        "versions": at_work(),
    }


# Steps over which the speed is averaged.
_RECENT = 20


class Training:
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
        self.preparation = config.preparation
        self.history: list[dict[str, float]] = []
        self.step_seconds = 0.0

    def go(self) -> Path:
        # Whatever else is called a card is not overwritten.
        if card_state(self.run.path) not in (None, STOPPED):
            return self.run.path
        self._load_all()
        self._tell("compiling", 0, 1, 0, {})
        self.steps = math.ceil(len(self.training.items) / self.config.batch_size)
        self.stage: str | None = None
        stopped = False
        try:
            epoch = self._restore()
            while epoch < self.config.epochs and not self._waited_in_vain():
                self._withdraw()
                self._epoch(epoch)
                epoch += 1
        except StopAsked:
            if not self._restore():
                raise
            stopped = len(self.history) < self.config.epochs
        return self._finish(stopped)

    def _load_all(self) -> None:
        self.training = self._load(self.split.training)
        self.test = self._load(self.split.test)
        validation = self._load(self.split.validation) if self.split.validation else None
        # Without a validation part the test part is watched, as in the paper.
        self.held = validation or self.test
        self.unreadable = self.training.unreadable + self.test.unreadable
        self.unreadable += validation.unreadable if validation else ()
        if not (self.training.items and self.test.items and self.held.items):
            raise RunError(
                "None of the pictures of one part could be read; nothing can be trained."
            )
        files = len(self.training.items)
        if self.config.batch_size > files:
            raise RunError(
                f"The batch ({self.config.batch_size:,} pictures) is larger than the training "
                f"part ({files:,} pictures). Choose {files:,} at most; 8 to 32 is usual."
            )
        self._weigh_classes()

    def _weigh_classes(self) -> None:
        files, self.class_weights = len(self.training.items), None
        if self.config.class_weights == "balanced":
            counts = self.training.targets.sum(axis=0)
            self.class_weights = (files / len(counts) / np.maximum(counts, 1)).astype(np.float32)

    def _load(self, items: tuple) -> feeding.Pixels:
        return feeding.load(
            self.data,
            items,
            self.preparation,
            lambda done, total: self._tell("reading", done, total, 0, {}),
        )

    def _enter(self, epoch: int, weights: list[np.ndarray] | None = None) -> None:
        """Make ready what learns in an epoch, from weights, or from those there are."""
        stage = transfer.stage_of(self.config, epoch)
        if stage != self.stage:
            if weights is None and self.stage is not None:
                weights = self.model.get_weights()
            self.processor = self._build(stage, weights)
            self.stage = stage
        elif weights is not None:
            _set_weights(self.model, weights, self.run)

    def _build(self, stage: str, weights: list[np.ndarray] | None) -> OneProcessor | Mirrored:
        def build() -> tuple[keras.Model, keras.Optimizer]:
            self.model = model = self._network(weights)
            transfer.freeze(model, self.config, stage)
            if stage == transfer.HEAD:
                features, model = transfer.cut(model, self.config.network)
                self.shown = self._features(features, self.training)
                self.watched = self._features(features, self.held)
            backbone = ()
            if self.config.backbone_rate != 1 and stage != transfer.HEAD:
                backbone = networks.split(model, self.config.network)[0].layers
            return model, transfer.make_optimizer(self.config, model, backbone)

        self.shown, self.watched = self.training, self.held
        # A head on features is too little to share.
        if self.config.replicas > 1 and stage != transfer.HEAD:
            return Mirrored(build, self.config.replicas)
        return OneProcessor(build)

    def _network(self, weights: list[np.ndarray] | None) -> keras.Model:
        return self._built(weights)

    def _built(self, weights: list[np.ndarray] | None, **more: Any) -> keras.Model:
        """Return the network with weights, or without any as a run begins."""
        import keras

        settings = self.config
        keras.utils.set_random_seed(settings.seed)
        model = networks.build(
            settings.network,
            precision=self.precision,
            size=settings.size,
            view=settings.view,
            **settings.options,
            **more,
        )
        if weights is not None:
            _set_weights(model, weights, self.run)
        elif settings.pretrained is not None:
            pretrained.load(model, settings.network, settings.pretrained)
        return model

    def _features(self, backbone: keras.Model, pixels: feeding.Pixels) -> transfer.Features:
        values = predict(
            backbone.predict_on_batch,
            pixels,
            self.config.batch_size,
            lambda done, total: self._tell("features", done, total, 0, {}),
        )
        return transfer.Features(pixels.items, values.astype(np.float32), pixels.targets)

    def _restore(self) -> int:
        """Return how many epochs are done, with the state after them put back."""
        kept = self.run.read_checkpoint()
        if kept is None:
            if self.stage is None:
                self._enter(0)
            return 0
        epoch, weights, optimizer = kept
        self._enter(epoch, weights)
        # The optimiser of the stage before has done its work.
        if epoch and transfer.stage_of(self.config, epoch - 1) == self.stage:
            self._restore_optimizer(optimizer)
        self.history = [row for row in self.run.read_history() if row["epoch"] <= epoch]
        if len(self.history) != epoch:
            raise RunError(
                f"{self.run.history} lacks epochs that {self.run.checkpoint.name} has: it was "
                "altered. Put it back, or start a new run."
            )
        if self.history:
            self.step_seconds = self.history[-1]["seconds"] / self.steps
        return epoch

    def _restore_optimizer(self, values: list[np.ndarray]) -> None:
        variables = self.processor.optimizer.variables
        if len(values) != len(variables):
            raise _another_kind(self.run)
        try:
            for variable, value in zip(variables, values):
                variable.assign(value)
        except ValueError as error:
            raise _another_kind(self.run) from error

    def _withdraw(self) -> None:
        """Take away what was made of a stopped run: it goes on, and will be another model."""
        for path in (self.run.card, self.run.model, self.run.predictions):
            path.unlink(missing_ok=True)

    def _epoch(self, epoch: int) -> None:
        began = time.monotonic()
        self._enter(epoch)
        self._seed_dropout(epoch)
        figures = self._learn(epoch, began)
        row = {
            "epoch": epoch + 1,
            **figures,
            **self._validate(epoch),
            "learning_rate": self._learning_rate((epoch + 1) * self.steps - 1),
            "seconds": time.monotonic() - began,
        }
        self.history.append(row)
        self.step_seconds = row["seconds"] / self.steps
        self._keep(epoch + 1)
        self._tell("epoch", epoch + 1, self.config.epochs, epoch, row)

    def _learn(self, epoch: int, began: float) -> dict[str, float]:
        """Train on every picture once; return the mean loss and accuracy on the way."""
        settings = self.config
        sums, seen = {"loss": 0.0, "accuracy": 0.0}, 0
        recent = deque([(began, 0)], maxlen=_RECENT)
        at_head = self.stage == transfer.HEAD
        batches = feeding.Epoch(
            self.shown,
            settings.batch_size,
            None if at_head else settings.augmentation,
            settings.seed,
            epoch,
        )
        fed = (pipeline.one_by_one if at_head else pipeline.batches)(batches)
        for step, (inputs, targets) in enumerate(fed):
            self.processor.optimizer.learning_rate = self._learning_rate(epoch * self.steps + step)
            weights = None
            if self.class_weights is not None:
                weights = np.asarray(targets) @ self.class_weights
            of_batch = self.processor.train(inputs, targets, weights)
            sums = {k: v + of_batch[k] * len(inputs) for k, v in sums.items()}
            seen += len(inputs)
            figures = {k: v / seen for k, v in sums.items()}
            if not math.isfinite(figures["loss"]):
                raise RunError(
                    f"The loss stopped being a number in epoch {epoch + 1}, step {step + 1}. The "
                    f"learning rate ({settings.learning_rate:g}) is likely too high: start a "
                    "new run with a tenth of it. The history up to here is kept."
                )
            now = time.monotonic()
            self.step_seconds = (now - began) / (step + 1)
            speed = (seen - recent[0][1]) / max(now - recent[0][0], 1e-9)
            recent.append((now, seen))
            self._tell("training", step + 1, self.steps, epoch, figures, speed)
        return figures

    def _keep(self, epoch: int) -> None:
        """Put on disk what is needed to go on after an epoch, and the best weights."""
        # History first: rows after the checkpoint are dropped when a run goes on. Weights that
        # were the best until now stay until the checkpoint no longer needs them.
        self.run.write_history(self.history)
        best = lowest_loss(self.history) if self.config.keep == "best" else None
        weights = self.model.get_weights()
        if best == epoch:
            self.run.write_best(epoch, weights)
        optimizer = [variable.numpy() for variable in self.processor.optimizer.variables]
        self.run.write_checkpoint(epoch, weights, optimizer)
        if best is not None:
            self.run.remove_best_but(best)

    def _waited_in_vain(self) -> bool:
        """Return whether the validation part has not got better for long enough to stop."""
        patience = self.config.patience
        return bool(
            patience and self.history and len(self.history) - lowest_loss(self.history) >= patience
        )

    def _seed_dropout(self, epoch: int) -> None:
        """Start the epoch's dropout from the seed and the epoch, not from the steps before."""
        for place, layer in enumerate(self.model.layers):
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                state = np.random.default_rng((self.config.seed, 2, epoch, place))
                generator.state.assign(state.integers(0, 2**31, size=2, dtype=np.int64))

    def _learning_rate(self, step: int) -> float:
        rate = self.config.learning_rate
        warm = self.steps * self.config.warmup_epochs
        if step < warm:
            return rate * (step + 1) / (warm + 1)
        if self.config.schedule == "constant":
            return rate
        share = (step - warm) / (self.steps * self.config.epochs - warm)
        if self.config.schedule == "steps":
            return rate if share < 0.5 else rate / 10 if share < 0.75 else rate / 100
        return rate * (1 + math.cos(math.pi * share)) / 2

    def _validate(self, epoch: int) -> dict[str, float]:
        probabilities = predict(
            self.processor.predict,
            self.watched,
            self.config.batch_size,
            lambda done, total: self._tell("validating", done, total, epoch, {}),
        )
        true, called = self.watched.targets.argmax(axis=1), probabilities.argmax(axis=1)
        of_truth = (probabilities * self.watched.targets).sum(axis=1)
        return {
            "val_accuracy": float((true == called).mean()),
            "val_loss": float(-np.log(np.clip(of_truth, 1e-7, 1)).mean()),
            "val_macro_f1": macro_f1(true, called),
        }

    def _finish(self, stopped: bool) -> Path:
        from kop_core.training.finishing import Outcome, finish

        kept = len(self.history)
        self._tell("measuring", 0, len(self.test.items), kept - 1, {})
        if self.config.keep == "best":
            kept = lowest_loss(self.history)
            self.model.set_weights(self.run.read_best(kept))
        finish(
            self.run,
            self.model,
            self.test,
            self.run.read_record(),
            self.split,
            Outcome(len(self.history), kept, stopped),
            unreadable=self.unreadable,
            progress=lambda done, total: self._tell(
                "measuring", done, total, len(self.history) - 1, {}
            ),
        )
        return self.run.path

    def _tell(
        self,
        stage: str,
        done: int,
        total: int,
        epoch: int,
        figures: dict[str, float],
        speed: float | None = None,
    ) -> None:
        left = None
        if self.step_seconds and stage in ("training", "validating", "epoch"):
            steps = (self.config.epochs - epoch) * self.steps
            steps -= {"training": done, "validating": self.steps, "epoch": self.steps}[stage]
            left = steps * self.step_seconds
        epochs = self.config.epochs
        self.report(Progress(stage, done, total, epoch + 1, epochs, left, figures, speed))


def _set_weights(model: keras.Model, weights: list[np.ndarray], run: RunFolder) -> None:
    try:
        model.set_weights(weights)
    except ValueError as error:
        raise _another_kind(run) from error


def _another_kind(run: RunFolder) -> RunError:
    return RunError(f"{run.checkpoint} belongs to another kind of run.")


def macro_f1(true: np.ndarray, called: np.ndarray) -> float:
    """Return the mean F1 over the classes that are there or were called.

    Args:
        true: classes by number, (pictures,).
        called: what was called, (pictures,).
    """
    from sklearn.metrics import f1_score

    return float(f1_score(true, called, average="macro", zero_division=0))
