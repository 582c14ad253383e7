"""A folder of class folders becomes a table of files."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kop_core import classes
from kop_core.errors import DataSetError
from kop_core.radiographs import EXTENSIONS, LIMITS

RADIOGRAPHS_CSV = "radiographs.csv"


@dataclass(frozen=True)
class Item:
    """One file of a data set.

    Attributes:
        file: its path inside the folder, with forward slashes.
        true: name of its class.
        radiograph: which radiograph it shows, or ``""`` where that is unknown.
        sha256: hexadecimal digest of its bytes.
        patient: whose it is, or ``""`` where that is unknown.
    """

    file: str
    true: str
    radiograph: str
    sha256: str
    patient: str = ""


@dataclass(frozen=True)
class DataSet:
    """All files of a folder that may be radiographs, in order of their paths.

    Attributes:
        folder: where it is.
        items: its files.
        passed_over: paths and reasons of what was left out.
    """

    folder: Path
    items: tuple[Item, ...]
    passed_over: tuple[tuple[str, str], ...] = ()

    @property
    def fingerprint(self) -> str:
        """SHA-256 over every file's path, class and bytes: equal only for equal data."""
        digest = hashlib.sha256()
        for item in self.items:
            digest.update(f"{item.file}\0{item.true}\0{item.sha256}\n".encode())
        return digest.hexdigest()

    def counts(self) -> dict[str, int]:
        """Return how many files each class has, in the order of the classes."""
        found = dict.fromkeys(classes.CLASS_NAMES, 0)
        for item in self.items:
            found[item.true] += 1
        return found

    def path(self, item: Item) -> Path:
        """Return where a file of the data set lies."""
        return self.folder / item.file


def scan(folder: str | Path, progress: Callable[[int, int], None] | None = None) -> DataSet:
    """List the files of a folder of class folders, with class, radiograph and digest.

    Class folders are recognised by :func:`kop_core.classes.match`; other folders are
    passed over and named. A ``radiographs.csv`` (columns ``file,radiograph``) in the
    folder says which radiograph each file shows.

    Args:
        folder: the data set.
        progress: called with files done and files in all.

    Raises:
        DataSetError: if there is no such folder or no class folder in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataSetError(
            f"{folder} is not a folder. Name the folder that holds the class folders."
        )
    paths, passed_over = _class_files(folder)
    if not paths:
        seen = ", ".join(sorted(p.name for p in folder.iterdir() if p.is_dir())[:6]) or "none"
        raise DataSetError(
            f"{folder} holds no pictures in folders named after the classes (such as Normal, "
            f"Osteopenia, Osteoporosis). Folders there: {seen}."
        )
    radiographs = _radiographs(folder)
    items = []
    for done, (path, true) in enumerate(paths, start=1):
        file = path.relative_to(folder).as_posix()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        items.append(Item(file, true, radiographs.get(file, ""), digest))
        if progress:
            progress(done, len(paths))
    return DataSet(folder, tuple(items), tuple(passed_over))


def _class_files(folder: Path) -> tuple[list[tuple[Path, str]], list[tuple[str, str]]]:
    """Return the files of all class folders with their class, and what was passed over."""
    files, passed_over = [], []
    for sub in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
        true = classes.match(sub.name)
        if true is None:
            passed_over.append((sub.name, "the folder's name is none of the classes"))
            continue
        for path in sorted(p for p in sub.rglob("*") if p.is_file() and not p.name.startswith(".")):
            name = path.relative_to(folder).as_posix()
            if path.suffix.lower().lstrip(".") not in EXTENSIONS:
                passed_over.append((name, "not a kind of file that KOP reads"))
            elif not path.resolve().is_relative_to(folder.resolve()):
                passed_over.append((name, "a link that leads out of the folder"))
            elif not 0 < path.stat().st_size <= LIMITS.max_bytes:
                passed_over.append((name, "empty, or larger than the limit"))
            else:
                files.append((path, true))
    return files, passed_over


def _radiographs(folder: Path) -> dict[str, str]:
    path = folder / RADIOGRAPHS_CSV
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.DictReader(stream)
            if not {"file", "radiograph"} <= set(rows.fieldnames or ()):
                raise DataSetError(f"{path} needs the columns file and radiograph.")
            return {row["file"]: row["radiograph"] or "" for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataSetError(f"{path} cannot be read as a table in UTF-8 ({error}).") from error
