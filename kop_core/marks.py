"""What a reader noted of a case: that its label is wrong, or that he or she is unsure.

Marks are kept in a folder of the user's own, one file a data set, named by the data's
fingerprint: a mark made while looking at one model is found under every other model of the
same data. The folder is ``$KOP_MARKS``, else ``kop/marks`` in the user's folder for data
(``$XDG_DATA_HOME``, else ``~/.local/share``). They are not part of the code and not a cache:
nothing here removes one but the person.

Several sessions may mark at once: each change is made to what is on disk at that moment,
under a lock, and put there whole. A file that cannot be read is set aside, never written
over.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kop_core.cases import spreadsheet_safe
from kop_core.classes import CLASS_NAMES
from kop_core.errors import MarkError

if TYPE_CHECKING:
    from filelock import FileLock

    from kop_core.datasets.scanning import DataSet

MISLABELLED, UNSURE = "mislabelled", "unsure"
KINDS = (MISLABELLED, UNSURE)
LONGEST_NOTE = 500
MOST = 20_000
_FORMAT = 1
_MAX_BYTES = 32 * 2**20
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
# Whatever mark is there.
_ANY: Any = object()
# Another session holds the lock for the time of one small file.
_WAIT = 10.0


@dataclass(frozen=True)
class Mark:
    """What a reader noted of one file.

    Attributes:
        file: its name in the data set.
        true: the class that it is filed under.
        kind: ``"mislabelled"`` or ``"unsure"``.
        note: what the reader wrote; at most :data:`LONGEST_NOTE` characters.
        sha256: digest of the file's bytes, ``""`` where its picture was not at hand.
        model: id of the model whose case it was.
        made: when, ISO 8601 in UTC.
    """

    file: str
    true: str
    kind: str
    note: str = ""
    sha256: str = ""
    model: str = ""
    made: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise MarkError(f"There is no mark {self.kind!r}. Known: {', '.join(KINDS)}.")
        if len(self.note) > LONGEST_NOTE:
            raise MarkError(
                f"The note has {len(self.note):,} characters; at most {LONGEST_NOTE} are kept. "
                "Shorten it."
            )
        if not self.file:
            raise MarkError("A mark needs the name of a file.")


@dataclass(frozen=True)
class Marks:
    """The marks of one data set.

    Attributes:
        all: in the order of their files.
        remarks: sentences on files of marks that could not be read.
    """

    all: tuple[Mark, ...] = ()
    remarks: tuple[str, ...] = ()

    def of(self, file: str) -> Mark | None:
        """Return the mark on a file."""
        return next((mark for mark in self.all if mark.file == file), None)

    def counts(self) -> dict[str, int]:
        """Return how many marks of each kind there are."""
        return {kind: sum(m.kind == kind for m in self.all) for kind in KINDS}


def folder() -> Path:
    """Return where marks are kept."""
    chosen = os.environ.get("KOP_MARKS")
    if chosen:
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "kop" / "marks"


def read(fingerprint: str, root: Path | None = None) -> Marks:
    """Return the marks of a data set.

    A file of marks that cannot be understood is set aside beside its place; a remark
    names it as long as it lies there.

    Args:
        fingerprint: of the data, as on a model's card.
        root: where marks are kept, see :func:`folder`.

    Raises:
        MarkError: if that is no fingerprint, or the folder cannot be read.
    """
    path = _path(fingerprint, root)
    try:
        found = _load(path)
    except _Damaged:
        try:
            with _locked(path):
                found = _load_or_set_aside(path)
        except MarkError:  # it may be looked at, and not written
            return Marks((), (f"The marks in {path} cannot be understood and are not shown.",))
    return Marks(_in_order(found), tuple(_said_of(aside) for aside in _set_aside(path)))


def put(
    fingerprint: str, mark: Mark, root: Path | None = None, *, shown: Mark | None = _ANY
) -> Mark:
    """Keep a mark, in place of any other on the same file; return it as it was kept.

    Args:
        fingerprint: of the data.
        mark: the mark; where it says no time, it gets that of now.
        root: where marks are kept.
        shown: the one that the reader saw, or ``None``: in place of no other is it put.

    Raises:
        MarkError: if it cannot be kept, or the one that is there is not the one that was shown.
    """
    made = mark.made or datetime.now(timezone.utc).isoformat(timespec="seconds")
    kept = Mark(**{**asdict(mark), "note": mark.note.strip(), "made": made})
    _change(fingerprint, mark.file, kept, shown, root)
    return kept


def remove(
    fingerprint: str, file: str, root: Path | None = None, *, shown: Mark | None = _ANY
) -> None:
    """Take the mark from a file. That there was none is no error.

    Args:
        fingerprint: of the data.
        file: its name.
        root: where marks are kept.
        shown: the one that the reader saw: no other is taken away.

    Raises:
        MarkError: if the folder cannot be written, or the one that is there is not the one that
            was shown.
    """
    _change(fingerprint, file, None, shown, root)


def of_data(
    data: DataSet, kinds: Iterable[str] = KINDS, root: Path | None = None
) -> dict[str, str]:
    """Return which files of a data set are marked, and as what.

    A byte-identical copy of a marked file, filed under the same class, counts as marked:
    what a reader said of the picture holds for it. Marks of other data sets count so too,
    where they know the file's digest.

    Args:
        data: the data set.
        kinds: which marks are wanted.
        root: where marks are kept.

    Returns:
        Kind of mark by file, in the order of the data set. Of two marks on one picture
        ``"mislabelled"`` counts.

    Raises:
        MarkError: if the folder cannot be read.
    """
    wanted = set(kinds)
    digests = {item.file: item.sha256 for item in data.items}
    here = read(data.fingerprint, root).all
    # Of two marks on one picture the first kind counts: it is put in last.
    marks = sorted([*here, *_elsewhere(data.fingerprint, root)], key=lambda m: -KINDS.index(m.kind))
    by_file = {mark.file: mark.kind for mark in here}
    by_picture = {
        (digest, mark.true): mark.kind
        for mark in marks
        if (digest := mark.sha256 or (digests.get(mark.file) if mark in here else None))
    }
    found = {i.file: by_picture.get((i.sha256, i.true)) or by_file.get(i.file) for i in data.items}
    return {file: kind for file, kind in found.items() if kind in wanted}


def to_csv(found: Iterable[Mark]) -> str:
    """Return marks as a CSV table, a row a mark."""
    stream = io.StringIO(newline="")
    rows = csv.writer(stream)
    names = [f.name for f in fields(Mark)]
    rows.writerow(names)
    for mark in found:
        rows.writerow([spreadsheet_safe(str(getattr(mark, name))) for name in names])
    return stream.getvalue()


# On disk.


class _Damaged(Exception):
    """A file of marks cannot be understood."""


def _path(fingerprint: Any, root: Path | None) -> Path:
    if not isinstance(fingerprint, str) or not _FINGERPRINT.fullmatch(fingerprint):
        raise MarkError(
            "The fingerprint of the data is not on the model's card, so a mark could not be found "
            "again. Nothing is kept."
        )
    return (root or folder()) / f"{fingerprint}.json"


def _load(path: Path) -> dict[str, Mark]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise _Damaged
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise _Damaged from error
    except OSError as error:
        raise MarkError(f"The marks in {path} cannot be read ({error.strerror}).") from error
    try:
        kept = json.loads(text)
        if kept["format"] != _FORMAT:
            raise _Damaged
        marks = [Mark(**row) for row in kept["marks"]]
        if not all(isinstance(v, str) for mark in marks for v in asdict(mark).values()):
            raise _Damaged
        if not all(mark.true in ("", *CLASS_NAMES) for mark in marks):
            raise _Damaged
    except (ValueError, KeyError, TypeError, RecursionError, MarkError) as error:
        raise _Damaged from error
    return {mark.file: mark for mark in marks}


def _load_or_set_aside(path: Path) -> dict[str, Mark]:
    """Return what is on disk; a file that cannot be understood is put out of the way."""
    try:
        return _load(path)
    except _Damaged:
        now = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S-%f")
        try:
            path.rename(path.with_name(f"{path.stem}.damaged-{now}.json"))
        except OSError as error:
            raise MarkError(
                f"The marks in {path} cannot be understood, and the file cannot be set aside "
                f"({error.strerror}). Nothing is kept, so that nothing is lost."
            ) from error
        return {}


def _set_aside(path: Path) -> list[Path]:
    try:
        return sorted(path.parent.glob(f"{path.stem}.damaged-*.json"))
    except OSError:
        return []


def _said_of(aside: Path) -> str:
    return (
        f"A file of marks could not be understood and was set aside as {aside}. Its marks are not "
        "shown. Put it right and in place again, or delete it."
    )


def _elsewhere(fingerprint: str, root: Path | None) -> list[Mark]:
    """Return the marks of other data sets; what cannot be read of them is passed over."""
    found: list[Mark] = []
    with contextlib.suppress(OSError):
        for path in sorted((root or folder()).glob("*.json")):
            if path.stem != fingerprint and _FINGERPRINT.fullmatch(path.stem):
                with contextlib.suppress(_Damaged, MarkError):
                    found += _load(path).values()
    return found


def _change(
    fingerprint: str, file: str, mark: Mark | None, shown: Mark | None, root: Path | None
) -> None:
    """Give a file a mark or none, under the lock of what is on disk, and put that there whole."""
    path = _path(fingerprint, root)
    with _locked(path):
        after = _load_or_set_aside(path)
        if shown is not _ANY and after.get(file) != shown:
            raise MarkError(
                f"The mark on {file} was changed elsewhere in the meantime, and is left as it is. "
                "Look at it, and mark again."
            )
        after.pop(file, None)
        if mark is not None:
            after[file] = mark
        if len(after) > MOST:
            raise MarkError(f"There are {MOST:,} marks on this data already; no more are kept.")
        rows = [asdict(mark) for mark in _in_order(after)]
        draft = path.with_name(f"{path.stem}.{os.getpid()}.part")
        try:
            with draft.open("w", encoding="utf-8") as stream:
                json.dump({"format": _FORMAT, "marks": rows}, stream, ensure_ascii=False, indent=1)
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(path)
        except (OSError, UnicodeEncodeError) as error:
            draft.unlink(missing_ok=True)
            raise _unwritable(path, error) from error


@contextlib.contextmanager
def _locked(path: Path):
    lock = _take(path)
    try:
        yield
    finally:
        lock.release()


def _take(path: Path) -> FileLock:
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = FileLock(path.with_suffix(".lock"), timeout=_WAIT)
        lock.acquire(poll_interval=0.02)
    except Timeout:
        raise MarkError(
            f"Another session is writing marks in {path.parent}. Try again in a moment."
        ) from None
    except OSError as error:
        raise _unwritable(path, error) from error
    return lock


def _unwritable(path: Path, error: Exception) -> MarkError:
    why = getattr(error, "strerror", None) or error
    return MarkError(
        f"The mark was not kept: {path.parent} cannot be written ({why}). Free some space, or name "
        "another folder with KOP_MARKS."
    )


def _in_order(found: Mapping[str, Mark]) -> tuple[Mark, ...]:
    return tuple(found[file] for file in sorted(found))
