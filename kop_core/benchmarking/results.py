"""What came out, as small files beside the page: JSON, and predictions of every repeat.

``<data>/results.json`` and ``<data>/<arm>/<network>/repeat-1.csv``, the test parts of all
folds of a repeat together. The page follows from these alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kop_core import model_store, wording
from kop_core.benchmarking import runs
from kop_core.benchmarking.planning import REFERENCE, Series, differing
from kop_core.errors import DataSetError, RunError
from kop_core.evaluation import Predictions, repeated
from kop_core.evaluation.repeated import Repeated
from kop_core.training.finishing import conflicts
from kop_core.training.run_folder import RunFolder, replacing, write_json

if TYPE_CHECKING:
    from kop_core.datasets import DataSet

RESULTS = "results.json"
OF_IMAGES = ("macro_roc_auc", "balanced_accuracy", "macro_f1", "accuracy")
BY_RADIOGRAPH = "accuracy_by_radiograph"
FIGURES = (*OF_IMAGES, BY_RADIOGRAPH)
_FORMAT = 1
_ENTRY = {"arm", "network", "repeat", "state", "settings", "folds", "folds_done"}
_FINISHED = {"parameters", "began_with", "predictions", "of_folds"}
_ANOTHER = "Name another folder with --out, or take that one away."


def facts(scanned: DataSet, data: DataSet) -> dict[str, Any]:
    """Return what the page says of a data set.

    Args:
        scanned: as it says of itself.
        data: the same, of which it is known which radiograph each file shows.
    """
    from kop_core.datasets import Split

    return {
        "fingerprint": scanned.fingerprint,
        "files": len(data.items),
        "classes": data.counts(),
        **conflicts(Split("radiograph", 0, data.items, ())),
        "radiographs_from": "data set" if all(i.radiograph for i in scanned.items) else "audit",
    }


def collect(
    name: str,
    runs_folder: Path,
    wanted: Sequence[Series],
    out: Path,
    data: Mapping[str, Any] | None = None,
    quick: bool = False,
    speed: Mapping[str, Any] | None = None,
) -> Path:
    """Put what is finished into the page's folder, and note what is not.

    What was collected before stays, though its runs may be gone.

    Args:
        name: of the data set.
        runs_folder: of the data set's runs.
        wanted: what is asked for.
        out: folder of the page.
        data: see :func:`facts`; ``None`` if the pictures are not at hand.
        quick: whether it proves nothing.
        speed: see :func:`kop_core.benchmarking.speed.measure`; what is there stays else.

    Returns:
        The data set's ``results.json``.

    Raises:
        RunError: if a run, or what was collected before, has other settings or data, or was
            altered.
    """
    folder = out / name
    before = read(folder) if (folder / RESULTS).is_file() else None
    stored = before.record if before else {"data": {}, "entries": [], "speed": None}
    known = (data or stored["data"]).get("fingerprint")
    if before and stored["data"]["fingerprint"] != known:
        raise RunError(
            f"{folder} holds the results of other pictures (another fingerprint). {_ANOTHER}"
        )
    entries = {_key(entry): entry for entry in stored["entries"]}
    for series in wanted:
        there = entries.get(series.key)
        if there is not None:
            _require_same(folder, there, series)
        if there is None or there["state"] != runs.FINISHED:
            entries[series.key] = _entry(series, runs_folder, folder, known)
    record = {
        "format": _FORMAT,
        "name": name,
        "quick": quick,
        "data": dict(data or stored["data"]),
        "entries": list(entries.values()),
        "speed": dict(speed) if speed else stored["speed"],
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RESULTS, {**record, "checksum": _checksum(record)})
    return folder / RESULTS


def _key(entry: Mapping[str, Any]) -> tuple[str, str, int]:
    return (entry["arm"], entry["network"], entry["repeat"])


def _require_same(folder: Path, there: Mapping[str, Any], series: Series) -> None:
    found = differing(there["settings"], series.settings)
    if found:
        raise RunError(
            f"{folder} holds results of {series.network} ({series.arm}) with other settings: "
            f"{', '.join(found)}. {_ANOTHER}"
        )


def _checksum(record: Mapping[str, Any]) -> str:
    plain = {k: v for k, v in record.items() if k != "checksum"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _entry(
    series: Series, runs_folder: Path, folder: Path, fingerprint: str | None
) -> dict[str, Any]:
    """Return what ``results.json`` says of a series; write its predictions if it is finished."""
    found = [RunFolder(runs_folder / job.name) for job in series.jobs]
    records = []
    for run, job in zip(found, series.jobs):
        if runs.state(run) != runs.MISSING:
            records.append(runs.check(run, job, fingerprint))
    done = [run for run in found if runs.state(run) == runs.FINISHED]
    entry: dict[str, Any] = {
        "arm": series.arm,
        "network": series.network,
        "repeat": series.repeat,
        "state": runs.UNFINISHED,
        "settings": series.settings,
        "folds": len(found),
        "folds_done": len(done),
    }
    if len(done) < len(found):
        return entry
    cards = [runs.read_card(run) for run in found]
    begins = [record.get("pretrained") for record in records]
    if any(one != begins[0] for one in begins):
        raise RunError(
            f"The folds of {series.network} ({series.arm}, repeat {series.repeat}) began with "
            f"different weights: their file was exchanged. Take {found[0].path.parent} away, and "
            "the benchmark trains them again."
        )
    path = folder / predictions_name(entry)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(pool([Predictions.read(run.predictions) for run in found]), path)
    return entry | {
        "state": runs.FINISHED,
        "parameters": cards[0]["parameters"],
        "began_with": begins[0],
        "predictions": model_store.checksum(path),
        "of_folds": [_of_fold(*both) for both in zip(found, records, cards)],
    }


def _of_fold(run: RunFolder, record: Mapping[str, Any], card: Mapping[str, Any]) -> dict[str, Any]:
    history = run.read_history()
    return {
        "epochs": len(history),
        "minutes": round(sum(row["seconds"] for row in history) / 60, 2),
        "precision": record.get("precision"),
        "versions": record.get("versions", {}),
        "split": {k: v for k, v in card["split"].items() if k not in ("protocol", "seed")},
    }


def predictions_name(entry: Mapping[str, Any]) -> Path:
    """Return where the predictions of a series are, below its data set's folder."""
    return Path(entry["arm"]) / entry["network"] / f"repeat-{entry['repeat']}.csv"


