"""Everything that decides what comes out of a training run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from kop_core.datasets.feeding import Augmentation
from kop_core.datasets.splits import CONFLICTS, PROTOCOLS, check_fold
from kop_core.errors import RunError

_OPTIMIZERS = ("sgd", "adam")
_SCHEDULES = ("cosine", "constant")
_PRECISIONS = ("auto", "float32", "mixed_bfloat16")
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
        optimizer: ``"sgd"`` or ``"adam"``.
        learning_rate: at the start.
        momentum: of SGD, with Nesterov's correction.
        schedule: ``"cosine"`` falls to zero at the last step, ``"constant"`` stays.
        options: options of the network, such as ``dropout``.
        augmentation: of the training part, or ``None``.
        precision: ``"float32"``, ``"mixed_bfloat16"``, or ``"auto"`` for what the
            processor has.
        split: what stays together: ``"radiograph"``, ``"patient"`` or ``"random"``
            (nothing); see :func:`kop_core.datasets.make_split`.
        conflicts: what is done with radiographs filed under several classes: ``"keep"``,
            ``"drop"`` or ``"test"``.
        folds: how many folds, or ``None`` for one cut by ``test_share``.
        fold: which of them is the test part, from 1.
        warmup_epochs: epochs over which the learning rate rises evenly from zero before
            the schedule begins.
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
    folds: int | None = None
    fold: int | None = None
    warmup_epochs: float = 0.0

    def __post_init__(self) -> None:
        checks = (
            (self.epochs >= 1, f"The number of epochs must be at least 1, and is {self.epochs}."),
            (self.seed >= 0, f"The seed must be 0 or more, and is {self.seed}."),
            (self.batch_size >= 1, f"The batch must be at least 1, and is {self.batch_size}."),
            (0 < self.test_share < 1, "The test part's share must lie between 0 and 1."),
            (self.learning_rate > 0, "The learning rate must be above 0."),
            (self.optimizer in _OPTIMIZERS, _one_of("optimiser", self.optimizer, _OPTIMIZERS)),
            (self.schedule in _SCHEDULES, _one_of("schedule", self.schedule, _SCHEDULES)),
            (self.precision in _PRECISIONS, _one_of("precision", self.precision, _PRECISIONS)),
            (self.split in PROTOCOLS, _one_of("split", self.split, PROTOCOLS)),
            (
                self.conflicts in CONFLICTS,
                _one_of("rule for conflicted radiographs", self.conflicts, CONFLICTS),
            ),
            (
                0 <= self.warmup_epochs < self.epochs,
                "The warm-up must be 0 epochs or more, and fewer than the run has.",
            ),
        )
        for holds, message in checks:
            if not holds:
                raise RunError(message)
        check_fold(self.fold, self.folds, RunError)

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
        except TypeError as error:
            raise RunError(f"The run's settings cannot be read: {error}.") from error


def _one_of(what: str, value: str, known: tuple[str, ...]) -> str:
    return f"There is no {what} called {value!r}. Known: {', '.join(known)}."
