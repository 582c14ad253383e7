"""A model's folder as one file: out of this KOP, and into another.

A bundle is a zip archive with the model's files. These hold the names of image files and,
where that is known, whose they are, which may name patients; a bundle holds no picture and no
path of the machine that it was made on.

A bundle that comes in may have been made by anyone. Nothing of it is believed: its members
are counted while they are unpacked, only the four files of a model are taken, and these are
verified, figures and all, before they stand among the models. No code is loaded from it.
"""

from __future__ import annotations

import contextlib
import io
import json
import secrets
import shutil
import textwrap
import zipfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO

from kop_core import model_store, networks, wording
from kop_core.datasets.archives import (
    ArchiveLimits,
    is_litter,
    open_archive,
    shown_name,
    unsafe_kind,
    unsafe_path,
)
from kop_core.errors import BundleError, DataSetError, ModelError, RunError
from kop_core.evaluation import Predictions, evaluate, model_card
from kop_core.model_store import CARD, HISTORY, PREDICTIONS, WEIGHTS, Model
from kop_core.training.run_folder import RunFolder

README, SPLIT, RECORD = "README.txt", "split.csv", "run.json"
TAKEN = (CARD, WEIGHTS, HISTORY, PREDICTIONS)
# Bytes of each file that is taken, at most.
MAX_BYTES = {
    CARD: 2**20,
    WEIGHTS: model_store.MAX_MODEL_BYTES,
    HISTORY: 4 * 2**20,
    PREDICTIONS: 8 * 2**20,  # a hundred thousand images; measuring takes a minute then
}
_LIMITS = ArchiveLimits(
    max_members=64,
    max_directory=2**16,
    max_bytes=sum(MAX_BYTES.values()),
    max_member=max(MAX_BYTES.values()),
    max_depth=4,
    max_name=400,
)
_MAX_WORDS, _MAX_MESSAGE = 200, 600
_BLOCK = 2**18
_AGAIN = "Ask whoever made it for another."


def write_bundle(model: Model | str | Path, stream: BinaryIO) -> tuple[str, ...]:
    """Write a model, or a finished run, as a zip archive.

    The archive has a folder of the model's name with ``card.json``, ``model.keras``,
    ``history.csv`` and ``predictions.csv``; of a run also ``split.csv`` and ``run.json``,
    without the folder that its data was in; and ``README.txt``, which says what these are.
    They hold the names of image files. The same model gives the same bytes.

    Args:
        model: a model, or the folder of a model or of a finished run.
        stream: a file open for writing.

    Returns:
        The names of the files in it.

    Raises:
        RunError: if the run has not finished.
        ModelError: if the folder is damaged.
        BundleError: if the archive cannot be written.
    """
    if not isinstance(model, Model):
        folder = Path(model)
        if not (folder / CARD).is_file():
            raise RunError(f"{folder.name} is no model and no finished run: it has no {CARD}.")
        model = model_store.open_model(folder)
    model_store.verify(model)
    contents = _contents(model)
    try:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in contents.items():
                member = zipfile.ZipInfo(f"{model.id}/{name}")  # of 1980: no clock in it
                member.external_attr = 0o644 << 16
                # Weights do not shrink.
                method = zipfile.ZIP_STORED if name == WEIGHTS else zipfile.ZIP_DEFLATED
                archive.writestr(member, content, method)
    except OSError as error:
        raise BundleError(f"The bundle cannot be written ({error.strerror}).") from error
    return tuple(contents)


def _contents(model: Model) -> dict[str, bytes]:
    contents = {README: _readme(model).encode()}
    try:
        contents |= {name: (model.folder / name).read_bytes() for name in TAKEN}
        for name in (SPLIT, RECORD):
            path = model.folder / name
            if path.is_file():
                contents[name] = path.read_bytes()
    except OSError as error:
        raise ModelError(f"A file of {model.id} cannot be read ({error.strerror}).") from error
    if RECORD in contents:
        record = RunFolder(model.folder).read_record()
        contents[RECORD] = _as_json(_without_places(record)).encode()
    return contents


def _as_json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


def _without_places(record: dict[str, Any]) -> dict[str, Any]:
    """Return a run's record without paths of this machine, which may name people."""
    data = record["data"] if isinstance(record["data"], dict) else {}
    folder = data.get("folder")

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without(v) for key, v in value.items()}
        if isinstance(value, list):
            return [without(v) for v in value]
        if isinstance(value, str):
            if isinstance(folder, str) and folder.rstrip("/\\"):
                value = value.replace(folder, "…")
            if PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute():
                return PureWindowsPath(value).name
        return value

    return without({**record, "data": {k: v for k, v in data.items() if k != "folder"}})


