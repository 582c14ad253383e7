"""Training of an encoder on pictures of knees that are labelled with something else.

Collections with bone-density labels are small; collections of knees with Kellgren-Lawrence
grades of osteoarthritis are not. A backbone that has learned to grade them has seen what
joints, trabeculae and exposure look like, and is where a network for bone density can begin
(:mod:`kop_core.networks.pretrained`). The class folders may have any names.

A run's folder is that of a training run, so it goes on where it stopped, but for what comes
out: ``encoder.npz``, the backbone's weights in half precision, and ``encoder.json``, what
they were learned from.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

import kop_core
from kop_core import model_store, networks
from kop_core.datasets import DataSet, feeding, scan
from kop_core.datasets.feeding import Augmentation
from kop_core.datasets.scanning import Item
from kop_core.errors import DataSetError, RunError
from kop_core.networks import pretrained
from kop_core.training import transfer
from kop_core.training.config import TrainingConfig
from kop_core.training.precision import precision_for
from kop_core.training.predicting import predict
from kop_core.training.run_folder import RunFolder, lowest_loss, write_json
from kop_core.training.run_state import read_json
from kop_core.training.trainer import Progress, Report, Training
from kop_core.training.versions import versions

if TYPE_CHECKING:
    import keras

ENCODER, FACTS = "encoder.npz", "encoder.json"
SETTINGS = TrainingConfig(
    network="efficientnet_lite0",
    pretrained=pretrained.IMAGENET,
    epochs=6,
    batch_size=32,
    optimizer="adamw",
    learning_rate=1e-3,
    backbone_rate=0.5,
    weight_decay=0.02,
    warmup_epochs=0.5,
    validation_share=0.1,
    keep="best",
    size=160,
    options={"dropout": 0.2, "batch_norm_momentum": 0.99},
    augmentation=Augmentation(
        mirror=True, rotation=10.0, shift=0.06, zoom=0.1, brightness=0.1, contrast=0.25
    ),
)
# The last letter says which knee of a person it is, as in the Osteoarthritis Initiative.
_SIDE = re.compile(r"[-_ ]?[LR]$")


def pretrain(
    config: TrainingConfig,
    data_folder: str | Path,
    out: str | Path,
    report: Report | None = None,
) -> Path:
    """Train an encoder, or go on with one.

    Args:
        config: the settings; its split is not used: a share of the persons
            (:attr:`TrainingConfig.validation_share`) is set aside to watch the training.
        data_folder: class folders of any names.
        out: folder of the run: new, empty, or that of a run with the same settings and data.
        report: called as it goes on; may raise :class:`kop_core.training.StopAsked`.

    Returns:
        The file of weights.

    Raises:
        DataSetError: if nothing can be learned from the folder.
        RunError: if the run's folder is of another run, or there is nothing to watch by.
        WeightsError: if the weights to begin with are not there.
    """
    if not config.validation_share:
        raise RunError(
            "An encoder needs a validation part (a share above 0) to be watched by: it has no test "
            "part."
        )
    report = report or (lambda _: None)
    data = scan(
        data_folder,
        lambda done, total: report(Progress("scanning", done, total, 0, config.epochs, None, {})),
        any_class=True,
    )
    classes = tuple(sorted({item.true for item in data.items}))
    if len(classes) < 2:
        raise DataSetError(
            f"All pictures in {data_folder} are in one folder: there is nothing to tell apart. "
            "Name a folder that holds a folder for each grade."
        )
    run = RunFolder(Path(out))
    _begin(run, config, data)
    return _Encoder(run, config, data, classes, report).go()


def _begin(run: RunFolder, config: TrainingConfig, data: DataSet) -> None:
    """Write what decides the result, or see that the run that is there has the same."""
    record = {
        "kop": kop_core.__version__,
        "config": config.get_config(),
        "pretrained": transfer.origin(config),
        "precision": precision_for(config.precision),
        "data": {
            "name": data.folder.resolve().name,
            "fingerprint": data.fingerprint,
            "files": len(data.items),
            "classes": {name: count for name, count in data.counts().items() if count},
        },
        "versions": versions(),
    }
    if not run.record.exists():
        run.create()
        write_json(run.record, record)
        return
    kept = run.read_record()
    same = TrainingConfig.from_config(kept["config"]) == config
    if not same or kept["data"].get("fingerprint") != data.fingerprint:
        raise RunError(
            f"The run in {run.path} has other settings or other pictures. Name another folder, or "
            "take that one away."
        )


def person(item: Item) -> str:
    """Return whose knee a picture shows, as far as its name says: the name without the side."""
    path = PurePosixPath(item.file)
    collection = path.parts[0] if len(path.parts) > 2 else ""
    return item.patient or f"{collection}/{_SIDE.sub('', path.stem)}"


def divide(
    items: Sequence[Item], share: float, seed: int
) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Set a share of the persons aside, with all of their pictures.

    Args:
        items: the pictures.
        share: of the persons.
        seed: decides which.

    Returns:
        Pictures to learn from and pictures to watch by, each in the order given.
    """
    of_person: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        of_person[person(item)].append(item)
    names = sorted(of_person)
    count = min(len(names) - 1, max(1, round(share * len(names))))
    order = np.random.default_rng((seed, 7)).permutation(len(names))
    aside = {names[i] for i in order[:count]}
    return (
        tuple(item for item in items if person(item) not in aside),
        tuple(item for item in items if person(item) in aside),
    )


