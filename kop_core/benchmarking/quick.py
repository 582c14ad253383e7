"""A handful of a data set's files, to see in minutes that everything works."""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kop_core.classes import CLASS_NAMES
from kop_core.datasets import DataSet, scan, with_radiographs
from kop_core.datasets.scanning import RADIOGRAPHS_CSV, Item
from kop_core.errors import DataSetError, RunError

RADIOGRAPHS = 8
FILES_EACH = 2


def choose(data: DataSet, radiographs: int = RADIOGRAPHS) -> tuple[Item, ...]:
    """Return files of the first radiographs of each class, two of each radiograph at most."""
    kept: list[Item] = []
    seen: dict[str, set[str]] = defaultdict(set)
    counts: Counter[tuple[str, str]] = Counter()
    for item in data.items:
        known = seen[item.true]
        if item.radiograph not in known and len(known) == radiographs:
            continue
        if counts[item.true, item.radiograph] < FILES_EACH:
            known.add(item.radiograph)
            counts[item.true, item.radiograph] += 1
            kept.append(item)
    return tuple(kept)


@contextmanager
def handful(data_folder: str | Path, inside: Path) -> Iterator[Path]:
    """Copy a few files of a data set, give their folder, and take it away at the end.

    Args:
        data_folder: the data set.
        inside: folder in which they are put; the data set is called after the whole one.

    Raises:
        DataSetError: if it has not all classes.
        RunError: if they cannot be copied.
    """
    scanned = scan(data_folder)
    data = with_radiographs(scanned)
    chosen = choose(data)
    absent = [name for name in CLASS_NAMES if name not in {item.true for item in chosen}]
    if absent:
        raise DataSetError(
            f"{scanned.folder} has no file of the class {' or '.join(absent)}. Add pictures of it."
        )
    try:
        inside.mkdir(parents=True, exist_ok=True)
        parent = Path(tempfile.mkdtemp(prefix="quick-", dir=inside))
        folder = parent / f"{scanned.folder.resolve().name}-quick"
        _copy(data, chosen, folder)
    except OSError as error:
        raise RunError(
            f"The few files of a quick benchmark could not be copied into {inside} "
            f"({error.strerror or error})."
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(parent, ignore_errors=True)


def _copy(data: DataSet, items: tuple[Item, ...], folder: Path) -> None:
    rows = []
    for place, item in enumerate(items):
        name = f"{item.true}/{place:03d}{Path(item.file).suffix.lower()}"
        (folder / item.true).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(data.path(item), folder / name)
        rows.append((name, item.radiograph))
    with (folder / RADIOGRAPHS_CSV).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("file", "radiograph"))
        writer.writerows(rows)
