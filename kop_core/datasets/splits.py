"""Which files train and which test.

Files that show one radiograph belong together: a network that has seen one copy knows the
others. A split by radiograph, the default everywhere, keeps them on one side; a split by
patient keeps a patient's pictures together as well; a random split of the files does
neither, and is here because the literature measures so.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from kop_core import classes
from kop_core.datasets.scanning import DataSet, Item
from kop_core.errors import DataSetError

PROTOCOLS = ("radiograph", "patient", "random")
CONFLICTS = ("keep", "drop", "test")

_COLUMNS = ("file", "part", "true", "radiograph", "sha256", "patient")
_PARTS = ("training", "test", "left out", "validation")
_DRAWS = 20
# So that the validation part is not drawn as the test part was.
_OF_VALIDATION = 3


@dataclass(frozen=True)
class Split:
    """A data set in two parts, or three: part of the training may watch over it.

    Attributes:
        protocol: what was kept together: ``"radiograph"``, ``"patient"`` (and radiograph),
            or ``"random"`` (nothing: by file).
        seed: the seed it was made with.
        training: files to learn from.
        test: files to measure on.
        conflicts: what was done with radiographs filed under several classes: ``"keep"``
            (like all others), ``"drop"`` or ``"test"`` (never in training).
        fold: which fold is the test part, from 1; ``None`` if it is no fold.
        folds: how many folds there are.
        left_out: files in neither part, because of ``conflicts`` or because they were marked.
        validation: files set aside from the training part, on which it is decided which
            epoch is the best and when to stop; see :func:`with_validation`.
    """

    protocol: str
    seed: int
    training: tuple[Item, ...]
    test: tuple[Item, ...]
    conflicts: str = "keep"
    fold: int | None = None
    folds: int | None = None
    left_out: tuple[Item, ...] = ()
    validation: tuple[Item, ...] = ()

    @property
    def items(self) -> tuple[Item, ...]:
        """Every file of the data set, left out or not."""
        return self.training + self.validation + self.test + self.left_out

    def facts(self) -> dict[str, Any]:
        """Return how it was made and what is in it, as plain values for a record."""
        return {
            "protocol": self.protocol,
            "seed": self.seed,
            "conflicts": self.conflicts,
            "fold": self.fold,
            "folds": self.folds,
            "training_files": len(self.training),
            "validation_files": len(self.validation),
            "left_out_files": len(self.left_out),
            "validation_radiographs": _count_radiographs(self.validation),
            "training_radiographs": _count_radiographs(self.training),
            "test_radiographs": _count_radiographs(self.test),
            **leakage(self),
        }

    def to_csv(self) -> str:
        """Return it as a CSV table with the columns ``file,part,true,radiograph,sha256,patient``.

        ``part`` is ``training``, ``validation``, ``test`` or ``left out``.
        """
        parts = (
            ("training", self.training),
            ("validation", self.validation),
            ("test", self.test),
            ("left out", self.left_out),
        )
        stream = io.StringIO(newline="")
        rows = csv.writer(stream)
        rows.writerow(_COLUMNS)
        for part, items in parts:
            rows.writerows((i.file, part, i.true, i.radiograph, i.sha256, i.patient) for i in items)
        return stream.getvalue()

    def write(self, path: Path) -> None:
        """Write the table of :meth:`to_csv` to a file."""
        path.write_bytes(self.to_csv().encode())

    @classmethod
    def read(
        cls,
        path: Path,
        protocol: str,
        seed: int,
        conflicts: str = "keep",
        fold: int | None = None,
        folds: int | None = None,
    ) -> Split:
        """Read what :meth:`write` wrote; the table itself does not say how it was made.

        Raises:
            DataSetError: if the file is not such a table.
        """
        parts: dict[str, list[Item]] = {p: [] for p in _PARTS}
        try:
            with path.open(newline="", encoding="utf-8") as stream:
                for row in csv.DictReader(stream):
                    item = Item(
                        row["file"],
                        row["true"],
                        row["radiograph"],
                        row["sha256"],
                        row.get("patient") or "",  # not in tables of the first KOP
                    )
                    parts[row["part"]].append(item)
        except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
            raise DataSetError(f"{path} is not a split that KOP wrote ({error!r}).") from error
        training, test, left_out, validation = (tuple(items) for items in parts.values())
        return cls(protocol, seed, training, test, conflicts, fold, folds, left_out, validation)


def with_radiographs(data: DataSet, progress: Callable[[int, int], None] | None = None) -> DataSet:
    """Return a data set of which it is known which radiograph each file shows.

    That is the data set itself where a ``radiographs.csv`` or a manifest says it of every
    file; else the audit looks at the pictures. Byte-identical files are one radiograph,
    whatever a table says: where it names them differently, the first name counts for all.

    Args:
        data: the data set.
        progress: called with files done and files in all.
    """
    if all(item.radiograph for item in data.items):
        return _named_once(data)
    from kop_core.datasets import audit

    return audit.with_radiographs(data, progress)


def _named_once(data: DataSet) -> DataSet:
    """Return a data set whose byte-identical files have one radiograph's name."""
    name = {
        item.radiograph: group[0].radiograph
        for group in _groups(data.items, "radiograph")
        for item in group
    }
    if all(before == after for before, after in name.items()):
        return data
    items = tuple(replace(item, radiograph=name[item.radiograph]) for item in data.items)
    return replace(data, items=items)


