"""Everything that decides what comes out of a training run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from kop_core import networks
from kop_core.datasets.feeding import Augmentation
from kop_core.datasets.splits import CONFLICTS, PROTOCOLS, check_fold
from kop_core.errors import RunError
from kop_core.radiographs import Preparation
from kop_core.radiographs.preparation import VIEWS

OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")
SCHEDULES = ("cosine", "steps", "constant")
PRECISIONS = ("auto", "float32", "mixed_bfloat16")
CLASS_WEIGHTS = ("none", "balanced")
KEEP = ("last", "best")
# What `freeze` says where all of a network but its head is frozen.
BACKBONE = "backbone"
# What a run means whose record was written before there was a choice.
_FORMERLY = {"split": "random"}


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of one run.

    The paper states the epochs, the loss, the share of the test part and the random
    split (ours is by radiograph unless one asks). Optimiser, learning rate, batch,
    dropout, momentum of batch normalisation and the strength of augmentation are ours.

    Attributes:
        network: a registered network.
        epochs: passes over the training part.
        seed: decides split, first weights, order, augmentation and dropout.
        test_share: share of the files in the test part.
        batch_size: pictures a step.
        optimizer: one of :data:`OPTIMIZERS`.
        learning_rate: at the start.
        momentum: of SGD, with Nesterov's correction.
        schedule: ``"cosine"`` falls to zero at the last step, ``"steps"`` to a tenth after
            half of the steps and to a hundredth after three quarters, ``"constant"`` stays.
        options: options of the network, such as ``dropout``. The momentum of batch
            normalisation is left out for a network that has none of it.
        augmentation: of the training part, or ``None``.
        precision: ``"float32"``, ``"mixed_bfloat16"``, or ``"auto"`` for what the
            processor has.
        split: what stays together: ``"radiograph"``, ``"patient"`` or ``"random"``
            (nothing); see :func:`kop_core.datasets.make_split`.
        conflicts: what is done with radiographs filed under several classes: ``"keep"``,
            ``"drop"`` or ``"test"``.
        leave_out: files that are in no part, and why (such as ``"mislabelled"``); see
            :mod:`kop_core.training.leaving_out`.
        folds: how many folds, or ``None`` for one cut by ``test_share``.
        fold: which of them is the test part, from 1.
        warmup_epochs: epochs over which the learning rate rises evenly from zero before
            the schedule begins.
        size: side of the input in pixels, or ``None`` for the network's own.
        validation_share: share of the training part that is set aside to watch the
            training, by the same rule of what stays together. With 0 the test part is
            watched, as in the paper, and nothing may be chosen by it.
        class_weights: ``"balanced"`` gives each class the same say in the loss, however
            many files it has; ``"none"`` each file.
        patience: stop after so many epochs without a lower loss on the validation part;
            ``None`` never does.
        keep: whose weights the model gets: of the ``"last"`` epoch, or of the ``"best"``,
            which has the lowest loss on the validation part.
        weight_decay: share of each weight taken away a step, times the learning rate
            (decoupled, as in AdamW); biases and normalisation are left alone.
        replicas: how many processors of this machine share each batch.
        pretrained: weights that the backbone begins with: ``"imagenet"``, or a file of them
            (see :mod:`kop_core.networks.pretrained`); ``None`` for fresh ones.
        freeze: what does not learn: ``"backbone"`` for all but the head, or the name of a
            layer for all that comes before it; ``None`` for nothing.
        head_epochs: epochs at the beginning in which only the head learns.
        backbone_rate: factor of the learning rate for the backbone.
        view: what of each picture the network is shown: all of it (``"whole"``), or the joints
            (``"joints"``; see :class:`kop_core.radiographs.Preparation`).
    """

    network: str = "paper"
    epochs: int = 30
    seed: int = 0
    test_share: float = 0.2
    batch_size: int = 16
    optimizer: str = "sgd"
    learning_rate: float = 0.001
    momentum: float = 0.9
    schedule: str = "cosine"
    options: dict[str, Any] = field(default_factory=lambda: {"batch_norm_momentum": 0.9})
    augmentation: Augmentation | None = field(default_factory=Augmentation)
    precision: str = "auto"
    split: str = "radiograph"
    conflicts: str = "keep"
    leave_out: dict[str, str] = field(default_factory=dict)
    folds: int | None = None
    fold: int | None = None
    warmup_epochs: float = 0.0
    size: int | None = None
    validation_share: float = 0.0
    class_weights: str = "none"
    patience: int | None = None
    keep: str = "last"
    weight_decay: float = 0.0
    replicas: int = 1
    pretrained: str | None = None
    freeze: str | None = None
    head_epochs: int = 0
    backbone_rate: float = 1.0
    view: str = "whole"

    def __post_init__(self) -> None:
        self._check_kinds()
        checks = (
            (self.epochs >= 1, f"The number of epochs must be at least 1, and is {self.epochs}."),
            (self.seed >= 0, f"The seed must be 0 or more, and is {self.seed}."),
            (self.batch_size >= 1, f"The batch must be at least 1, and is {self.batch_size}."),
            (0 < self.test_share < 1, "The test part's share must lie between 0 and 1."),
            (
                0 < self.learning_rate < math.inf,
                f"The learning rate must be above 0, and is {self.learning_rate:g}.",
            ),
            (0 <= self.momentum < 1, "The momentum must be at least 0 and below 1."),
            (self.optimizer in OPTIMIZERS, _one_of("optimiser", self.optimizer, OPTIMIZERS)),
            (self.schedule in SCHEDULES, _one_of("schedule", self.schedule, SCHEDULES)),
            (self.precision in PRECISIONS, _one_of("precision", self.precision, PRECISIONS)),
            (self.split in PROTOCOLS, _one_of("split", self.split, PROTOCOLS)),
            (
                self.conflicts in CONFLICTS,
                _one_of("rule for conflicted radiographs", self.conflicts, CONFLICTS),
            ),
            (
                0 <= self.warmup_epochs < self.epochs,
                "The warm-up must be 0 epochs or more, and fewer than the run has.",
            ),
            (
                self.class_weights in CLASS_WEIGHTS,
                _one_of("class weighting", self.class_weights, CLASS_WEIGHTS),
            ),
            (self.view in VIEWS, _one_of("view", self.view, VIEWS)),
            (self.keep in KEEP, _one_of("choice of weights", self.keep, KEEP)),
            (0 <= self.weight_decay < 1, "The weight decay must be at least 0 and below 1."),
            *self._checks_of_validation(),
            *self._checks_of_replicas(),
            *self._checks_of_transfer(),
        )
        for holds, message in checks:
            if not holds:
                raise RunError(message)
        check_fold(self.fold, self.folds, RunError)
        self._check_network()

    def _check_kinds(self) -> None:
        """Raise :class:`RunError` for a value of the wrong kind, as a file may have it."""
        for name, kinds in _KINDS.items():
            value = getattr(self, name)
            # In Python a bool is an int: a run of True epochs would be one of 1.
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise RunError(f"The setting {name} cannot be {value!r}.")
        if not all(isinstance(word, str) for pair in self.leave_out.items() for word in pair):
            raise RunError("The setting leave_out must be names of files, each with a reason.")
        for name, value in (self.augmentation.get_config() if self.augmentation else {}).items():
            # A picture that is made smaller by all of its size has none left.
            most = 1 if name == "zoom" else math.inf
            number = isinstance(value, _NUMBER) and not isinstance(value, bool)
            if not (isinstance(value, bool) if name == "mirror" else number and 0 <= value < most):
                raise RunError(f"The setting {name} of the augmentation cannot be {value!r}.")

    def _checks_of_validation(self) -> tuple[tuple[bool, str], ...]:
        watched = self.validation_share > 0
        return (
            (
                0 <= self.validation_share < 1,
                "The validation part's share must be at least 0 and below 1, and is "
                f"{self.validation_share:g}.",
            ),
            (
                self.patience is None or self.patience >= 1,
                f"The patience must be at least 1 epoch, and is {self.patience}.",
            ),
            (
                watched or self.patience is None,
                "Stopping early needs a validation part (a share above 0): without one the test "
                "part would decide when to stop, and its figures would be too good.",
            ),
            (
                watched or self.keep == "last",
                "Keeping the best epoch needs a validation part (a share above 0): without one "
                "the epoch would be chosen by the test part, and its figures would be too good.",
            ),
        )

    def _checks_of_replicas(self) -> tuple[tuple[bool, str], ...]:
        return (
            (self.replicas >= 1, f"There must be at least 1 replica, not {self.replicas}."),
            (
                self.replicas < 1 or self.batch_size % self.replicas == 0,
                f"A batch of {self.batch_size} cannot be shared evenly by {self.replicas} "
                f"replicas. Choose a multiple of {self.replicas}.",
            ),
        )

    def _checks_of_transfer(self) -> tuple[tuple[bool, str], ...]:
        only_head = self.freeze == BACKBONE
        frozen = self.freeze is not None or self.head_epochs > 0
        return (
            (self.pretrained != "", "Name the weights to begin with, or leave them away."),
            (
                not frozen or self.pretrained is not None,
                "What is frozen with fresh weights has learned nothing that the rest could go by. "
                "Name weights to begin with, such as imagenet, or freeze nothing.",
            ),
            (
                not only_head or self.augmentation is None,
                "What a frozen backbone says of a picture is computed once, so pictures cannot be "
                "altered anew in each epoch. Switch augmentation off, or let more of it learn.",
            ),
            (
                0 <= self.head_epochs < self.epochs,
                "The epochs for the head alone must be 0 or more, and fewer than the run has.",
            ),
            (
                not (only_head and self.head_epochs),
                "With a frozen backbone the head alone learns in every epoch. Set the epochs for "
                "the head alone to 0, or let more of the network learn after them.",
            ),
            (
                0 < self.backbone_rate <= 1,
                "The backbone's share of the learning rate must be above 0 and at most 1, and is "
                f"{self.backbone_rate:g}. To keep the backbone as it is, freeze it.",
            ),
        )

    def _check_network(self) -> None:
        """Raise :class:`RunError` for a side or an option that the network cannot take."""
        if self.network not in networks.names():
            return
        network = networks.get(self.network)
        if "batch_norm_momentum" not in network.options:
            kept = {k: v for k, v in self.options.items() if k != "batch_norm_momentum"}
            object.__setattr__(self, "options", kept)
        problem = network.wrong_size(self.size) if self.size is not None else None
        problem = problem or network.wrong_options(self.options)
        if problem:
            raise RunError(problem)

    @property
    def preparation(self) -> Preparation:
        """The preparation of pixels of this run.

        Raises:
            UnknownNetwork: if there is no such network.
        """
        return networks.get(self.network).input_of(self.size, self.view)

    def get_config(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> TrainingConfig:
        """Return the settings that :meth:`get_config` gave, in this version or the first.

        Raises:
            RunError: if a setting is unknown or out of range.
        """
        unknown = set(config) - {f.name for f in fields(cls)}
        if unknown:
            raise RunError(f"Unknown settings: {', '.join(sorted(unknown))}.")
        try:
            augmentation = config.get("augmentation")
            augmentation = Augmentation(**augmentation) if augmentation else None
            return cls(**{**_FORMERLY, **config, "augmentation": augmentation})
        except (TypeError, ValueError) as error:
            raise RunError(f"The run's settings cannot be read: {error}.") from error


_NUMBER = (int, float)
_KINDS: dict[str, type | tuple] = {
    "network": str,
    "epochs": int,
    "seed": int,
    "test_share": _NUMBER,
    "batch_size": int,
    "optimizer": str,
    "learning_rate": _NUMBER,
    "momentum": _NUMBER,
    "schedule": str,
    "options": dict,
    "precision": str,
    "split": str,
    "conflicts": str,
    "leave_out": dict,
    "warmup_epochs": _NUMBER,
    "size": (int, type(None)),
    "validation_share": _NUMBER,
    "class_weights": str,
    "patience": (int, type(None)),
    "keep": str,
    "weight_decay": _NUMBER,
    "replicas": int,
    "pretrained": (str, type(None)),
    "freeze": (str, type(None)),
    "head_epochs": int,
    "backbone_rate": _NUMBER,
    "view": str,
}


def _one_of(what: str, value: str, known: tuple[str, ...]) -> str:
    return f"There is no {what} called {value!r}. Known: {', '.join(known)}."


def differing(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return, as parts of a sentence, by what settings differ from those that are wanted."""
    return [
        f"{name} {there.get(name)!r} instead of {wanted[name]!r}"
        for name in wanted
        if there.get(name) != wanted[name]
    ]
