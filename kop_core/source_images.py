"""The pictures behind a model's test files, where they are on this machine.

A model's folder names its test files and holds none of them. They may lie where a run read
them, among what was unpacked for runs, or in a folder that a person names. Wherever it is
found, a picture is shown only if its bytes are those that were measured: every file is
compared with its digest at the moment that it is read, and no name leads out of the folder.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from kop_core import model_store
from kop_core.datasets import scanning, tables
from kop_core.datasets.scanning import Item, scan
from kop_core.datasets.splits import Split
from kop_core.errors import DataSetError, ModelError, RunError
from kop_core.evaluation.cells import Facts
from kop_core.model_store import Model
from kop_core.radiographs import LIMITS
from kop_core.training import kept_data, runs
from kop_core.training.run_folder import RunFolder

# Columns of a table of patients that may say which knee a file shows.
_SIDE = ("laterality", "side", "knee", "kneeside", "leg")
_SIDES = {
    "r": "right", "right": "right", "l": "left", "left": "left",
    "b": "both", "both": "both", "bilateral": "both",
}  # fmt: skip
_LARGEST_HEADER = 4 * 2**20


@dataclass(frozen=True, eq=False)
class SourceImages:
    """A folder of which it is known that it holds a model's data.

    Attributes:
        root: the folder.
        items: every file of the data set, with class, radiograph and digest.
        trained_on: files of the training part; ``None`` if that is not known.
        sides: which knee a file shows, by file, where a table of the data set says it.
    """

    root: Path
    items: tuple[Item, ...]
    trained_on: tuple[str, ...] | None = None
    sides: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_digests", {i.file: i.sha256 for i in self.items})

    def digest(self, file: str) -> str | None:
        """Return the digest of a file as it was measured, if the data set has it."""
        return self._digests.get(file) or None

    def read(self, file: str) -> bytes:
        """Return the bytes of a test file, if they are the ones that were measured.

        Raises:
            DataSetError: if the file is not there, is another by now, or is none of the
                data set.
        """
        digest = self.digest(file)
        path = _inside(self.root, file)
        if digest is None or path is None:
            raise DataSetError(f"{file} is no file of the data in {self.root}.")
        try:
            if path.stat().st_size > LIMITS.max_bytes:
                raise DataSetError(f"{file} is larger than the pictures that KOP reads.")
            data = path.read_bytes()
        except OSError as error:
            raise DataSetError(
                f"{file} is no longer in {self.root} ({error.strerror}). Put it back to see it."
            ) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise DataSetError(
                f"{file} in {self.root} is not the picture that was measured any more. It is not "
                "shown; put the former one back to see it."
            )
        return data

    def facts(self, file: str) -> Facts:
        """Return the size and the side of a file, as far as they are known.

        The size is that of the file's header, whatever turn an EXIF mark asks for. It is
        not compared with a digest: to read all of every file would take too long.
        """
        side = self.sides.get(file)
        path = _inside(self.root, file)
        if path is None:
            return Facts(None, side)
        size, written = _header(path)
        return Facts(size, written or side)


def find(
    model: Model,
    named: Path | None = None,
    root: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SourceImages:
    """Find the pictures of a model's data on this machine.

    Args:
        model: the model.
        named: a folder (or a table of files) that a person names: it alone is looked at.
        root: the runs folder, see :func:`kop_core.training.runs.default_root`.
        progress: called with files done and files in all, of each folder.

    Raises:
        DataSetError: if they are not found; the sentence says what to do.
    """
    fingerprint, name = model.card["data"].get("fingerprint"), data_name(model)
    if not isinstance(fingerprint, str) or not fingerprint:
        raise DataSetError(
            "What data the model was tested on is not on its card, so no picture can be known to "
            "be one of them."
        )
    records = [r for r in runs.list_runs(root) if _fingerprint(r.record) == fingerprint]
    # A table of parts with digests is as good from any run on the data; which files were
    # trained on says that of the model's own run alone.
    split = next(filter(None, map(_split, records)), None)
    own = next(filter(None, (_split(r) for r in records if _made(r, model))), None)
    trained = tuple(i.file for i in own.training) if own else None
    if named is not None:
        return _checked(named, model, split, trained, progress)
    for folder in _candidates(records, name, root):
        try:
            return _checked(folder, model, split, trained, progress)
        except DataSetError:
            continue
    raise DataSetError(
        f"The pictures of {name} are not where KOP looks for them on this machine: no run on them "
        "is here, and no archive of them was unpacked. Name their folder to see them."
    )


def data_name(model: Model) -> str:
    """Return what the data is called that a model was tested on."""
    return str(model.card["data"].get("name") or "its data")


def _candidates(records: Sequence[runs.Run], name: str, root: str | Path | None) -> Iterator[Path]:
    seen = set()
    for run in records:
        if run.data_folder is not None and run.data_folder not in seen:
            seen.add(run.data_folder)
            yield run.data_folder
    try:
        unpacked = sorted(p for p in kept_data.folder(root).iterdir() if p.is_dir())
    except OSError:
        return
    for place in unpacked:
        folder = place / name
        # The name is the card's, which anybody may have written.
        if not place.name.startswith(".") and PurePosixPath(name).name == name and folder.is_dir():
            yield folder


def _checked(
    folder: Path,
    model: Model,
    split: Split | None,
    trained: tuple[str, ...] | None,
    progress: Callable[[int, int], None] | None,
) -> SourceImages:
    """Return what is in a folder, if it is the data that a model was tested on."""
    try:
        data = scan(folder, progress)
    except OSError as error:
        raise DataSetError(f"{folder} cannot be opened ({error.strerror}).") from error
    if data.fingerprint == model.card["data"]["fingerprint"]:
        # The table that a run wrote names the radiographs where the data set does not.
        items = split.items if split and not all(i.radiograph for i in data.items) else data.items
        return SourceImages(data.folder, items, trained, _sides(data))
    digests = {i.file: i.sha256 for i in split.items} if split else {}
    same = sum(digests.get(i.file) == i.sha256 for i in data.items)
    if not same:
        raise DataSetError(
            f"{folder} holds other data than the model was tested on: its {len(data.items):,} "
            f"files have another fingerprint than the {_count(model)} of {data_name(model)} on the "
            "model's card. One file that was changed, added or taken away is enough for that. A "
            "picture of another data set is not shown under a name of this one: put the files back "
            "as they were."
        )
    return SourceImages(data.folder, split.items, trained, _sides(data))


def _count(model: Model) -> str:
    files = model.card["data"].get("files")
    return f"{files:,} files" if isinstance(files, int) else "files"


def _fingerprint(record: Mapping[str, Any] | None) -> str | None:
    data = record.get("data") if record else None
    return data.get("fingerprint") if isinstance(data, dict) else None


def _made(run: runs.Run, model: Model) -> bool:
    """Return whether a run ended with the model's weights."""
    try:
        card = model_store.open_model(run.folder).card
    except ModelError:
        return False
    weights = model_store.WEIGHTS
    return card["checksums"][weights] == model.card["checksums"][weights]