def make_split(
    data: DataSet,
    by: str = "radiograph",
    test_share: float = 0.2,
    seed: int = 0,
    conflicts: str = "keep",
    fold: int | None = None,
    folds: int | None = None,
) -> Split:
    """Split a data set in two.

    By radiograph and by patient, classes are balanced between the parts as well as whole
    radiographs (or patients) allow; a random split draws files whatever their class. The
    same files with the same seed give the same split, whatever their order.

    Args:
        data: the data set; see :func:`with_radiographs`.
        by: what stays together, one of :data:`PROTOCOLS`.
        test_share: share of the files in the test part; with ``folds`` not used.
        seed: the same seed gives the same split, to the file.
        conflicts: what to do with radiographs filed under several classes, one of
            :data:`CONFLICTS`. ``"test"`` puts all of them into the test part, beside its
            share of the others; with folds each is tested in one fold and trains in none.
        fold: which fold is the test part, from 1.
        folds: how many folds.

    Raises:
        DataSetError: for settings out of range, radiographs or patients that are not
            known, and parts that would lack a class.
    """
    _check(data, by, test_share, conflicts, fold, folds)
    if folds is not None and fold is not None:
        return _folds(data, by, folds, seed, conflicts)[fold - 1]
    items = _in_order(data.items)
    several = conflicted(items) if conflicts != "keep" else set()
    disputed = [i for i in items if i.radiograph in several]
    rest = _left([i for i in items if i.radiograph not in several], data, conflicts)
    if by == "random":
        test = _draw_files(rest, test_share, seed)
    else:
        groups = _groups(rest, by)
        chosen = _draw_groups(_class_counts(groups, _needed(data)), test_share, seed)
        test = {item for place in chosen for item in groups[place]}
    if conflicts == "test":
        # A patient of a conflicted radiograph goes with it.
        test |= _joined(items, by, set(disputed))
    left_out = set(disputed) if conflicts == "drop" else set()
    parts = (
        tuple(i for i in items if i not in test and i not in left_out),
        tuple(i for i in items if i in test),
    )
    split = Split(by, seed, *parts, conflicts, left_out=tuple(i for i in items if i in left_out))
    return _whole(split, data)


def with_validation(split: Split, share: float, seed: int) -> Split:
    """Set a part of a split's training part aside, to watch the training with.

    What stays together is as in the split: no radiograph (or patient) of a split by it is
    in both parts. Classes are balanced as well as that allows, also where the split is
    random. The test part stays as it is.

    Args:
        split: without a validation part.
        share: share of the training part's files to set aside.
        seed: the same seed gives the same part, to the file.

    Raises:
        DataSetError: if the share is out of range, or a part would lack a class.
    """
    if not 0 < share < 1:
        raise DataSetError(f"The validation part's share must lie between 0 and 1, and is {share}.")
    names = [n for n in classes.CLASS_NAMES if n in {i.true for i in split.training}]
    names += sorted({i.true for i in split.training} - set(names))
    groups = _groups(split.training, split.protocol)
    counts = _class_counts(groups, names)
    drawn = _draw_groups(counts, share, (seed, _OF_VALIDATION))
    chosen = {item for place in drawn for item in groups[place]}
    found = replace(
        split,
        training=tuple(i for i in split.training if i not in chosen),
        validation=tuple(i for i in split.training if i in chosen),
    )
    for part, items in (("training", found.training), ("validation", found.validation)):
        missing = [n for n in names if n not in {i.true for i in items}]
        if missing:
            what = "file" if split.protocol == "random" else split.protocol
            raise DataSetError(
                f"With a validation part of {share:.0%} the {part} part has no file of the class "
                f"{' or '.join(missing)}. Each part needs a {what} of its own of every class. Add "
                "pictures of it, or train without a validation part."
            )
    return found


