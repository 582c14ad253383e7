"""What came out, as small files beside the page: JSON, and predictions of every repeat.

``<data>/results.json`` and ``<data>/<arm>/<network>/repeat-1.csv``, the test parts of all
folds of a repeat together. The page follows from these alone. Beside them are the folds of
repeats that are not whole yet, see :mod:`kop_core.benchmarking.folds`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kop_core import model_store, wording
from kop_core.benchmarking import folds, runs
from kop_core.benchmarking.folds import Fold
from kop_core.benchmarking.planning import (
    OF_A_NETWORK,
    REFERENCE,
    Job,
    Series,
    as_today,
)
from kop_core.errors import DataSetError, RunError
from kop_core.evaluation import Predictions, repeated
from kop_core.evaluation.repeated import Repeated
from kop_core.training.config import differing
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
# Settings in which arms may differ.
_OF_AN_ARM = {"split", "conflicts", "seed", "folds"}
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

    What was collected before stays, though its runs may be gone: whole repeats, and folds of
    those that are not whole yet.

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
    begun = [entry for entry in stored["entries"] if _counts(entry, folder)]
    for series in wanted:
        _require_same(folder, begun, series)
        if not _is_finished(entries.get(series.key)):
            finished = [entry for entry in entries.values() if _is_finished(entry)]
            entries[series.key] = _entry(series, runs_folder, folder, known, finished)
    record = {
        "format": _FORMAT,
        "name": name,
        "quick": quick,
        "data": dict(data or stored["data"]),
        "entries": list(entries.values()),
        "speed": dict(speed) if speed else stored["speed"],
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RESULTS, {**record, "checksum": folds.checksum(record)})
    for entry in entries.values():
        if _is_finished(entry):  # one table holds its folds now
            shutil.rmtree(folder / _folds_name(_key(entry)), ignore_errors=True)
    return folder / RESULTS


def _key(entry: Mapping[str, Any]) -> tuple[str, str, int]:
    return (entry["arm"], entry["network"], entry["repeat"])


def _is_finished(entry: Mapping[str, Any] | None) -> bool:
    return entry is not None and entry["state"] == runs.FINISHED


def _counts(entry: Mapping[str, Any], folder: Path) -> bool:
    """Return whether there is a result of an entry, be it of one fold.

    Without one its settings are only what somebody wanted once, and bind nobody.
    """
    place = folder / _folds_name(_key(entry))
    return _is_finished(entry) or any(place.glob(folds.EVERY))


def _require_same(folder: Path, there: Sequence[Mapping[str, Any]], series: Series) -> None:
    """See that a series has the budget of the others, and the folds of those of its arm.

    Its network has the same settings in all repeats. Each repeat has a seed of its own, one
    above that of the repeat before.
    """
    wanted = {**series.settings, "seed": series.settings["seed"] - series.repeat + 1}
    for entry in there:
        free = set() if entry["network"] == series.network else OF_A_NETWORK
        if entry["arm"] != series.arm:
            free = _OF_AN_ARM | OF_A_NETWORK
            if entry["network"] == series.network:  # whose size and speed are one row
                free = free - {"size"}
        settings = {**entry["settings"], "seed": entry["settings"]["seed"] - entry["repeat"] + 1}
        found = differing(settings, {k: v for k, v in wanted.items() if k not in free})
        if found:
            raise RunError(
                f"{folder} holds results of {entry['network']} ({entry['arm']}) with other "
                f"settings: {', '.join(found)}. {_ANOTHER}"
            )


def _entry(
    series: Series,
    runs_folder: Path,
    folder: Path,
    fingerprint: str | None,
    finished: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return what ``results.json`` says of a series.

    Its folds that have finished are kept in the page's folder, or, once they are all there,
    their predictions as one table.
    """
    place = folder / _folds_name(series.key)
    found, new = _folds(series, runs_folder, place, fingerprint)
    _require_fit(series, found, finished)
    for fold in new:
        folds.keep(fold, place)
    entry: dict[str, Any] = {
        "arm": series.arm,
        "network": series.network,
        "repeat": series.repeat,
        "state": runs.UNFINISHED,
        "settings": series.settings,
        "folds": len(series.jobs),
        "folds_done": len(found),
    }
    if len(found) < len(series.jobs):
        return entry
    path = folder / predictions_name(entry)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(pool([Predictions.read(fold.table) for fold in found]), path)
    return entry | {
        "state": runs.FINISHED,
        "parameters": found[0].record["parameters"],
        "began_with": found[0].record["began_with"],
        "predictions": model_store.checksum(path),
        "of_folds": [fold.record["facts"] for fold in found],
    }