class _Encoder(Training):
    """A run whose classes are its data's, and whose result is the backbone."""

    def __init__(
        self,
        run: RunFolder,
        config: TrainingConfig,
        data: DataSet,
        classes: tuple[str, ...],
        report: Callable[[Progress], None],
    ) -> None:
        super().__init__(run, config, data, None, run.read_record()["precision"], report)
        self.classes = classes

    def go(self) -> Path:
        return self.run.path / ENCODER if self._has_finished() else super().go()

    def _has_finished(self) -> bool:
        try:
            facts = read_json(self.run.path / FACTS)
        except ValueError:  # whatever else is called so is not overwritten
            return True
        return facts is not None and not facts.get("stopped")

    def _load_all(self) -> None:
        learned, watched = divide(self.data.items, self.config.validation_share, self.config.seed)
        self.training, self.held = self._load(learned), self._load(watched)
        if not (self.training.items and self.held.items):
            raise RunError("No picture of one part could be read, so nothing can be learned.")
        self._weigh_classes()

    def _load(self, items: tuple[Item, ...]) -> feeding.Pixels:
        return feeding.load(
            self.data,
            items,
            self.preparation,
            lambda done, total: self._tell("reading", done, total, 0, {}),
            classes=self.classes,
        )

    def _network(self, weights: list[np.ndarray] | None) -> keras.Model:
        return self._built(weights, classes=len(self.classes))

    def _withdraw(self) -> None:
        for name in (FACTS, ENCODER):
            (self.run.path / name).unlink(missing_ok=True)

    def _finish(self, stopped: bool) -> Path:
        path, kept = self.run.path / ENCODER, len(self.history)
        if self.config.keep == "best":
            kept = lowest_loss(self.history)
            self.model.set_weights(self.run.read_best(kept))
        pretrained.save(self.model, self.config.network, path)
        # What is said of the encoder is said of the file.
        pretrained.load(self.model, self.config.network, path)
        write_json(self.run.path / FACTS, self._facts(path, kept, stopped))
        return path

    def _facts(self, path: Path, kept: int, stopped: bool) -> dict[str, Any]:
        record = self.run.read_record()
        probabilities = predict(
            self.model.predict_on_batch,
            self.held,
            self.config.batch_size,
            lambda done, total: self._tell("measuring", done, total, len(self.history) - 1, {}),
        )
        true, called = self.held.targets.argmax(axis=1), probabilities.argmax(axis=1)
        return {
            "format": 1,
            "network": self.config.network,
            "parameters": networks.counts(self.model)["parameters"],
            "sha256": model_store.checksum(path),
            **{key: record[key] for key in ("config", "pretrained", "data", "versions")},
            "epochs_run": len(self.history),
            "kept_epoch": kept,
            "stopped": stopped,
            "unreadable": [list(u) for u in self.training.unreadable + self.held.unreadable],
            "validation": {
                "pictures": len(self.held.items),
                "persons": len({person(item) for item in self.held.items}),
                "note": "The epoch was chosen by this part, so these figures are a little high.",
                **_agreement(true, called, [person(item) for item in self.held.items]),
            },
        }


def _agreement(
    true: np.ndarray, called: np.ndarray, persons: Sequence[str], draws: int = 1000
) -> dict[str, Any]:
    """Return how often the grade is right, and its weighted kappa, drawn over persons."""
    from sklearn.metrics import cohen_kappa_score

    from kop_core.evaluation import intervals

    _, group = np.unique(persons, return_inverse=True)
    groups = int(group.max()) + 1
    right = (true == called).astype(float)
    found = intervals.ratios([right], [np.ones(len(right))], group, draws)[0]
    kappas = []
    for block in intervals.times_drawn(groups, draws, 0, width=len(group)):
        for times in block:
            weights = times[group]
            if weights[right == 0].sum():  # else it is 1, or not defined
                kappas.append(
                    cohen_kappa_score(true, called, weights="quadratic", sample_weight=weights)
                )
    kappa = intervals.estimate(
        float(cohen_kappa_score(true, called, weights="quadratic")),
        np.array(kappas),
        groups,
        intervals.Scale(None, 1.0, 1.0),
    )
    return {"accuracy": found.get_config(), "quadratic_weighted_kappa": kappa.get_config()}
