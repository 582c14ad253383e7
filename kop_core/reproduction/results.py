"""What came out, as small files beside the page: JSON, histories and predictions.

``<data>/results.json``, ``<data>/<run>/history.csv`` and ``<data>/<run>/predictions.csv``.
The page follows from these alone.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kop_core import model_store, wording
from kop_core.errors import RunError
from kop_core.evaluation import Evaluation, Predictions, evaluate
from kop_core.reproduction import examining, runs
from kop_core.reproduction.settings import Job
from kop_core.training.config import TrainingConfig
from kop_core.training.run_folder import RunFolder, replacing, write_json

if TYPE_CHECKING:
    from kop_core.datasets import DataSet
    from kop_core.datasets.audit import SplitExamined
    from kop_core.datasets.audit.engine import Progress

RESULTS = "results.json"
_FORMAT = 1
_ENTRY = {"name", "state", "config"}
_CONFIG = {"split", "folds", "seed", "epochs"}


def collect(
    name: str,
    runs_folder: Path,
    jobs: Sequence[Job],
    out: Path,
    source: DataSet | None = None,
    looking: Progress | None = None,
) -> Path:
    """Copy what is finished into the page's folder, and note what is not.

    Runs that were collected before stay, though their folders may be gone. If the pictures
    are at hand, what the audit finds in them and in the split of each finished run is noted
    too; if not, what was noted before stays.

    Args:
        name: of the data set.
        runs_folder: with a folder for each job that has begun.
        jobs: what is wanted.
        out: folder of the page.
        source: the data set, if it is at hand.
        looking: called as the audit looks at pictures, see
            :func:`kop_core.datasets.audit.audit`.

    Returns:
        The data set's ``results.json``.

    Raises:
        RunError: if a run, or what was collected before, has other settings or data.
        ModelError: if the files of a finished run were altered.
    """
    folder = out / name
    before = read(folder) if (folder / RESULTS).is_file() else None
    kept = {run["name"]: run for run in (before.record["runs"] if before else ())}
    stored_data = before.record["data"] if before else {}
    fingerprint = source.fingerprint if source else stored_data.get("fingerprint")
    if stored_data.get("fingerprint") not in (None, fingerprint):
        raise RunError(
            f"{folder} holds the results of other pictures (another fingerprint). Name another "
            "folder with --out, or take that one away."
        )
    found = {}
    for job in jobs:  # all are looked at before anything is written
        stored = kept.get(job.name, {})
        if stored.get("state") == runs.FINISHED:
            _check_stored(folder, stored, job)
        entry = _entry(RunFolder(runs_folder / job.name), job, fingerprint)
        fingerprint = entry.pop("fingerprint", fingerprint)
        if entry["state"] == runs.FINISHED or stored.get("state") != runs.FINISHED:
            found[job.name] = {k: stored[k] for k in ("examined",) if k in stored} | entry
    for job_name, entry in found.items():
        if entry["state"] == runs.FINISHED:
            entry["sha256"] = _copy(RunFolder(runs_folder / job_name), folder / job_name)
    entries = list((kept | found).values())
    data = next((e.pop("data") for e in entries if e.get("data")), None)
    for entry in entries:
        entry.pop("data", None)
    record = {
        "format": _FORMAT,
        "name": name,
        "data": data or stored_data or {"fingerprint": fingerprint},
        "audit": before.record.get("audit") if before else None,
        "runs": entries,
    }
    if source:
        record["audit"] = examining.of_data(source, looking)
        _examine(source, entries, folder, looking)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RESULTS, record)
    return folder / RESULTS


def _examine(
    source: DataSet, entries: Sequence[dict[str, Any]], folder: Path, looking: Progress | None
) -> None:
    """Note in the entry of each finished run what its split leaks.

    The split is drawn again, as the run drew it, so the run itself need not be there.
    """
    from kop_core.datasets import with_radiographs
    from kop_core.training.trainer import split_of

    done = [entry for entry in entries if entry["state"] == runs.FINISHED]
    data = with_radiographs(source)
    for place, entry in enumerate(done, start=1):
        if looking:
            looking("split", place, len(done), None)
        split = split_of(data, TrainingConfig.from_config(entry["config"]))
        predictions = Predictions.read(RunFolder(folder / entry["name"]).predictions)
        if {item.file for item in split.test}.issuperset(predictions.files):
            entry["examined"] = examining.of_run(source, split, predictions, entry.get("examined"))


def _entry(run: RunFolder, job: Job, fingerprint: str | None) -> dict[str, Any]:
    """Return what ``results.json`` says of one run."""
    entry: dict[str, Any] = {
        "name": job.name,
        "state": runs.state(run),
        "config": job.config.get_config(),
    }
    if entry["state"] == runs.MISSING:
        return entry
    record = runs.check(run, job, fingerprint)
    entry["fingerprint"] = record["data"]["fingerprint"]
    history = run.read_history()
    entry["epochs_done"] = len(history)
    if entry["state"] == runs.FINISHED:
        runs.check_whole(run)
        card = json.loads(run.card.read_text(encoding="utf-8"))
        entry |= {
            "split": card["split"],
            "precision": record.get("precision"),
            "minutes": _minutes(history),
            "versions": record.get("versions", {}),
            "data": {k: v for k, v in card["data"].items() if k not in ("folder", "passed_over")},
        }
    return entry


def _minutes(history: Sequence[Mapping[str, float]]) -> float:
    """Return how long a run takes if every epoch is as long as its middle one.

    A run that goes on for days is paused, or has other work beside it, for some of them.
    """
    return round(len(history) * statistics.median(row["seconds"] for row in history) / 60, 1)


def _check_stored(folder: Path, entry: dict[str, Any], job: Job) -> None:
    found = runs.unlike(entry["config"], job, entry.get("precision"))
    if found:
        raise RunError(
            f"The run {job.name} whose results {folder} holds has {found}. Name another folder "
            "with --out, or take that one away."
        )


def _copy(run: RunFolder, target: Path) -> dict[str, str]:
    """Copy what the page needs of a run; return the digests."""
    target.mkdir(parents=True, exist_ok=True)
    for path in (run.history, run.predictions):
        with replacing(target / path.name) as stream:
            stream.write(path.read_bytes())
    return _digests(RunFolder(target))


def _digests(run: RunFolder) -> dict[str, str]:
    return {path.name: model_store.checksum(path) for path in (run.history, run.predictions)}


def read(folder: Path) -> Results:
    """Read what :func:`collect` wrote.

    Raises:
        RunError: if it is damaged.
    """
    path = folder / RESULTS
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != _FORMAT:
            raise RunError(f"{path} was written by another version of KOP. Build it anew.")
        if not all(
            entry.keys() >= _ENTRY and entry["config"].keys() >= _CONFIG for entry in record["runs"]
        ):
            raise ValueError("an entry of a run is incomplete")
        for entry in record["runs"]:
            # Settings that came later have their defaults: so they compare with today's.
            entry["config"] = TrainingConfig.from_config(entry["config"]).get_config()
            if "examined" in entry:
                examining.read(entry["examined"])
            run = RunFolder(folder / str(entry["name"]))
            if entry["state"] == runs.FINISHED and entry.get("sha256") not in (None, _digests(run)):
                raise RunError(
                    f"The results of the run {entry['name']} in {folder} were altered. Restore "
                    "them, or take that folder away and build the page anew."
                )
        return Results(folder, {**record, "name": str(record["name"]), "data": record["data"]})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read ({error!r}). Take it away and build it anew.") from (
            error
        )


def read_all(out: Path) -> list[Results]:
    """Return the results of every data set in a page's folder, by name."""
    return [read(path.parent) for path in sorted(out.glob(f"*/{RESULTS}"))]


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
        return self.record["name"]

    @property
    def data(self) -> dict[str, Any]:
        """Facts of the data set, as on the card of a run; empty until one has finished."""
        return self.record["data"]

    @property
    def audit(self) -> dict[str, Any] | None:
        """What the audit found, see :func:`examining.of_data`; ``None`` if there was none."""
        return self.record.get("audit")

    @property
    def finished(self) -> list[dict[str, Any]]:
        """Entries of the runs that have finished."""
        return [r for r in self.record["runs"] if r["state"] == runs.FINISHED]

    @cached_property
    def arms(self) -> tuple[Arm, ...]:
        """The kinds of split, the paper's first, each with its runs."""
        found: dict[tuple[str, int | None], list[dict[str, Any]]] = {}
        for entry in self.record["runs"]:
            key = (entry["config"]["split"], entry["config"]["folds"])
            found.setdefault(key, []).append(entry)
        order = sorted(found, key=lambda key: (key[0] != "random", key[1] or 0))
        return tuple(Arm(self.folder, *key, tuple(found[key])) for key in order)