def _write(predictions: Predictions, path: Path) -> None:
    draft = path.with_name(path.name + ".part")
    try:
        predictions.write(draft)
        content = draft.read_bytes()
    finally:
        draft.unlink(missing_ok=True)
    with replacing(path) as stream:
        stream.write(content)


def pool(parts: Sequence[Predictions]) -> Predictions:
    """Return the test parts of all folds as one table, in the order of the files.

    Raises:
        RunError: if an image was tested twice.
    """
    files = [file for part in parts for file in part.files]
    if len(set(files)) < len(files):
        raise RunError("The folds overlap: an image was tested twice. Train them anew.")
    order = sorted(range(len(files)), key=files.__getitem__)
    radiographs = [radiograph for part in parts for radiograph in part.radiographs]
    return Predictions(
        tuple(files[i] for i in order),
        tuple(radiographs[i] for i in order),
        np.concatenate([part.true for part in parts])[order],
        np.concatenate([part.probabilities for part in parts])[order],
    )


def read(folder: Path) -> Results:
    """Read what :func:`collect` wrote.

    Raises:
        RunError: if it is damaged or was altered.
    """
    path = folder / RESULTS
    again = "Restore it from where it came, or take it away and run the benchmark again."
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != _FORMAT:
            raise RunError(f"{path} was written by another version of KOP. {again}")
        if record["checksum"] != _checksum(record):
            raise RunError(f"{path} was altered after it was written. {again}")
        for entry in record["entries"]:
            needed = _ENTRY | (_FINISHED if entry["state"] == runs.FINISHED else set())
            if not entry.keys() >= needed:
                raise ValueError("an entry is incomplete")
        found = Results(folder, record)
        _ = found.name, found.quick, record["data"]["fingerprint"], record["speed"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"{path} cannot be read ({error!r}). {again}") from error
    for entry in found.finished:
        table = folder / predictions_name(entry)
        try:
            same = model_store.checksum(table) == entry["predictions"]
        except OSError as error:
            raise RunError(f"{table} cannot be read ({error.strerror}). {again}") from error
        if not same:
            raise RunError(f"{table} was altered after it was collected. {again}")
    return found


def read_all(out: Path) -> list[Results]:
    """Return the results of every data set in a page's folder, quick ones last."""
    found = [read(path.parent) for path in sorted(out.glob(f"*/{RESULTS}"))]
    return sorted(found, key=lambda results: results.quick)


