"""A folder of class folders, or a table that names files, becomes a data set."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from kop_core import classes
from kop_core.datasets import tables
from kop_core.errors import DataSetError
from kop_core.radiographs import EXTENSIONS, LIMITS

RADIOGRAPHS_CSV = "radiographs.csv"
PATIENTS_CSV = "patients.csv"
# A data set has some thousands of files. Somebody who names "/" by mistake should hear so.
MAX_FILES = 200_000
MAX_DEPTH = 64
_MOST_SHOWN = 100
_LEADS_OUT = "that leads out of the folder"

Progress = Callable[[int, int], None]


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
        patients: what is known of the patient of each file, words by column by file.
        remarks: sentences on how its tables had to be taken.
        manifest: name of the table in the folder that lists its files, or ``""``.
    """

    folder: Path
    items: tuple[Item, ...]
    passed_over: tuple[tuple[str, str], ...] = ()
    patients: Mapping[str, Mapping[str, str]] = field(default_factory=dict, compare=False)
    remarks: tuple[str, ...] = ()
    manifest: str = ""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over every file's path, class and bytes: equal only for equal data."""
        digest = hashlib.sha256()
        for item in self.items:
            digest.update(f"{item.file}\0{item.true}\0{item.sha256}\n".encode())
        return digest.hexdigest()

    @property
    def source(self) -> Path:
        """What to hand to :func:`scan` to have it again: its folder or its manifest."""
        return self.folder / self.manifest

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for whoever looks at it: classes that are too small, odd tables."""
        return (*_small_classes(self.counts()), *self.remarks)

    def counts(self) -> dict[str, int]:
        """Return how many files each class has: ours in their order, then any others."""
        found = dict.fromkeys(classes.CLASS_NAMES, 0)
        others = sorted({item.true for item in self.items} - set(found))
        found.update(dict.fromkeys(others, 0))
        for item in self.items:
            found[item.true] += 1
        return found

    def path(self, item: Item) -> Path:
        """Return where a file of the data set lies."""
        return self.folder / item.file


def scan(
    folder: str | Path,
    progress: Progress | None = None,
    *,
    any_class: bool = False,
    follow_links: bool = False,
) -> DataSet:
    """List the files of a folder of class folders, with class, radiograph and digest.

    Class folders are recognised by :func:`kop_core.classes.match`, at any depth; of
    several around a file the nearest decides. Other folders are passed over and named.
    ``radiographs.csv`` (columns ``file,radiograph``) says which radiograph each file
    shows, ``patients.csv`` (columns ``file``, ``patient`` and any others) what is known of
    the patient. Both may lie in the folder or in one below; their paths start where they
    lie.

    Args:
        folder: the data set; a ``.csv`` file goes to :func:`scan_manifest`.
        progress: called with files done and files in all.
        any_class: keep the files of folders that are named after no class of ours, under
            the name of the nearest folder; files in no folder have the class ``""``. For
            the audit of other collections.
        follow_links: read what links that lead out of the folder point at.

    Raises:
        DataSetError: if there is no such folder, no picture of a class in it, too many
            files to be a data set, or a ``radiographs.csv`` that cannot be read or names two
            radiographs of one file.
    """
    folder = Path(folder)
    if folder.suffix.lower() == ".csv" and not folder.is_dir():
        return scan_manifest(folder, progress, any_class=any_class, follow_links=follow_links)
    if not folder.is_dir():
        raise DataSetError(
            f"{folder} is not a folder. Name the folder that holds the class folders, or a CSV "
            "table of files and classes."
        )
    found = _Walk(folder, any_class, follow_links).go()
    if not found.files:
        _no_pictures(folder)
    beside = _read_beside(folder, found.tables)
    items, unread = _items(folder, found.files, beside, progress)
    if not items:
        raise DataSetError(
            f"None of the {len(found.files):,} pictures in {folder} can be opened. "
            f"{unread[0][0]}: {unread[0][1]}."
        )
    return DataSet(
        folder,
        items,
        tuple(sorted([*found.passed_over, *unread, *beside.passed_over])),
        _of(items, beside.patients),
        (*beside.remarks, *beside.not_here(items)),
    )


def scan_manifest(
    path: str | Path,
    progress: Progress | None = None,
    *,
    any_class: bool = False,
    follow_links: bool = False,
) -> DataSet:
    """List the files that a CSV table names, with class, radiograph, patient and digest.

    Columns: ``file`` (a path that starts at the table's folder and stays inside it) and
    ``class``; ``patient`` and ``radiograph`` (or ``group``) where they are known. Case does
    not count, and other usual names (``filename``, ``label``, ``patient_id`` …) will do.
    Where the table names no radiographs, a ``radiographs.csv`` beside it counts.

    A row at fault is named in ``passed_over`` and the rest is done. A file listed twice
    under one class is kept once; a file listed under two classes is left out, because
    nobody can say which of them is meant.

    Args:
        path: the table.
        progress: called with files done and files in all.
        any_class: keep classes that are none of ours under the name they have.
        follow_links: read what links that lead out of the folder point at.

    Raises:
        DataSetError: if it is no such table, or no row of it is left; and for a
            ``radiographs.csv`` as in :func:`scan`.
    """
    path = Path(path)
    if not path.is_file():
        raise DataSetError(f"{path} is not a file. Name a CSV table of files and classes.")
    rows = _Rows(tables.read_table(path), any_class, follow_links)
    if not rows.kept:
        first = f" The first fault: {': '.join(rows.passed_over[0])}." if rows.passed_over else ""
        raise DataSetError(f"{path} names no file that can be used.{first}")
    folder = path.parent
    beside = _beside_manifest(path, follow_links)
    beside.add(rows)
    remarks = beside.remarks
    if rows.disputed:
        files = "1 file is" if len(rows.disputed) == 1 else f"{len(rows.disputed):,} files are"
        several = f"{files} listed under two classes in {path.name} and left out."
        remarks = (several, *remarks)
    files = sorted(rows.kept.items(), key=lambda pair: PurePosixPath(pair[0]).parts)
    items, unread = _items(folder, [(folder / f, true) for f, true in files], beside, progress)
    if not items:
        raise DataSetError(f"None of the {len(files):,} files that {path} names can be opened.")
    return DataSet(
        folder,
        items,
        (*rows.passed_over, *unread, *beside.passed_over),
        _of(items, beside.patients),
        (*remarks, *beside.not_here(items)),
        path.name,
    )


def _no_pictures(folder: Path) -> None:
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    seen = ", ".join(names[:6]) or "none"
    raise DataSetError(
        f"{folder} holds no pictures in folders named after the classes (such as Normal, "
        f"Osteopenia, Osteoporosis). Folders there: {seen}."
    )


def _small_classes(counts: Mapping[str, int]) -> Iterator[str]:
    present = [name for name, count in counts.items() if count]
    empty = [name for name in classes.CLASS_NAMES if not counts[name]]
    if len(present) == 1:
        yield (
            f"All files are of one class ({_word(present[0])}). Copies can be found, but there is "
            "nothing to tell apart."
        )
    elif empty and set(present) & set(classes.CLASS_NAMES):
        yield f"There is no file of the class {' or '.join(empty)}."
    for name in present:
        if counts[name] == 1 and len(present) > 1:
            yield f"The class {_word(name)} has one file only: it cannot be split."


def _word(name: str) -> str:
    return name or "without a name"


def _items(
    folder: Path, files: Sequence[tuple[Path, str]], beside: _Beside, progress: Progress | None
) -> tuple[tuple[Item, ...], list[tuple[str, str]]]:
    """Return an item for each file, and those that cannot be opened, with the reason."""
    items, unread = [], []
    for done, (path, true) in enumerate(files, start=1):
        file = path.relative_to(folder).as_posix()
        try:
            digest = _digest(path)
        except OSError as error:
            unread.append((file, f"cannot be opened ({error.strerror})"))
        else:
            radiograph = beside.radiographs.get(file, "")
            items.append(Item(file, true, radiograph, digest, beside.patient_of.get(file, "")))
        if progress:
            progress(done, len(files))
    return tuple(items), unread


def _shown(cell: str) -> str:
    """Return a cell of a table in one line that is not too long."""
    line = " ".join(cell.split())
    return line if len(line) <= _MOST_SHOWN else f"{line[:_MOST_SHOWN]}…"


def _plain(name: str) -> str:
    """Return a name that can be written; file systems hold bytes that are no text."""
    return name.encode(errors="replace").decode()


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _fault(path: Path, root: Path, follow_links: bool) -> str | None:
    """Return why a file cannot be part of a data set, or ``None``."""
    try:
        return _fault_of_one_that_opens(path, root, follow_links)
    except OSError as error:
        return f"cannot be opened ({error.strerror})"


def _fault_of_table(path: Path, root: Path, follow_links: bool) -> str | None:
    """Return why a table beside the pictures cannot be read, or ``None``."""
    try:
        return _fault_of_place(path, root, follow_links)
    except OSError as error:
        return f"cannot be opened ({error.strerror})"


def _fault_of_one_that_opens(path: Path, root: Path, follow_links: bool) -> str | None:
    if _plain(str(path)) != str(path):
        return "the name is no text in UTF-8. Rename the file"
    if path.suffix.lower().lstrip(".") not in EXTENSIONS:
        return "not a kind of file that KOP reads"
    fault = _fault_of_place(path, root, follow_links)
    if fault is None and not 0 < path.stat().st_size <= LIMITS.max_bytes:
        return "empty, or larger than the limit"
    return fault


def _fault_of_place(path: Path, root: Path, follow_links: bool) -> str | None:
    if path.is_symlink() and not path.exists():
        return "a link that leads nowhere"
    if not path.is_file():
        return "not a plain file"
    if not follow_links and not path.resolve().is_relative_to(root):
        return f"a link {_LEADS_OUT}"
    return None


# Folders.


class _Walk:
    """Goes through a folder once.

    Attributes:
        files: pictures with the class of each, in order.
        passed_over: what was left out, and why.
        tables: tables of radiographs and patients.
    """

    def __init__(self, folder: Path, any_class: bool, follow_links: bool) -> None:
        self.folder = folder
        self.root = folder.resolve()
        self.any_class = any_class
        self.follow_links = follow_links
        self.files: list[tuple[Path, str]] = []
        self.passed_over: list[tuple[str, str]] = []
        self.tables: list[Path] = []
        self._seen = {self.root}
        self._entries = 0

    def go(self) -> _Walk:
        """Fill the attributes, and return itself."""
        self._enter(self.folder, None)
        self.files.sort(key=lambda pair: pair[0].relative_to(self.folder).parts)
        return self

    def _enter(self, folder: Path, true: str | None) -> bool:
        """Take in a folder of the class ``true``; return whether a class is in or above it."""
        plain, folders = self._list(folder)
        plain = self._without_tables(plain)
        if true is None and self.any_class and folder != self.folder:
            self._take(folder, plain, folders, folder.name)
        elif true is None and self.any_class:
            self._take(folder, [p for p in plain if _is_picture(p)], folders, "")
        elif true is not None:
            self._take(folder, plain, folders, true)
        inside = [self._enter_below(sub, true) for sub in folders]
        has_class = true is not None or self.any_class or any(inside)
        if has_class or folder == self.folder:
            self._name_what_is_outside(plain if true is None else [], folders, inside, folder)
        return has_class

    def _enter_below(self, folder: Path, true: str | None) -> bool:
        if folder.is_symlink():
            inside = folder.resolve().is_relative_to(self.root)
            if inside or not self.follow_links:
                where = "to a folder that is read already" if inside else _LEADS_OUT
                self.passed_over.append((self._name(folder), f"a link {where}"))
                return True  # it has been named
        real = folder.resolve()
        if real in self._seen:
            self.passed_over.append((self._name(folder), "a link to a folder that is read already"))
            return True
        self._seen.add(real)
        if len(folder.relative_to(self.folder).parts) > MAX_DEPTH:
            self.passed_over.append((self._name(folder), "the folder lies too deep"))
            return True
        return self._enter(folder, classes.match(folder.name) or true)

    def _list(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """Return the plain entries and the folders in a folder, without hidden ones."""
        try:
            with os.scandir(folder) as entries:
                paths = sorted(folder / e.name for e in entries if not e.name.startswith("."))
            folders = [p for p in paths if p.is_dir()]
        except OSError as error:
            self.passed_over.append((self._name(folder), f"cannot be opened ({error.strerror})"))
            return [], []
        self._entries += len(paths)
        if self._entries > MAX_FILES:
            raise DataSetError(
                f"{self.folder} holds more than {MAX_FILES:,} files: that is hardly one data set. "
                "Name the folder that holds the class folders."
            )
        below = set(folders)
        return [p for p in paths if p not in below], folders

    def _without_tables(self, plain: list[Path]) -> list[Path]:
        """Take in the tables of radiographs and patients; return the other entries."""
        others = []
        for path in plain:
            if path.name.lower() not in (RADIOGRAPHS_CSV, PATIENTS_CSV):
                others.append(path)
            elif fault := _fault_of_table(path, self.root, self.follow_links):
                self.passed_over.append((self._name(path), fault))
            else:
                self.tables.append(path)
        return others

    def _take(self, folder: Path, plain: list[Path], folders: list[Path], true: str) -> None:
        for path in plain:
            fault = _fault(path, self.root, self.follow_links)
            if fault is None:
                self.files.append((path, true))
            else:
                self.passed_over.append((self._name(path), fault))
        if not plain and not folders and folder != self.folder:
            self.passed_over.append((self._name(folder), "the folder is empty"))

    def _name_what_is_outside(
        self, plain: list[Path], folders: list[Path], inside: list[bool], folder: Path
    ) -> None:
        """Name the folders and the loose pictures that belong to no class."""
        for sub, has_class in zip(folders, inside):
            if not has_class:
                reason = "the folder's name is none of the classes"
                self.passed_over.append((self._name(sub), reason))
        loose = sum(map(_is_picture, plain))
        if loose and not self.any_class:
            files = "1 picture is" if loose == 1 else f"{loose:,} pictures are"
            reason = f"{files} in no folder named after a class"
            self.passed_over.append((self._name(folder), reason))

    def _name(self, path: Path) -> str:
        return _plain(path.relative_to(self.folder).as_posix())


def _is_picture(path: Path) -> bool:
    return path.suffix.lower().lstrip(".") in EXTENSIONS


# Manifests.


class _Rows:
    """The rows of a manifest, sorted into good ones and faults.

    Attributes:
        kept: class by file.
        radiographs: radiograph by file, where it is named.
        patients: patient by file, where it is named.
        passed_over: row and file, and what is wrong with it.
        disputed: files that are listed under several classes.
    """

    def __init__(self, table: tables.Table, any_class: bool, follow_links: bool) -> None:
        self._file = table.need(tables.FILE, "files")
        self._class = table.need(tables.CLASS, "classes")
        self._columns = {
            "radiographs": table.column(tables.RADIOGRAPH),
            "patients": table.column(tables.PATIENT),
        }
        self._folder = table.path.parent
        self._any_class = any_class
        self._follow_links = follow_links
        self.kept: dict[str, str] = {}
        self.radiographs: dict[str, str] = {}
        self.patients: dict[str, str] = {}
        self.passed_over: list[tuple[str, str]] = []
        self.disputed: set[str] = set()
        for number, row in table.rows:
            fault = self._add(row)
            if fault:
                file = _shown(row[self._file]) or "no file"
                self.passed_over.append((f"row {number}: {file}", fault))

    def _add(self, row: Mapping[str, str]) -> str | None:
        """Take in a row; return what is wrong with it, or ``None``."""
        try:
            return self._add_one_that_opens(row)
        except OSError as error:  # a name that no file can have, a folder that is closed
            return f"cannot be opened ({error.strerror})"

    def _add_one_that_opens(self, row: Mapping[str, str]) -> str | None:
        if not row[self._file]:
            return "no file is named"
        file = _inside(self._folder, row[self._file])
        if file is None:
            return "the path leads out of the table's folder"
        true = classes.match(row[self._class])
        if true is None and not self._any_class:
            if not row[self._class]:
                return "no class is named"
            known = ", ".join(classes.CLASS_NAMES)
            return f"the class {_shown(row[self._class])!r} is none of {known}"
        true = true or row[self._class]
        if file in self.disputed:
            return "listed again; the file is left out"
        if file in self.kept:
            return self._again(file, true)
        path = self._folder / file
        if not path.exists() and not path.is_symlink():
            return "there is no such file"
        fault = _fault(path, self._folder.resolve(), self._follow_links)
        if fault is None:
            self.kept[file] = true
            for name, column in self._columns.items():
                if column and row[column]:
                    getattr(self, name)[file] = row[column]
        return fault

    def _again(self, file: str, true: str) -> str:
        if self.kept[file] == true:
            return "listed again with the same class; kept once"
        before = self.kept.pop(file)
        self.disputed.add(file)
        return (
            f"a label conflict: listed as {_word(before)} and as {_word(true)}; the file is left "
            "out"
        )


def _inside(folder: Path, name: str) -> str | None:
    """Return a named file's path from ``folder``, or ``None`` if it leads out of it."""
    if "\0" in name:
        return None
    name = _forward(folder, name)
    whole = Path(os.path.normpath(folder.absolute() / name))
    base = Path(os.path.normpath(folder.absolute()))
    if whole == base or not whole.is_relative_to(base) or re.match(r"[A-Za-z]:/", name):
        return None
    return whole.relative_to(base).as_posix()


def _forward(folder: Path, name: str) -> str:
    """Return a path of a table in ``folder`` with forward slashes, if it is from Windows."""
    if "\\" in name and not os.path.lexists(folder / name):
        return name.replace("\\", "/")
    return name


# Tables that lie beside the pictures.


@dataclass
class _Beside:
    """What the tables say of each file.

    Attributes:
        radiographs: radiograph by file.
        patient_of: patient by file.
        patients: the other columns on the patient, by file.
        passed_over: tables that cannot be used.
        remarks: how they had to be taken.
        named: by table, the files that it names.
    """

    radiographs: dict[str, str] = field(default_factory=dict)
    patient_of: dict[str, str] = field(default_factory=dict)
    patients: dict[str, dict[str, str]] = field(default_factory=dict)
    passed_over: list[tuple[str, str]] = field(default_factory=list)
    remarks: tuple[str, ...] = ()
    named: dict[Path, set[str]] = field(default_factory=dict)

    def add(self, rows: _Rows) -> None:
        """Let a manifest say more: where it names radiographs, only these count."""
        if rows.radiographs:
            self.radiographs = rows.radiographs
            self.remarks = ()
            self.named = {p: n for p, n in self.named.items() if p.name.lower() == PATIENTS_CSV}
        self.patient_of.update(rows.patients)

    def not_here(self, items: Sequence[Item]) -> Iterator[str]:
        """Yield how many of the files that a table names are none of ``items``, in sentences."""
        files = {item.file for item in items}
        for table, named in self.named.items():
            if missing := len(named - files):
                are = "is" if missing == 1 else "are"
                yield (
                    f"{missing:,} of the {len(named):,} files that {table.as_posix()} names {are} "
                    "not in this data set. Paths in it start at the folder in which it lies."
                )


def _beside_manifest(path: Path, follow_links: bool) -> _Beside:
    """Read the tables of radiographs and patients in the folder of a manifest."""
    found, passed_over = [], []
    for name in (PATIENTS_CSV, RADIOGRAPHS_CSV):
        table = path.with_name(name)
        if not os.path.lexists(table) or table.resolve() == path.resolve():
            continue
        if fault := _fault_of_table(table, path.parent.resolve(), follow_links):
            passed_over.append((name, fault))
        else:
            found.append(table)
    beside = _read_beside(path.parent, found)
    beside.passed_over += passed_over
    return beside


def _read_beside(folder: Path, paths: Sequence[Path]) -> _Beside:
    beside = _Beside()
    named: Counter[str] = Counter()
    for path in paths:
        at, table = path.parent.relative_to(folder), path.relative_to(folder)
        if path.name.lower() == PATIENTS_CSV:
            try:
                beside.named[table] = _read_patients(path, at, beside)
            except DataSetError as error:  # the audit goes on without them
                # Reports go to colleagues: of the path only what lies inside the folder.
                reason = str(error).removeprefix(f"{path} ")
                beside.passed_over.append((table.as_posix(), reason))
        else:
            found = _read_radiographs(path, at)
            beside.radiographs.update(found)
            beside.named[table] = set(found)
            named.update(set(found.values()) - {""})
    shared = sum(count > 1 for count in named.values())
    if shared:
        beside.remarks = (
            f"{shared:,} radiographs are named in several tables called {RADIOGRAPHS_CSV}; a name "
            "that is in two of them was taken for the same radiograph.",
        )
    return beside


def _read_radiographs(path: Path, at: Path) -> dict[str, str]:
    # An id that is not understood would let copies into both parts of a split: that is an
    # error, and not a table to be passed over.
    table = tables.read_table(path)
    if not {"file", "radiograph"} <= set(table.columns):
        raise DataSetError(f"{path} needs the columns file and radiograph.")
    found: dict[str, str] = {}
    for number, row in table.rows:
        file = (at / _forward(path.parent, row["file"])).as_posix()
        before = found.get(file, "")
        found[file] = row["radiograph"] or before
        if before not in ("", found[file]):
            raise DataSetError(
                f"{path} names two radiographs of {_shown(file)}: {_shown(before)}, and in row "
                f"{number} {_shown(found[file])}. Keep the row that is right."
            )
    return found


def _read_patients(path: Path, at: Path, beside: _Beside) -> set[str]:
    """Note what a table says of patients; return the files that it names."""
    table = tables.read_table(path)
    file_column = table.need(tables.FILE, "files")
    patient_column = table.column(tables.PATIENT)
    left = {file_column, patient_column, table.column(tables.CLASS)}
    named = set()
    for _, row in table.rows:
        file = (at / _forward(path.parent, row[file_column])).as_posix()
        named.add(file)
        if patient_column and row[patient_column]:
            beside.patient_of[file] = row[patient_column]
        beside.patients[file] = {c: row[c] for c in table.columns if c and c not in left}
    return named


def _of(
    items: Sequence[Item], patients: Mapping[str, Mapping[str, str]]
) -> dict[str, Mapping[str, str]]:
    return {item.file: patients[item.file] for item in items if item.file in patients}
