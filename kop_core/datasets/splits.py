"""Which files train and which test."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kop_core import classes
from kop_core.datasets.scanning import DataSet, Item
from kop_core.errors import DataSetError

_COLUMNS = ("file", "part", "true", "radiograph", "sha256")


@dataclass(frozen=True)
class Split:
    """A data set in two parts.

    Attributes:
        protocol: how it was made: ``"random"`` (by file).
        seed: the seed it was made with.
        training: files to learn from.
        test: files to measure on.
    """

    protocol: str
    seed: int
    training: tuple[Item, ...]
    test: tuple[Item, ...]

    def write(self, path: Path) -> None:
        """Write it as a CSV with the columns ``file,part,true,radiograph,sha256``."""
        with path.open("w", newline="", encoding="utf-8") as stream:
            rows = csv.writer(stream)
            rows.writerow(_COLUMNS)
            for part, items in (("training", self.training), ("test", self.test)):
                rows.writerows((i.file, part, i.true, i.radiograph, i.sha256) for i in items)

    @classmethod
    def read(cls, path: Path, protocol: str, seed: int) -> Split:
        """Read what :meth:`write` wrote.

        Raises:
            DataSetError: if the file is not such a table.
        """
        parts: dict[str, list[Item]] = {"training": [], "test": []}
        try:
            with path.open(newline="", encoding="utf-8") as stream:
                for row in csv.DictReader(stream):
                    item = Item(row["file"], row["true"], row["radiograph"], row["sha256"])
                    parts[row["part"]].append(item)
        except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
            raise DataSetError(f"{path} is not a split that KOP wrote ({error!r}).") from error
        return cls(protocol, seed, tuple(parts["training"]), tuple(parts["test"]))


def random_split(data: DataSet, test_share: float = 0.2, seed: int = 0) -> Split:
    """Split by file at random, as the paper does.

    Copies of one radiograph fall on both sides. Figures measured so say how well copies
    are recognised, not how well a new patient is classified.

    Args:
        data: the data set.
        test_share: share of the files in the test part, above 0 and below 1.
        seed: the same seed gives the same split, to the file.

    Raises:
        DataSetError: if a class has no file in one of the parts.
    """
    if not 0 < test_share < 1:
        raise DataSetError(f"The test part's share must lie between 0 and 1, and is {test_share}.")
    order = np.random.default_rng(seed).permutation(len(data.items))
    size = round(len(order) * test_share)
    test = tuple(data.items[i] for i in sorted(order[:size]))
    training = tuple(data.items[i] for i in sorted(order[size:]))
    for part, items in (("training", training), ("test", test)):
        missing = [n for n in classes.CLASS_NAMES if n not in {i.true for i in items}]
        if missing:
            raise DataSetError(
                f"The {part} part has no file of the class {' or '.join(missing)}: "
                f"{data.folder} has {_describe(data)}. Add pictures of that class."
            )
    return Split("random", seed, training, test)


def _describe(data: DataSet) -> str:
    return ", ".join(f"{count} {name}" for name, count in data.counts().items())


def leakage(split: Split) -> dict[str, int | float | None]:
    """Count the test files that have a copy in the training part.

    Returns:
        ``test_files``; ``identical``, test files with a byte-identical copy in training;
        ``same_radiograph``, test files whose radiograph is in training too; and both as
        shares. The radiograph's are ``None`` where it is not known of every file.
    """
    bytes_seen = {item.sha256 for item in split.training}
    shown = {item.radiograph for item in split.training}
    known = all(item.radiograph for item in split.training + split.test)
    identical = sum(item.sha256 in bytes_seen for item in split.test)
    same = sum(item.radiograph in shown for item in split.test) if known else None
    files = len(split.test)
    return {
        "test_files": files,
        "identical": identical,
        "identical_share": identical / files,
        "same_radiograph": same,
        "same_radiograph_share": None if same is None else same / files,
    }