@dataclass(frozen=True)
class Results:
    """What came out for one data set.

    Attributes:
        folder: where its files are.
        record: what ``results.json`` says.
    """

    folder: Path
    record: dict[str, Any]

    @property
    def name(self) -> str:
        """The data set's name."""
        return str(self.record["name"])

    @property
    def quick(self) -> bool:
        """Whether the figures prove nothing but that everything works."""
        return bool(self.record["quick"])

    @property
    def data(self) -> dict[str, Any]:
        """Facts of the data set, see :func:`facts`."""
        return self.record["data"]

    @property
    def speed(self) -> dict[str, Any] | None:
        """How fast the networks are, see :func:`kop_core.benchmarking.speed.measure`."""
        return self.record["speed"]

    @property
    def entries(self) -> list[dict[str, Any]]:
        """One entry a series, finished or not."""
        return self.record["entries"]

    @property
    def finished(self) -> list[dict[str, Any]]:
        """Entries of the series whose folds have all finished."""
        return [entry for entry in self.entries if entry["state"] == runs.FINISHED]

    def has(self, series: Series) -> bool:
        """Return whether a series is finished and collected, its runs at hand or not."""
        return any(_key(entry) == series.key for entry in self.finished)

    @cached_property
    def arms(self) -> tuple[Arm, ...]:
        """The kinds of split that have finished series, by radiograph first."""
        found: dict[str, list[dict[str, Any]]] = {}
        for entry in self.finished:
            found.setdefault(entry["arm"], []).append(entry)
        order = sorted(found, key=lambda arm: (arm.startswith("random"), arm))
        return tuple(Arm(self.folder, arm, tuple(found[arm])) for arm in order)


@dataclass(frozen=True)
class Arm:
    """All finished series of one data set by one kind of split.

    Attributes:
        folder: of the data set's results.
        name: of the kind of split.
        entries: of ``results.json``.
    """

    folder: Path
    name: str
    entries: tuple[dict[str, Any], ...]

    @property
    def networks(self) -> tuple[str, ...]:
        """Networks that have finished a repeat, the one that all are held against first."""
        found = dict.fromkeys(entry["network"] for entry in self.entries)
        return tuple(sorted(found, key=lambda network: network != REFERENCE))

    def of(self, network: str) -> tuple[dict[str, Any], ...]:
        """Return the entries of a network, by repeat."""
        found = [entry for entry in self.entries if entry["network"] == network]
        return tuple(sorted(found, key=lambda entry: entry["repeat"]))

    @property
    def folds(self) -> int:
        """How many folds each repeat has."""
        return self.entries[0]["folds"]

    @property
    def protocol(self) -> str:
        """What stays together."""
        return self.entries[0]["settings"]["split"]

    @property
    def badge(self) -> str:
        """What a badge beside its figures says, with the copies of all its test parts."""
        splits = [fold["split"] for entry in self.entries for fold in entry["of_folds"]]
        shares = {}
        for name in ("identical", "same_radiograph"):
            counts = [split.get(name) for split in splits]
            files = sum(split["test_files"] for split in splits)
            known = None not in counts and files
            shares[f"{name}_share"] = sum(counts) / files if known else None
        settings = self.entries[0]["settings"]
        given = {"protocol": self.protocol, "conflicts": settings["conflicts"], **shares}
        return wording.split_badge(given)[0]

    def _tables(self, entries: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
        return tuple((str(self.folder / predictions_name(e)), e["predictions"]) for e in entries)

    def predictions(self, network: str) -> tuple[Predictions, ...]:
        """Return what a network said of all images, once a repeat."""
        return tuple(_read(*table) for table in self._tables(self.of(network)))

    def figures(self, network: str) -> dict[str, Repeated]:
        """Return the figures of a network over its repeats, by name (:data:`FIGURES`)."""
        return _figures(self._tables(self.of(network)))

    def differences(self, network: str) -> tuple[dict[str, Repeated], int] | None:
        """Return by how much a network is above the one that all are held against.

        Returns:
            Figures by name, and over how many repeats: those that both have. ``None`` if
            there is none, or the images are not the same.
        """
        theirs = {entry["repeat"]: entry for entry in self.of(REFERENCE)}
        ours = [entry for entry in self.of(network) if entry["repeat"] in theirs]
        if network == REFERENCE or not ours:
            return None
        paired = [theirs[entry["repeat"]] for entry in ours]
        try:
            return _differences(self._tables(ours), self._tables(paired)), len(ours)
        except DataSetError:
            return None


# A page is written after every series: what is known of a table does not change with it.
_Tables = tuple[tuple[str, str], ...]


@lru_cache(maxsize=512)
def _read(path: str, _checksum: str) -> Predictions:
    return Predictions.read(Path(path))


@lru_cache(maxsize=512)
def _figures(tables: _Tables) -> dict[str, Repeated]:
    found = [_read(*table) for table in tables]
    once = repeated.figures([repeated.by_radiograph(one) for one in found], ("accuracy",))
    return {**repeated.figures(found, OF_IMAGES), BY_RADIOGRAPH: once["accuracy"]}


@lru_cache(maxsize=512)
def _differences(ours: _Tables, theirs: _Tables) -> dict[str, Repeated]:
    a, b = ([_read(*table) for table in tables] for tables in (ours, theirs))
    once = repeated.differences(
        *([repeated.by_radiograph(one) for one in both] for both in (a, b)), ("accuracy",)
    )
    return {**repeated.differences(a, b, OF_IMAGES), BY_RADIOGRAPH: once["accuracy"]}