def _folds(
    series: Series, runs_folder: Path, place: Path, fingerprint: str | None
) -> tuple[list[Fold], list[Fold]]:
    """Return the folds of a series that have finished, by number, and those that are not kept yet.

    Args:
        series: what is wanted.
        runs_folder: of the data set's runs.
        place: where its folds are kept.
        fingerprint: of the data, if that is known.

    Raises:
        RunError: if one has other settings or data, or was altered.
    """
    found = {fold.number: fold for fold in folds.kept(place)}
    jobs = {job.config.fold: job for job in series.jobs}
    for number, fold in found.items():
        fold.check(jobs.get(number, series.jobs[0]), fingerprint)
    new = []
    for number, job in jobs.items():
        run = RunFolder(runs_folder / job.name)
        if number in found or runs.state(run) == runs.MISSING:
            continue
        record = runs.check(run, job, fingerprint)
        if runs.state(run) == runs.FINISHED:
            found[number] = folds.of_run(run, record)
            new.append(found[number])
    return [found[number] for number in sorted(found)], new


def _require_fit(
    series: Series, found: Sequence[Fold], finished: Sequence[Mapping[str, Any]]
) -> None:
    """See that folds began as all of their network did, and test what others of the arm test.

    Args:
        series: whose they are.
        found: those that have finished.
        finished: entries that have finished.

    Raises:
        RunError: if not.
    """
    what = f"{series.network} ({series.arm}, repeat {series.repeat})"
    again = "away, and the benchmark trains it again; or name another folder with --out."
    begins = [entry["began_with"] for entry in finished if entry["network"] == series.network]
    tested = [
        (entry["network"], [fold.get("tested") for fold in entry["of_folds"]])
        for entry in finished
        if (entry["arm"], entry["repeat"]) == (series.arm, series.repeat)
    ]
    for fold in found:
        begins.append(fold.record["began_with"])
        if begins[-1] != begins[0]:
            raise RunError(
                f"The runs of {what} began with different weights: their file was exchanged. Take "
                f"{fold.table.parent} {again}"
            )
        mine = fold.record["facts"]["tested"]
        for network, theirs in tested:
            if theirs[fold.number - 1] not in (None, mine):
                raise RunError(
                    f"Fold {fold.number} of {what} does not test what it tests of {network}: the "
                    "files that could be read are others, or the rule by which copies are found. "
                    f"Take {fold.table.parent} {again}"
                )


def _folds_name(key: tuple[str, str, int]) -> Path:
    arm, network, repeat = key
    return Path(arm) / network / f"repeat-{repeat}"


def predictions_name(entry: Mapping[str, Any]) -> Path:
    """Return where the predictions of a series are, below its data set's folder."""
    folder = _folds_name(_key(entry))
    return folder.with_name(folder.name + ".csv")


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
        if record["checksum"] != folds.checksum(record):
            raise RunError(f"{path} was altered after it was written. {again}")
        for entry in record["entries"]:
            # Settings that came later have their defaults: so they compare with today's.
            entry["settings"] = as_today(entry["settings"])
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

    def holds(self, series: Series, job: Job) -> bool:
        """Return whether one fold of a series was collected, its run at hand or not."""
        place = self.folder / _folds_name(series.key)
        return self.has(series) or folds.file_of(place, job.config.fold).is_file()

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


# A page is written after every job: what is known of a table does not change with it.
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