def split_by_radiograph(
    data: DataSet, test_share: float = 0.2, seed: int = 0, conflicts: str = "keep"
) -> Split:
    """Split so that no radiograph has files in both parts. See :func:`make_split`."""
    return make_split(data, "radiograph", test_share, seed, conflicts)


def split_by_patient(
    data: DataSet, test_share: float = 0.2, seed: int = 0, conflicts: str = "keep"
) -> Split:
    """Split so that neither a patient nor a radiograph is in both parts.

    Where one radiograph is listed under two patients, both stay together. See
    :func:`make_split`.
    """
    return make_split(data, "patient", test_share, seed, conflicts)


def random_split(data: DataSet, test_share: float = 0.2, seed: int = 0) -> Split:
    """Split by file at random, as the paper does.

    Copies of one radiograph fall on both sides. Figures measured so say how well copies
    are recognised, not how well a new patient is classified. See :func:`make_split`.
    """
    return make_split(data, "random", test_share, seed)


def folds_by_radiograph(
    data: DataSet, k: int = 5, seed: int = 0, conflicts: str = "keep"
) -> tuple[Split, ...]:
    """Return ``k`` splits by radiograph; every radiograph is tested in exactly one.

    Raises:
        DataSetError: if a class has fewer than ``k`` radiographs.
    """
    _check(data, "radiograph", 0.5, conflicts, 1, k)
    return _folds(data, "radiograph", k, seed, conflicts)


def leakage(split: Split) -> dict[str, int | float | None]:
    """Count the test files that have a copy in the training part.

    Returns:
        ``test_files``; ``identical``, test files with a byte-identical copy in training;
        ``same_radiograph``, test files whose radiograph is in training too;
        ``same_patient``, those whose patient is; and each as a share. ``None`` where the
        radiograph or patient is not known of every file.
    """
    files = len(split.test)
    found: dict[str, int | float | None] = {"test_files": files}
    for name, attribute in (
        ("identical", "sha256"),
        ("same_radiograph", "radiograph"),
        ("same_patient", "patient"),
    ):
        seen = {getattr(item, attribute) for item in split.training}
        known = all(getattr(item, attribute) for item in split.training + split.test)
        shared = sum(getattr(item, attribute) in seen for item in split.test) if known else None
        found[name] = shared
        found[f"{name}_share"] = None if shared is None or not files else shared / files
    return found


def conflicted(items: Iterable[Item]) -> set[str]:
    """Return the radiographs that are filed under more than one class."""
    found: dict[str, set[str]] = defaultdict(set)
    for item in items:
        if item.radiograph:
            found[item.radiograph].add(item.true)
    return {radiograph for radiograph, names in found.items() if len(names) > 1}


def _count_radiographs(items: Sequence[Item]) -> int | None:
    found = {item.radiograph for item in items}
    return None if "" in found else len(found)


def _in_order(items: Sequence[Item]) -> list[Item]:
    return sorted(items, key=lambda item: PurePosixPath(item.file).parts)


def _needed(data: DataSet) -> list[str]:
    """Return the classes that both parts need: ours, or whatever another collection has."""
    counts = data.counts()
    ours = any(counts[name] for name in classes.CLASS_NAMES)
    return [n for n, count in counts.items() if count or (ours and n in classes.CLASS_NAMES)]


def _describe(data: DataSet) -> str:
    return ", ".join(f"{count} {name}" for name, count in data.counts().items())


# What can be wrong before anything is drawn.


