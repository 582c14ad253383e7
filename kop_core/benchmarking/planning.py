"""What a benchmark runs: the settings that all networks share, and a job for each fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path, PurePath
from typing import Any

from kop_core import networks
from kop_core.errors import RunError
from kop_core.networks import pretrained
from kop_core.radiographs.preparation import JOINTS, WHOLE
from kop_core.training.config import TrainingConfig

# What each network is held against.
REFERENCE = "paper"
# The budget: the same pictures, epochs, batches and optimiser for every network. The last
# epoch counts, whatever it was worth, so nothing is chosen by a test part.
RECIPE = TrainingConfig(
    epochs=30,
    batch_size=16,
    optimizer="adamw",
    learning_rate=3e-4,
    weight_decay=0.01,
    schedule="cosine",
    warmup_epochs=2,
    class_weights="balanced",
    options={"batch_norm_momentum": 0.9},
)
# Of a network that begins with weights learned elsewhere: first the head alone, then all of
# it, the backbone at a tenth of the rate.
HEAD_SHARE = 1 / 6
BACKBONE_RATE = 0.1
# Only to see that everything works, in minutes.
QUICK = replace(RECIPE, epochs=1, batch_size=8, warmup_epochs=0)
QUICK_SIDE = 64
QUICK_NETWORKS = (REFERENCE, "efficientnet_lite0")
# What may follow a network's name, after a plus sign: what it begins with, if not with ImageNet
# weights, and what of a picture it is shown, if not the whole.
FRESH = "fresh"
_WORDS = (FRESH, pretrained.KNEES, JOINTS)
# Settings in which the networks of a page may differ; all others are the budget and the folds.
OF_A_NETWORK = {
    "network", "options", "size", "view", "pretrained", "freeze", "head_epochs", "backbone_rate",
}  # fmt: skip
# Fields of a run that do not tell one series of folds from another.
_OF_A_JOB = {"fold", "precision"}


@dataclass(frozen=True)
class Entrant:
    """A network as it takes part.

    Attributes:
        network: its registered name.
        begins: ``"fresh"``, ``"knees"``, or ``"imagenet"``: with ImageNet weights if there
            are any at hand.
        view: what of a picture it is shown.
    """

    network: str
    begins: str = pretrained.IMAGENET
    view: str = WHOLE

    @property
    def title(self) -> str:
        """What it is called on a page, also if this KOP does not have the network."""
        title = networks.get(self.network).title if self.network in networks.names() else ""
        begins = () if self.begins == pretrained.IMAGENET else (self.begins,)
        view = () if self.view == WHOLE else (self.view,)
        return " + ".join((title or self.network, *begins, *view))


def entrant(name: str) -> Entrant:
    """Return who takes part under a name, such as ``efficientnet_lite0+knees+joints``.

    Raises:
        RunError: if what follows the network's name is not known, or said twice.
    """
    network, *words = name.split("+")
    unknown = [word for word in words if word not in _WORDS]
    begins = [word for word in words if word != JOINTS]
    if unknown or len(begins) > 1 or len(set(words)) < len(words):
        raise RunError(
            f"{name} does not say how a network takes part. Its name may be followed by +fresh or "
            "+knees, for what it begins with, and by +joints, for what it is shown."
        )
    return Entrant(
        network, begins[0] if begins else pretrained.IMAGENET, JOINTS if JOINTS in words else WHOLE
    )


@dataclass(frozen=True)
class Job:
    """One run: a network on one fold.

    Attributes:
        name: path of its folder below that of the data set.
        config: everything that decides its result.
    """

    name: str
    config: TrainingConfig


@dataclass(frozen=True)
class Series:
    """All folds of one repeat of one network: together they test every radiograph once.

    Attributes:
        arm: name of the kind of split, such as ``"radiograph"`` or ``"random-drop"``.
        network: which one, and how it takes part: see :func:`entrant`.
        repeat: which, from 1.
        jobs: a job for each fold.
    """

    arm: str
    network: str
    repeat: int
    jobs: tuple[Job, ...]

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from all others."""
        return (self.arm, self.network, self.repeat)

    @property
    def settings(self) -> dict[str, Any]:
        """What its jobs share; two series with the same settings are the same experiment."""
        return settings_of(self.jobs[0].config)


def settings_of(config: TrainingConfig) -> dict[str, Any]:
    """Return what of a job's settings makes its series, as plain values.

    A file of weights is known by its name: it may lie elsewhere on another machine.
    """
    found = {k: v for k, v in config.get_config().items() if k not in _OF_A_JOB}
    if found["pretrained"]:
        found["pretrained"] = PurePath(found["pretrained"]).name
    return found