def _split(run: runs.Run) -> Split | None:
    """Return the parts of a run, if its table can be read."""
    try:
        return Split.read(RunFolder(run.folder).split, "radiograph", 0)
    except (DataSetError, RunError):
        return None


def _inside(root: Path, file: str) -> Path | None:
    """Return where a file of a folder lies, or ``None`` if its name leads out of it."""
    plain = PurePosixPath(file)
    if "\0" in file or not file or plain.is_absolute() or ".." in plain.parts:
        return None
    if PureWindowsPath(file).drive or ".." in PureWindowsPath(file).parts:
        return None
    path = root / file
    try:
        inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):
        return None
    return path if inside else None


# What is known of a file beside its pixels.


def _sides(data: scanning.DataSet) -> dict[str, str]:
    """Return which knee each file shows, where a table of patients says it."""
    columns = dict.fromkeys(c for row in data.patients.values() for c in row)
    column = tables.Table(data.folder, tuple(columns), ()).column(_SIDE)
    if column is None:
        return {}
    written = {f: row.get(column, "").strip().lower() for f, row in data.patients.items()}
    return {file: _SIDES[word] for file, word in written.items() if word in _SIDES}


def _header(path: Path) -> tuple[tuple[int, int] | None, str | None]:
    """Return size and side that a file's header gives."""
    from PIL import Image

    try:
        with path.open("rb") as stream:
            head = stream.read(132)
            if head[128:132] == b"DICM":
                stream.seek(0)
                return _dicom_header(stream.read(_LARGEST_HEADER))
            stream.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with Image.open(stream) as picture:
                    return picture.size, None
    except Exception:  # hostile bytes make decoders raise anything at all
        return None, None


def _dicom_header(data: bytes) -> tuple[tuple[int, int] | None, str | None]:
    import pydicom

    keywords = ["Rows", "Columns", "ImageLaterality", "Laterality"]
    found = pydicom.dcmread(
        io.BytesIO(data), stop_before_pixels=True, specific_tags=keywords, force=False
    )
    word = str(found.get("ImageLaterality") or found.get("Laterality") or "").strip().lower()
    rows, columns = found.get("Rows"), found.get("Columns")
    size = (int(columns), int(rows)) if rows and columns else None
    return size, _SIDES.get(word)