def _readme(model: Model) -> str:
    said = "\n".join(f"- {s}" for s in (*model.card["statements"], *model.cautions))
    return f"""{model.title} ({model.id}, {model.version})

A model of KOP, which classifies knee radiographs as healthy, osteopenia or osteoporosis.
To use it, open KOP's page Train and choose "Bring a model from another KOP".

{said}

{CARD}         what it is and what it was measured to be worth
{WEIGHTS}       the weights of its network
{HISTORY}       a row an epoch of its training
{PREDICTIONS}   what it said of each image of its test part
{SPLIT}         which image was in which part, if it comes from a run
{RECORD}          the settings of the training, if it comes from a run

{PREDICTIONS} and {SPLIT} hold the names of image files, {CARD} and {RECORD} those of
files that were left out, and {SPLIT} says whose an image is where that is known. If any of
these name patients, the bundle is patient data, and is handled as such. There are no
pictures in it.
"""


def read_bundle(
    stream: BinaryIO | bytes | str | Path, name: str, models_folder: Path | None = None
) -> Model:
    """Take in a model that another KOP wrote as a bundle, after verifying it.

    Either everything holds and the model is there, or nothing is left behind. The card is
    given the model's new name and says that it was brought in, and when.

    Args:
        stream: the archive: a file open for reading, its bytes, or its path.
        name: the model's id here: small letters, digits, dots, hyphens, underscores.
        models_folder: of the models.

    Raises:
        RunError: if the name is taken or no name.
        BundleError: if it is no zip archive, holds no model or more than one, is damaged, is
            too large, has a member that is no plain file or leads out of it, differs from
            its card, or was made by a newer KOP.
    """
    folder = models_folder or model_store.default_folder()
    target = model_store.place_for(name, folder)
    # The model's own name inside, for messages; hidden, so that no list shows it meanwhile.
    draft = folder / f".{name}-{secrets.token_hex(4)}.part"
    try:
        draft.mkdir(parents=True)
        (draft / name).mkdir()
        _unpack(stream, draft / name)
        _admit(draft / name)
        try:
            (draft / name).rename(target)
        except OSError:
            model_store.place_for(name, folder)  # somebody else's came first
            raise
    except OSError as error:
        raise BundleError(
            f"The model cannot be written to {folder} ({error.strerror or error})."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return model_store.open_model(target)


def _unpack(stream: BinaryIO | bytes | str | Path, into: Path) -> None:
    """Write the four files of the model in an archive into a folder."""
    try:
        with _opened(stream) as opened, open_archive(opened, _LIMITS) as archive:
            for name, member in _members(archive).items():
                _copy(archive, member, into / name, MAX_BYTES[name])
    except DataSetError as error:  # no zip archive
        raise BundleError(str(error).replace("Pack the folder again.", _AGAIN)) from error


@contextlib.contextmanager
def _opened(stream: BinaryIO | bytes | str | Path) -> Iterator[BinaryIO]:
    if isinstance(stream, bytes):
        yield io.BytesIO(stream)
    elif isinstance(stream, (str, Path)):
        try:
            opened = Path(stream).open("rb")  # noqa: SIM115 - closed below
        except OSError as error:
            raise BundleError(f"{stream} cannot be opened ({error.strerror}).") from error
        with opened:
            yield opened
    else:
        yield stream


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the members of the one model in an archive by their names.

    One member that no KOP would have written is enough to take nothing.
    """
    members = archive.infolist()
    if len(members) > _LIMITS.max_members:
        raise BundleError(
            f"The archive has {len(members):,} members; a model's has at most "
            f"{_LIMITS.max_members}. Choose the file that KOP's export made."
        )
    found: dict[str, zipfile.ZipInfo] = {}
    for member in members:
        path = member.filename.replace("\\", "/")
        reason = unsafe_path(path.rstrip("/") or "/", _LIMITS)
        if not reason and not path.endswith("/"):
            reason = unsafe_kind(member)
        if not reason and path in found:
            reason = "there twice"
        if reason:
            raise BundleError(
                f"The archive is not taken in: its member {shown_name(member.filename)!r} is or "
                f"has a fault that no bundle of KOP has ({reason}). {_AGAIN}"
            )
        found[path] = member
    return _model_of(found)


def _model_of(found: dict[str, zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """Return a model's files among the members of an archive."""
    files = {p: m for p, m in found.items() if not p.endswith("/") and not is_litter(p)}
    cards = [path for path in files if path.rsplit("/", 1)[-1] == CARD]
    if not cards:
        raise BundleError(
            f"The archive is no model of KOP: there is no {CARD} in it. Choose the file that "
            "KOP's export made."
        )
    if len(cards) > 1:
        raise BundleError(f"The archive holds {len(cards)} models. Bring them in one by one.")
    above = cards[0].removesuffix(CARD)
    missing = [name for name in TAKEN if above + name not in files]
    if missing:
        raise BundleError(f"The model in the archive lacks its {', '.join(missing)}. {_AGAIN}")
    return {name: files[above + name] for name in TAKEN}


def _copy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, limit: int) -> None:
    """Write one member; what it says of its size is not believed."""
    size = 0
    with path.open("xb") as out:
        for block in _blocks(archive, member):
            size += len(block)
            if size > limit:
                raise BundleError(
                    f"The {path.name} in the archive has more than {limit / 1e6:,.0f} MB, which is "
                    "the most that a model of KOP has."
                )
            out.write(block)