def as_today(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what :func:`settings_of` gave, perhaps long ago: what came later has its default.

    Raises:
        ValueError: if a setting is unknown or out of range.
    """
    try:
        return settings_of(TrainingConfig.from_config({**settings, "fold": 1}))
    except RunError as error:
        raise ValueError(str(error)) from error


def for_epochs(recipe: TrainingConfig, epochs: int) -> TrainingConfig:
    """Return a recipe for another number of epochs, with a warm-up that fits into it.

    Raises:
        RunError: if there is no epoch.
    """
    warm = min(recipe.warmup_epochs, max(epochs, 0) // 10)
    return replace(recipe, epochs=epochs, warmup_epochs=warm)


def arm_name(split: str, conflicts: str) -> str:
    """Return what the folder of a kind of split is called."""
    return split if conflicts == "keep" else f"{split}-{conflicts}"


def plan(
    names: Sequence[str],
    splits: Sequence[str] = ("radiograph", "random"),
    folds: int = 5,
    repeats: int = 1,
    seed: int = 1,
    conflicts: str = "keep",
    recipe: TrainingConfig = RECIPE,
    size: int | None = None,
    weights: Path | None = None,
) -> tuple[Series, ...]:
    """Return everything that a benchmark runs, in its order.

    All networks have the same folds in a repeat. Repeats come one after another and splits
    in turn, so a benchmark that is stopped early has something of all.

    Args:
        names: of networks, or of :func:`entrant`.
        splits: what stays together, each of :data:`kop_core.datasets.splits.PROTOCOLS`.
        folds: how many.
        repeats: how often all folds are cut and trained anew.
        seed: of the first repeat; the next have the next ones.
        conflicts: what is done with radiographs filed under several classes.
        recipe: what all jobs share.
        size: side of the input, or ``None`` for each network's own.
        weights: folder with files of ImageNet weights, named after the networks.

    Raises:
        UnknownNetwork: if there is none of a name; the message lists those there are.
        RunError: if nothing is asked for, something twice, or a setting is out of range.
    """
    for what, asked in (("network", names), ("split", splits)):
        if not asked:
            raise RunError(f"Name at least one {what}.")
        if len(set(asked)) < len(asked):
            raise RunError(f"A {what} is named twice: {', '.join(asked)}.")
    if repeats < 1:
        raise RunError(f"There must be at least 1 repeat, not {repeats}.")
    if weights is not None and not weights.is_dir():
        raise RunError(f"There is no folder {weights} of weights. Name another, or none.")
    settings = {name: _settings(name, recipe, size, weights) for name in names}
    for one, other in combinations(names, 2):
        if settings[one] == settings[other]:
            raise RunError(f"{one} and {other} are the same network, begun in the same way.")
    return tuple(
        _series(
            name,
            replace(settings[name], seed=seed + repeat - 1, split=split, conflicts=conflicts),
            repeat,
            folds,
        )
        for repeat in range(1, repeats + 1)
        for split in splits
        for name in names
    )


def _series(name: str, config: TrainingConfig, repeat: int, folds: int) -> Series:
    arm = arm_name(config.split, config.conflicts)
    jobs = tuple(
        Job(
            f"{arm}/{name}/repeat-{repeat}-fold-{fold}-of-{folds}",
            replace(config, fold=fold, folds=folds),
        )
        for fold in range(1, max(folds, 1) + 1)
    )
    return Series(arm, name, repeat, jobs)


def _settings(
    name: str, recipe: TrainingConfig, size: int | None, weights: Path | None
) -> TrainingConfig:
    who = entrant(name)
    network = networks.get(who.network)
    options = {k: v for k, v in recipe.options.items() if k in network.options}
    config = replace(recipe, network=who.network, options=options, size=size, view=who.view)
    begins = {FRESH: None, pretrained.KNEES: pretrained.KNEES}.get(
        who.begins, beginning(who.network, weights)
    )
    if begins is None:
        return config
    if begins == pretrained.KNEES and begins not in pretrained.named(who.network):
        raise RunError(
            f"KOP has no encoder of the network {who.network} that was trained on knees, so it "
            f"cannot take part as {name}."
        )
    return replace(
        config,
        pretrained=begins,
        head_epochs=int(recipe.epochs * HEAD_SHARE),
        backbone_rate=BACKBONE_RATE,
    )


def beginning(name: str, weights: Path | None = None) -> str | None:
    """Return which ImageNet weights of a network are at hand.

    Args:
        name: of the network.
        weights: a folder with files ``NAME.npz`` or ``NAME_conv.npz``.

    Returns:
        A path, ``"imagenet"`` for those that ship with KOP, or ``None`` if there are none.
    """
    if (pretrained.SHIPPED / f"{name}.npz").is_file():
        return pretrained.IMAGENET
    for file in (f"{name}.npz", f"{name}_conv.npz"):
        if weights is not None and (weights / file).is_file():
            return str((weights / file).resolve())
    return None


def quick_side(name: str) -> int:
    """Return the side of the input for a network in a quick benchmark: as small as it goes."""
    smallest, largest = networks.get(entrant(name).network).sizes
    return min(max(QUICK_SIDE, smallest), largest)


def quick_plan(
    names: Sequence[str] | None, splits: Sequence[str], conflicts: str, weights: Path | None = None
) -> tuple[Series, ...]:
    """Return a plan that proves nothing but that everything works.

    Args:
        names: of networks; by default a few that are small.
        splits: as in :func:`plan`.
        conflicts: as in :func:`plan`.
        weights: as in :func:`plan`.
    """
    chosen = names or [name for name in QUICK_NETWORKS if name in networks.names()]
    found: list[Series] = []
    for name in chosen:
        found += plan([name], splits, 2, 1, 1, conflicts, QUICK, quick_side(name), weights)
    return tuple(found)