def _check(
    data: DataSet,
    by: str,
    test_share: float,
    conflicts: str,
    fold: int | None,
    folds: int | None,
) -> None:
    if by not in PROTOCOLS:
        raise DataSetError(f"There is no split by {by!r}. Known: {', '.join(PROTOCOLS)}.")
    if conflicts not in CONFLICTS:
        raise DataSetError(
            f"Conflicted radiographs cannot be treated as {conflicts!r}. "
            f"Known: {', '.join(CONFLICTS)}."
        )
    if not 0 < test_share < 1:
        raise DataSetError(f"The test part's share must lie between 0 and 1, and is {test_share}.")
    check_fold(fold, folds, DataSetError)
    present = [name for name, count in data.counts().items() if count]
    if len(present) < 2:
        raise DataSetError(
            f"All {len(data.items):,} files of {data.folder} are of the class "
            f"{' or '.join(present) or 'none'}: there is nothing to tell apart. Add pictures of "
            "the other classes."
        )
    if by == "patient":
        _all_known(data, "patient", "Name the column of patients in the manifest")
    if by == "radiograph" or conflicts != "keep":
        _all_known(data, "radiograph", "Run the audit first (python -m kop_core audit)")


def check_fold(fold: int | None, folds: int | None, error: type[Exception]) -> None:
    """Raise ``error`` unless a fold is named whole and in range, or not at all."""
    if (fold is None) != (folds is None):
        raise error("A fold needs both its number and how many there are.")
    if folds is not None and fold is not None:
        if folds < 2:
            raise error(f"There must be at least 2 folds, not {folds}.")
        if not 1 <= fold <= folds:
            raise error(f"The fold must be between 1 and {folds}, and is {fold}.")


def _all_known(data: DataSet, what: str, do: str) -> None:
    unknown = [item.file for item in data.items if not getattr(item, what)]
    if unknown:
        raise DataSetError(
            f"The {what} of {len(unknown):,} of the {len(data.items):,} files of {data.folder} is "
            f"not known ({unknown[0]}), so they cannot be kept together. {do}, or split by "
            "something else."
        )


def _left(rest: list[Item], data: DataSet, conflicts: str) -> list[Item]:
    missing = [name for name in _needed(data) if name not in {i.true for i in rest}]
    if missing and conflicts != "keep":
        done = {"drop": "dropped", "test": "in the test part only"}[conflicts]
        raise DataSetError(
            f"With the conflicted radiographs {done} no file of the class "
            f"{' or '.join(missing)} is left to train on: {data.folder} has {_describe(data)}. "
            "Keep the conflicted ones, or correct their classes."
        )
    return rest


def _whole(split: Split, data: DataSet) -> Split:
    """Return the split; raise :class:`DataSetError` if a part lacks a class."""
    for part, items in (("training", split.training), ("test", split.test)):
        missing = [n for n in _needed(data) if n not in {i.true for i in items}]
        if missing:
            what = "files" if split.protocol == "random" else f"{split.protocol}s"
            without = {"keep": "", "drop": " once the conflicted radiographs are dropped"}
            without["test"] = " once the conflicted radiographs are in the test part only"
            raise DataSetError(
                f"The {part} part has no file of the class {' or '.join(missing)}"
                f"{without[split.conflicts]}: {data.folder} has {_describe(data)}. Both parts need "
                f"different {what} of that class. Add pictures of it."
            )
    return split


# What belongs together.