@dataclass(frozen=True)
class Arm:
    """The runs of one data set by one kind of split.

    Attributes:
        folder: of the data set's results.
        split: the protocol.
        folds: how many folds, or ``None``.
        runs: entries of ``results.json``.
    """

    folder: Path
    split: str
    folds: int | None
    runs: tuple[dict[str, Any], ...]

    @property
    def title(self) -> str:
        """What a column or panel calls it."""
        said = {"random": "random split", "radiograph": "by radiograph"}[self.split]
        return f"{said}{self._of_folds}"

    @property
    def finished(self) -> tuple[dict[str, Any], ...]:
        """Runs that have finished."""
        return tuple(r for r in self.runs if r["state"] == runs.FINISHED)

    @property
    def heading(self) -> str:
        """What a figure of all its runs is headed: the badge, and the folds if there are any."""
        return f"{self.badge}{self._of_folds}"

    @property
    def _of_folds(self) -> str:
        """How many folds there are, and how many of them a figure is of, if not of all."""
        if not self.folds:
            return ""
        done = len(self.finished)
        some = f"{done} of " if 0 < done < self.folds else ""
        return f", {some}{self.folds} folds"

    def run_title(self, run: dict[str, Any]) -> str:
        """Return what tells a run from the others of this kind."""
        config = run["config"]
        return f"fold {config['fold']}" if self.folds else f"seed {config['seed']}"

    def history(self, run: dict[str, Any]) -> list[dict[str, float]]:
        """Return the rows of a finished run, one an epoch."""
        return RunFolder(self.folder / run["name"]).read_history()

    def predictions(self, run: dict[str, Any]) -> Predictions:
        """Return what a finished run said of its test part."""
        return Predictions.read(self.folder / run["name"] / "predictions.csv")

    def examined(self, run: dict[str, Any]) -> SplitExamined | None:
        """Return what the audit says of the split of a run, if it was asked."""
        return examining.read(run["examined"]) if "examined" in run else None

    @cached_property
    def pooled(self) -> Predictions:
        """The test parts of all finished runs, one below the other.

        A radiograph keeps its name across runs: an interval by bootstrap over radiographs
        then draws all that was said of it together.
        """
        return pool([self.predictions(run) for run in self.finished])

    @cached_property
    def evaluation(self) -> Evaluation:
        """Figures of all finished runs together, with intervals over radiographs."""
        return evaluate(self.pooled)

    @cached_property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """Figures of each finished run."""
        return tuple(evaluate(self.predictions(run)) for run in self.finished)

    @property
    def badge(self) -> str:
        """What a badge beside its figures says, with the copies of all its test parts."""
        splits = [run["split"] for run in self.finished]
        shares = {}
        for name in ("identical", "same_radiograph"):
            counts = [split.get(name) for split in splits]
            known = counts and None not in counts
            files = sum(split["test_files"] for split in splits)
            shares[f"{name}_share"] = sum(counts) / files if known else None
        conflicts = self.runs[0]["config"]["conflicts"]
        return wording.split_badge({"protocol": self.split, "conflicts": conflicts, **shares})[0]


def pool(parts: Sequence[Predictions]) -> Predictions:
    """Return several tables of predictions as one; files are numbered by their table."""
    import numpy as np

    return Predictions(
        tuple(f"{n}/{file}" for n, part in enumerate(parts, start=1) for file in part.files),
        tuple(radiograph for part in parts for radiograph in part.radiographs),
        np.concatenate([part.true for part in parts]),
        np.concatenate([part.probabilities for part in parts]),
    )