def _blocks(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with archive.open(member) as source:
            while block := source.read(_BLOCK):
                yield block
    except Exception as error:  # a checksum that fails, bytes that end, a decoder's own errors
        raise BundleError(
            f"The {shown_name(member.filename)} in the archive is damaged: its bytes are not those "
            f"that were packed. {_AGAIN}"
        ) from error


def _admit(folder: Path) -> None:
    """Verify what was unpacked, and give the card its new name."""
    try:
        model = model_store.open_model(folder)
        model_store.verify(model)
    except ModelError as error:
        # It may quote what the card says, however long that is.
        said = textwrap.shorten(str(error), _MAX_MESSAGE, placeholder=" …")
        said = said.replace(model_store.RESTORE, _AGAIN)
        raise BundleError(f"The model in the archive is not taken in. {said}") from error
    _check_options(model)
    _check_history(model)
    _check_words(model)
    now = datetime.now(timezone.utc)
    card = {**model.card, "id": folder.name}
    card["imported"] = {"id": model.card["id"], "at": now.isoformat(timespec="seconds")}
    # Measured here: only accuracy and counts were compared until now.
    card["evaluation"] = evaluate(Predictions.read(folder / PREDICTIONS)).get_config()
    card["statements"] = [
        *card["statements"],
        f"Brought in on {now:%Y-%m-%d} from another KOP. Its figures follow from the predictions "
        "that came with it; what it says of its data and its training cannot be checked here.",
    ]
    (folder / CARD).write_text(_as_json(card), encoding="utf-8")


def _check_words(model: Model) -> None:
    """Refuse names and facts that no page could show."""
    for key in ("id", "title", "version"):
        word = model.card[key]
        if not (word.isprintable() and 0 < len(word) <= _MAX_WORDS):
            raise BundleError(f"The card in the archive has no {key} that can be shown. {_AGAIN}")
    try:
        damaged = model_card.damaged(model.card)
        wording.calibration(model.card)
        wording.accuracy(model.card["evaluation"])
        wording.split_badge(model.card["split"])
        _as_json(model.card).encode()  # no halves of characters, and not nested without end
    except Exception as error:  # every other fact, of any kind, may be missing or something else
        raise BundleError(
            f"The card in the archive says something that cannot be shown. {_AGAIN}"
        ) from error
    if damaged:
        raise BundleError(
            "The card in the archive says something that cannot be shown, as in its item "
            f"“{damaged[0]}”. {_AGAIN}"
        )


def _check_options(model: Model) -> None:
    """Refuse options that the network does not have, or of another kind than its own."""
    network = networks.get(model.card["network"])
    known, given = network.options, model.card["options"]
    for key, value in given.items():
        kind = type(known.get(key))
        fits = key in known and (
            isinstance(value, (int, float)) and not isinstance(value, bool)
            if kind is float
            else type(value) is kind
        )
        fits = fits and network.wrong_options({key: value}) is None
        if not fits:
            raise BundleError(
                f"The card in the archive sets {key[:_MAX_WORDS]!r} of the network "
                f"{model.card['network']}, which this KOP cannot do. Update KOP, or ask for "
                "another."
            )


def _check_history(model: Model) -> None:
    try:
        RunFolder(model.folder).read_history()
    except Exception as error:  # a table of somebody's own fails in many ways
        raise BundleError(
            f"The {HISTORY} in the archive is no history of a training. {_AGAIN}"
        ) from error