def _groups(items: Sequence[Item], by: str) -> list[list[Item]]:
    """Return the items in groups that must not be cut, each in the order of the items.

    Connected components: a radiograph that is listed under two patients joins them.
    Byte-identical files are one radiograph, whatever a table says.
    """
    if by == "random":
        return [[item] for item in items]
    parent = list(range(len(items)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    first: dict[tuple[str, str], int] = {}
    for place, item in enumerate(items):
        keys = [("radiograph", item.radiograph), ("bytes", item.sha256)]
        if by == "patient":
            keys.append(("patient", item.patient))
        for key in keys:
            if key[1]:
                one, other = root(first.setdefault(key, place)), root(place)
                parent[max(one, other)] = min(one, other)
    found: dict[int, list[Item]] = defaultdict(list)
    for place, item in enumerate(items):
        found[root(place)].append(item)
    return list(found.values())


def _joined(items: Sequence[Item], by: str, some: set[Item]) -> set[Item]:
    """Return all items that belong together with some."""
    return {i for group in _groups(items, by) if some & set(group) for i in group}


def _class_counts(groups: Sequence[Sequence[Item]], names: Sequence[str]) -> np.ndarray:
    """Return the files of each class in each group, shape (groups, classes)."""
    column = {name: place for place, name in enumerate(names)}
    counts = np.zeros((len(groups), len(names)))
    for place, group in enumerate(groups):
        for item in group:
            counts[place, column[item.true]] += 1
    return counts


# Drawing.


def _draw_files(items: Sequence[Item], test_share: float, seed: int) -> set[Item]:
    order = np.random.default_rng(seed).permutation(len(items))
    return {items[i] for i in order[: round(len(order) * test_share)]}


def _draw_groups(counts: np.ndarray, test_share: float, seed: int | tuple[int, ...]) -> set[int]:
    """Return the groups of a test part with about its share of each class.

    In random order a group is taken if that brings the part's classes nearer to their
    share; of a few such draws the nearest one counts.

    Args:
        counts: files of each class in each group, shape (groups, classes).
        test_share: share wished for.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    whole = counts.sum(axis=0)
    # One group at least to each part, where a class has two.
    smallest = np.where(counts > 0, counts, np.inf).min(axis=0)
    target = np.minimum(np.maximum(whole * test_share, smallest), np.maximum(whole - smallest, 0))
    scale = np.where(target > 0, target, 1)
    best: set[int] = set()
    best_draw = (np.inf, np.inf)
    for _ in range(_DRAWS):
        lacking, chosen = target.copy(), set()
        for place in rng.permutation(len(counts)):
            left = lacking - counts[place]
            if ((left / scale) ** 2).sum() < ((lacking / scale) ** 2).sum():
                lacking = left
                chosen.add(int(place))
        held = counts[sorted(chosen)].sum(axis=0)
        draw = (
            int((held == 0).sum() + (held == whole).sum()),
            float(((lacking / scale) ** 2).sum()),
        )
        if draw < best_draw:
            best, best_draw = chosen, draw
    return best


def _folds(data: DataSet, by: str, k: int, seed: int, conflicts: str) -> tuple[Split, ...]:
    items = _in_order(data.items)
    several = conflicted(items) if conflicts != "keep" else set()
    disputed = {i for i in items if i.radiograph in several}
    left_out = tuple(i for i in items if i in disputed) if conflicts == "drop" else ()
    kept = _left([i for i in items if conflicts != "drop" or i not in disputed], data, conflicts)
    groups = _groups(kept, by)
    counts = _class_counts(groups, _needed(data))
    _enough(counts, _needed(data), k, by)
    fold_of = {}
    for group, fold in zip(groups, _deal(counts, k, seed)):
        fold_of.update(dict.fromkeys(group, fold))
    # "test": what belongs to a conflicted radiograph is tested once and never trains.
    untrained = _joined(kept, by, disputed) if conflicts == "test" else set()
    splits = []
    for fold in range(k):
        split = Split(
            by,
            seed,
            tuple(i for i in kept if fold_of[i] != fold and i not in untrained),
            tuple(i for i in kept if fold_of[i] == fold),
            conflicts,
            fold + 1,
            k,
            left_out,
        )
        others = tuple(i for i in kept if fold_of[i] != fold and i in untrained)
        splits.append(_whole(replace(split, left_out=left_out + others), data))
    return tuple(splits)


def _enough(counts: np.ndarray, names: Sequence[str], k: int, by: str) -> None:
    """Raise :class:`DataSetError` unless each fold can hold each class."""
    what = "file" if by == "random" else by
    for place, name in enumerate(names):
        groups = int((counts[:, place] > 0).sum())
        if groups >= k:
            continue
        if groups < 2:
            left = "only one" if groups else "none"
            raise DataSetError(
                f"These pictures cannot be cut into folds: each must test a {what} of the class "
                f"{name}, and there is {left}. Add pictures; if radiographs filed under several "
                "classes were dropped, keep them."
            )
        raise DataSetError(
            f"{k} folds are too many: each must test {what}s of the class {name}, and there "
            f"are {groups:,} to share out. Use fewer folds, or add pictures."
        )


def _deal(counts: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Return the fold of each group, from 0: the largest first, each where it lacks most."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(counts))
    order = shuffled[np.argsort(-counts[shuffled].sum(axis=1), kind="stable")]
    share = counts.sum(axis=0) / k
    lacking = np.tile(share, (k, 1)) / np.where(share > 0, share, 1)
    relative = counts / np.where(share > 0, share, 1)
    fold_of = np.zeros(len(counts), int)
    for place in order:
        gain = ((lacking - relative[place]) ** 2 - lacking**2).sum(axis=1)
        nearest = np.flatnonzero(gain <= gain.min() + 1e-9)
        fold = int(rng.choice(nearest))
        lacking[fold] -= relative[place]
        fold_of[place] = fold
    return fold_of
