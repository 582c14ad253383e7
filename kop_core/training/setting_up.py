"""What a person is told before a run starts: what there is to learn from, and what is wrong.

Nothing here needs a deep-learning library: it works on a data set, its audit and the
settings of a run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from kop_core import wording
from kop_core.classes import CLASS_NAMES
from kop_core.datasets.feeding import Augmentation
from kop_core.reproduction.settings import PAPER_SETTINGS
from kop_core.training.config import TrainingConfig
from kop_core.training.estimating import DataFacts
from kop_core.training.trainer import split_of

if TYPE_CHECKING:
    from kop_core.datasets import DataSet, Item
    from kop_core.datasets.audit import AuditReport

# Fewer files leave a test part of a few, of which each moves the accuracy by a quarter.
MIN_FILES = 20
# Below so many radiographs in the test part an accuracy is hardly known at all.
FEW_RADIOGRAPHS = 100

# No source says what is best. These keep what is measured honest (by radiograph, a part of
# its own to choose the epoch on), and else are the settings that came nearest to the
# paper's accuracy, altered where whole radiographs differ more than copies do.
RECOMMENDED = replace(
    PAPER_SETTINGS,
    batch_size=16,
    split="radiograph",
    validation_share=0.15,
    keep="best",
    patience=10,
    class_weights="balanced",
    warmup_epochs=1.0,
    options={"dropout": 0.5, "batch_norm_momentum": 0.9},
    augmentation=Augmentation(),
    precision="auto",
)
# What tells runs with one preset apart.
_FREE = (
    "seed", "precision", "replicas", "conflicts", "leave_out", "fold", "folds", "test_share",
)  # fmt: skip


def paper_settings() -> TrainingConfig:
    """Return the paper's settings with the split that it made: random, file by file.

    In the arithmetic that is quickest here, which the paper does not state.
    """
    return replace(PAPER_SETTINGS, split="random", precision="auto")


def preset_of(config: TrainingConfig) -> str | None:
    """Return ``"recommended"`` or ``"paper"`` if settings are one of these, else ``None``."""
    for name, preset in (("recommended", RECOMMENDED), ("paper", paper_settings())):
        alike = {f: getattr(config, f) for f in _FREE}
        if replace(preset, **alike) == config:
            return name
    return None


@dataclass(frozen=True)
class Part:
    """Files of one part of a split.

    Attributes:
        name: ``"Training"``, ``"Validation"``, ``"Test"`` or ``"Left out"``.
        items: the files that can be read.
    """

    name: str
    items: tuple[Item, ...]

    @property
    def files(self) -> int:
        """How many files it has."""
        return len(self.items)

    @cached_property
    def radiographs(self) -> int:
        """How many radiographs they show."""
        return len({i.radiograph or i.file for i in self.items})

    @cached_property
    def classes(self) -> dict[str, int]:
        """How many files each class has."""
        found = dict.fromkeys(CLASS_NAMES, 0)
        for item in self.items:
            found[item.true] += 1
        return found


@dataclass(frozen=True)
class Parts:
    """A data set divided as a run divides it.

    Attributes:
        training: what is learned from.
        validation: what the epoch is chosen on; it may be empty.
        test: what is measured on.
        left_out: radiographs filed under several classes and files that a reader marked, if
            they are left out.
    """

    training: Part
    validation: Part
    test: Part
    left_out: Part

    @property
    def shown(self) -> tuple[Part, ...]:
        """The parts that have files, and both that always should."""
        return tuple(
            p
            for p in (self.training, self.validation, self.test, self.left_out)
            if p.files or p in (self.training, self.test)
        )


def divide(data: DataSet, config: TrainingConfig, unreadable: Sequence[str] = ()) -> Parts:
    """Divide a data set as a run with these settings will.

    Args:
        data: the data set; see :func:`kop_core.datasets.with_radiographs`.
        config: the settings.
        unreadable: files that cannot be read. A run draws the parts first and finds out
            then, and so does this.

    Raises:
        DataSetError: if it cannot be divided so.
    """
    split = split_of(data, config)
    lost = set(unreadable)

    def part(name: str, items: Sequence[Item]) -> Part:
        return Part(name, tuple(i for i in items if i.file not in lost))

    return Parts(
        part("Training", split.training),
        part("Validation", split.validation),
        part("Test", split.test),
        part("Left out", split.left_out),
    )


def facts(parts: Parts, config: TrainingConfig, reading_seconds: float = 0.0) -> DataFacts:
    """Return what of the parts decides how long a run takes."""
    validation = parts.validation.files if config.validation_share else 0
    return DataFacts(parts.training.files, validation, parts.test.files, reading_seconds)


def copies_in_training(parts: Parts, report: AuditReport) -> float | None:
    """Return the share of the test files of which training has a picture of the radiograph.

    What shows the same radiograph is what the audit found; where the data set names
    radiographs itself, those of one name count too.

    Args:
        parts: the data set, divided.
        report: its audit.

    Returns:
        The share, or ``None`` if the test part is empty.
    """
    found = {f.file: f.radiograph for f in report.files}
    seen = {found.get(i.file) for i in parts.training.items} - {None}
    named = {i.radiograph for i in parts.training.items} - {""}
    test = parts.test.items
    if not test:
        return None
    return sum(found.get(i.file) in seen or i.radiograph in named for i in test) / len(test)


# What forbids a run, and what a person should know of it.


def faults_of_data(data: DataSet, report: AuditReport) -> list[str]:
    """Return why nothing can be trained on a data set, whatever the settings, in sentences."""
    files, radiographs = report.counts_by_file(), report.counts_by_radiograph()
    readable = len(report.files)
    if not readable:
        return ["No file of the data set could be read, so there is nothing to train on."]
    present = [name for name in CLASS_NAMES if files[name]]
    if len(present) == 1:
        return [
            f"All {readable:,} files are of one class ({present[0]}): there is nothing to tell "
            "apart. Add radiographs of the other classes."
        ]
    found = []
    absent = [name for name in CLASS_NAMES if not files[name]]
    if absent:
        found.append(
            f"There is no file of the class {listing(absent)}. KOP's networks tell three "
            "classes apart, and each must be there to be learned and measured."
        )
    if readable < MIN_FILES:
        tested = max(1, round(0.2 * readable))
        found.append(
            f"{readable:,} files are too few to train on and measure with: of a test part of "
            f"{_count(tested, 'file')} each decides {100 / tested:.0f} % of the accuracy. At "
            f"least {MIN_FILES} are needed, and some hundred radiographs for a figure that "
            "means anything."
        )
    for name in present:
        if radiographs[name] < 2:
            shown = "is 1 file" if files[name] == 1 else f"are {files[name]:,} files, all"
            found.append(
                f"Of the class {name} there {shown} of one radiograph. Training and test need "
                "different ones: add radiographs of it."
            )
    return found


def faults_of_settings(config: TrainingConfig, parts: Parts) -> list[str]:
    """Return why a run with these settings cannot start on these parts, in sentences."""
    needed = [parts.training, parts.test, *([parts.validation] if config.validation_share else [])]
    empty = [part.name.lower() for part in needed if not part.files]
    if empty:
        return [
            f"No file of the {listing(empty)} part can be read. Take another seed, or put readable "
            "files in their place."
        ]
    found = []
    if config.batch_size > parts.training.files:
        found.append(
            f"The batch ({config.batch_size:,} pictures) is larger than the training part "
            f"({parts.training.files:,} files). Choose {parts.training.files:,} at most; 8 to 32 "
            "is usual."
        )
    return found


def remarks(config: TrainingConfig, parts: Parts) -> list[str]:
    """Return what a person should know of the parts before a figure is measured on them."""
    tested = parts.test.radiographs
    found = []
    if 0 < tested < FEW_RADIOGRAPHS and config.split != "random":
        margin = 100 * 1.96 * math.sqrt(0.7 * 0.3 / tested)
        found.append(
            f"The test part has {_count(tested, 'radiograph')}: an accuracy near 70 % can be known "
            f"to about ±{margin:.0f} percentage points."
        )
    return found


def random_warning(share: float | None) -> str:
    """Return what a random split does to the figure that is measured on it.

    Args:
        share: of the test files that have a copy in training, if it is known.
    """
    if not share:
        return (
            "Files are dealt out one by one. The audit found no radiograph on both sides of this "
            "split; pictures of one patient may still be."
        )
    means = (
        "The accuracy will say mostly how well copies are recognised, not how well a new patient "
        "is classified"
        if share >= 0.5
        else "A part of the accuracy will be recognition of copies"
    )
    return (
        f"With this split {wording.percent(share)} of the test images have a copy in training. "
        f"{means}. It is here because the literature measures so."
    )


def listing(words: Sequence[str]) -> str:
    """Return words as they stand in a sentence: ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def _count(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number:,} {what}s"
