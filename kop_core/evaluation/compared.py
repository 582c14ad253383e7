"""Several models side by side: figures, tests between them, an ensemble, the literature apart.

One value, :class:`Compared`, is behind the command, the page, the CSV and the HTML file. Models
that were tested on other images are shown, and not tested against the rest, with the reason.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from kop_core import model_store, wording
from kop_core.classes import CLASS_NAMES
from kop_core.errors import DataSetError, KopError, ModelError
from kop_core.evaluation import comparison, published
from kop_core.evaluation.calibration import Bin, reliability
from kop_core.evaluation.comparison import Difference
from kop_core.evaluation.ensemble import ensemble
from kop_core.evaluation.intervals import DRAWS
from kop_core.evaluation.metrics import Evaluation, evaluate
from kop_core.evaluation.predictions import Predictions
from kop_core.evaluation.significance import McNemar, holm, mcnemar
from kop_core.model_store import Model
from kop_core.timing import Speed

# What is shown and tested unless other figures are asked for.
FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "macro_roc_auc")
_BY_CLASS = ("precision", "recall", "f1", "specificity", "roc_auc", "average_precision")
METRICS = (
    *("accuracy", "balanced_accuracy", "quadratic_weighted_kappa"),
    *("brier_score", "expected_calibration_error"),
    *(f"macro_{name}" for name in _BY_CLASS),
    *(f"weighted_{name}" for name in ("precision", "recall", "f1")),
    *(f"{name}_{of}" for name in _BY_CLASS for of in CLASS_NAMES),
)
ENSEMBLE = "ensemble"

Differ = Callable[..., dict[tuple[int, int], dict[str, Difference]]]


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured of one table of predictions.

    Attributes:
        evaluation: metrics with intervals.
        bins: how often the class called was right, by its score.
    """

    evaluation: Evaluation
    bins: tuple[Bin, ...]


@dataclass(frozen=True, eq=False)
class Entry:
    """A model in a comparison, or an ensemble of those in it.

    Attributes:
        key: its id; its folder where two are called alike.
        label: its title, with the key where two have one title.
        model: whose card counts; of an ensemble its first member.
        predictions: what it said of its test part.
        measured: of these.
        split: of its test part, as a card has it; of an ensemble that of the member which
            warns, if one does.
        cautions: faults that were found in it.
        history: a row an epoch, none of an ensemble or where it cannot be read.
        parameters: of its network, ``None`` if its card does not say.
        bytes: of its ``model.keras``; an ensemble has those of its members.
        members: keys of the models that an ensemble asks.
        speed: milliseconds an image, only if it was measured.
    """

    key: str
    label: str
    model: Model
    predictions: Predictions
    measured: Measured
    split: dict[str, Any]
    cautions: tuple[str, ...] = ()
    history: tuple[dict[str, float], ...] = ()
    parameters: int | None = None
    bytes: int | None = None
    members: tuple[str, ...] = ()
    speed: Speed | None = None

    @property
    def evaluation(self) -> Evaluation:
        """Its metrics with intervals."""
        return self.measured.evaluation

    @property
    def validation_share(self) -> float:
        """Share of the training part that its history was watched on; 0 for the test part."""
        value = self.model.card["training"].get("config", {}).get("validation_share")
        return float(value) if isinstance(value, (int, float)) else 0.0

    def get_config(self) -> dict[str, Any]:
        """Return it as plain values."""
        measured = self.evaluation.get_config()
        found: dict[str, Any] = {
            "id": self.key,
            "title": self.label,
            "network": ENSEMBLE if self.members else self.model.card["network"],
            "version": None if self.members else self.model.version,
            "data": self.model.card["data"].get("name"),
            "split": self.split,
            "badge": wording.split_badge(self.split)[0],
            "images": measured["images"],
            "radiographs": measured["radiographs"],
            "interval": measured["interval"],
            "metrics": {n: e.get_config() for n, e in self.evaluation.metrics.items()},
            "confusion": measured["confusion"],
            "temperature": None if self.members else self.model.temperature,
            "cautions": list(self.cautions),
            "parameters": self.parameters,
            "bytes": self.bytes,
            "speed": self.speed.get_config() if self.speed else None,
        }
        return {**found, "members": list(self.members)} if self.members else found


@dataclass(frozen=True, eq=False)
class Pair:
    """Two entries against each other.

    Attributes:
        first: key of the one.
        second: key of the other.
        reason: why they are not tested against each other, ``""`` if they are.
        differences: by name of the figure, the first less the second.
        holm: the p-values corrected for the number of pairs, by name of the figure.
        mcnemar: McNemar's test.
        mcnemar_holm: its p-value corrected for the number of pairs.
        by_radiograph: whether it is known of every image which radiograph it shows; else files
            were drawn and exchanged, and copies among them count as evidence of their own.
    """

    first: str
    second: str
    reason: str = ""
    differences: dict[str, Difference] | None = None
    holm: dict[str, float | None] | None = None
    mcnemar: McNemar | None = None
    mcnemar_holm: float | None = None
    by_radiograph: bool = True

    @property
    def comparable(self) -> bool:
        """Whether both were tested on the same images."""
        return not self.reason

    def get_config(self) -> dict[str, Any]:
        """Return it as plain values."""
        found: dict[str, Any] = {
            "first": self.first,
            "second": self.second,
            "comparable": self.comparable,
            "reason": self.reason or None,
        }
        if not self.comparable:
            return found
        differences = {
            name: {**d.get_config(), "p_holm": self.holm[name]}
            for name, d in self.differences.items()
        }
        tested = {**self.mcnemar.get_config(), "p_holm": self.mcnemar_holm}
        by = {"by_radiograph": self.by_radiograph}
        return {**found, **by, "differences": differences, "mcnemar": tested}


@dataclass(frozen=True, eq=False)
class Compared:
    """Models side by side.

    Attributes:
        entries: in the order asked for, an ensemble last.
        parts: the number of each one's test part, from 1; the same for the same images.
        pairs: every two of them.
        figures: names of the metrics that were tested.
        failed: models that could not be compared, each with a sentence on why.
        no_ensemble: why there is no ensemble though one was asked for, else ``""``.
    """

    entries: tuple[Entry, ...]
    parts: tuple[int, ...]
    pairs: tuple[Pair, ...]
    figures: tuple[str, ...]
    failed: tuple[tuple[str, str], ...] = ()
    no_ensemble: str = ""

    @property
    def tested(self) -> tuple[Pair, ...]:
        """The pairs on the same test part."""
        return tuple(pair for pair in self.pairs if pair.comparable)

    @property
    def reason(self) -> str:
        """Why not every two of them were tested against each other, ``""`` if they were."""
        if len(self.entries) < 2:
            return "There are not two models to compare."
        return " ".join(dict.fromkeys(pair.reason for pair in self.pairs if pair.reason))

    def entry(self, key: str) -> Entry:
        """Return the entry of that key.

        Raises:
            KeyError: if there is none.
        """
        return {entry.key: entry for entry in self.entries}[key]

    def get_config(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return {
            "comparable": not self.reason,
            "reason": self.reason or None,
            "models": [
                {**entry.get_config(), "test_part": part}
                for entry, part in zip(self.entries, self.parts)
            ],
            "pairs": [pair.get_config() for pair in self.pairs],
            "no_ensemble": self.no_ensemble or None,
            "not_compared": [{"model": name, "error": reason} for name, reason in self.failed],
            "published": [
                {**vars(row), "split": published_split(row)} for row in published.TABLE_3
            ],
        }


def published_split(row: published.StudyRow) -> str:
    """Return how a study's images were split, as far as that is known."""
    return "random, file by file" if row.citation is None else "not given"


def measure(predictions: Predictions, draws: int = DRAWS, seed: int = 0) -> Measured:
    """Measure one table of predictions."""
    return Measured(
        evaluate(predictions, draws, seed), reliability(predictions, draws=draws, seed=seed)
    )


def read(
    models: Sequence[Model], measured: Callable[[Predictions], Measured] = measure
) -> tuple[list[Entry], list[tuple[str, str]]]:
    """Read what models said of their test parts, and measure it.

    Args:
        models: each once; one that is named twice is taken once.
        measured: measures a table of predictions.

    Returns:
        The entries, and the models that cannot be compared, each with a sentence on why.
    """
    models = list({model.folder.resolve(): model for model in models}.values())
    ids, titles = (Counter(names) for names in zip(*((m.id, m.title) for m in models))) if (
        models) else (Counter(), Counter())  # fmt: skip
    entries, failed = [], []
    for model in models:
        key = model.id if ids[model.id] == 1 else str(model.folder)
        label = model.title if titles[model.title] == 1 else f"{model.title} ({key})"
        try:
            entries.append(_entry(model, key, label, measured))
        except KopError as error:
            failed.append((key, str(error)))
    return entries, failed


def _entry(
    model: Model, key: str, label: str, measured: Callable[[Predictions], Measured]
) -> Entry:
    predictions = comparison.read_predictions(model)
    found = measured(predictions)
    model_store.require_figures(model, found.evaluation, found.evaluation.metrics)
    parameters = model.card.get("parameters")
    return Entry(
        key,
        label,
        model,
        predictions,
        found,
        model.card["split"],
        model.cautions,
        _history(model),
        parameters if isinstance(parameters, int) else None,
        (model.folder / model_store.WEIGHTS).stat().st_size,
    )


def _history(model: Model) -> tuple[dict[str, float], ...]:
    """Return the epochs of a model, none if the table was altered or cannot be read."""
    path = model.folder / model_store.HISTORY
    try:
        if model_store.checksum(path) != model.card["checksums"][model_store.HISTORY]:
            return ()
        with path.open(newline="", encoding="utf-8") as stream:
            rows = [
                {name: float(text) for name, text in row.items() if name and text}
                for row in csv.DictReader(stream)
            ]
    except (OSError, ValueError, TypeError, csv.Error):
        return ()
    return tuple(row for row in rows if "epoch" in row)


def compare(
    entries: Sequence[Entry],
    figures: Sequence[str] = FIGURES,
    with_ensemble: bool = False,
    failed: Sequence[tuple[str, str]] = (),
    measured: Callable[[Predictions], Measured] = measure,
    differ: Differ = comparison.differences,
) -> Compared:
    """Put models side by side, and test every two that were tested on the same images.

    Args:
        entries: what :func:`read` returns.
        figures: names of the metrics to test, of :data:`METRICS`.
        with_ensemble: whether to add all of them together as one more.
        failed: models that could not be read, to be named.
        measured: measures the ensemble.
        differ: tests the differences, as :func:`kop_core.evaluation.comparison.differences`.

    Raises:
        DataSetError: if there is no such metric.
    """
    check(figures)
    entries, why = list(entries), ""
    if with_ensemble:
        why = _why_no_ensemble(entries)
        if not why:
            entries.append(_ensemble(entries, measured))
    parts = _parts(entries)
    pairs = _pairs(entries, parts, tuple(figures), differ)
    return Compared(tuple(entries), parts, tuple(pairs), tuple(figures), tuple(failed), why)


def check(figures: Sequence[str]) -> None:
    """See that there are such figures.

    Raises:
        DataSetError: naming the first that there is not.
    """
    for name in figures:
        if name not in METRICS:
            raise DataSetError(f"There is no figure {name!r}. Known: {', '.join(METRICS)}.")


def _why_not(a: Entry, b: Entry) -> str:
    return comparison.why_not_comparable(a.model, b.model, a.predictions, b.predictions)


def _why_no_ensemble(entries: Sequence[Entry]) -> str:
    if len(entries) < 2:
        return "There is no ensemble: it takes two models or more."
    for other in entries[1:]:
        if why := _why_not(entries[0], other):
            return (
                "There is no ensemble, because its members must be tested on the same images. "
                f"{other.label}: {why}"
            )
    return ""


def _ensemble(entries: Sequence[Entry], measured: Callable[[Predictions], Measured]) -> Entry:
    """Return all of some entries together; they were tested on the same images."""
    predictions = ensemble([e.predictions for e in entries], [e.model.temperature for e in entries])
    warning = next((e for e in entries if wording.split_badge(e.split)[1]), entries[0])
    sizes = [(e.parameters, e.bytes) for e in entries]
    parameters, size = (None if None in column else sum(column) for column in zip(*sizes))
    taken = {e.key for e in entries}
    key = next(
        k for k in (ENSEMBLE, *(f"{ENSEMBLE}-{n}" for n in range(2, 1000))) if k not in taken
    )
    found = measured(predictions)
    faults = dict.fromkeys(c for e in entries for c in e.model.card.get("cautions", ()))
    return Entry(
        key,
        f"Ensemble of these {len(entries)} models",
        entries[0].model,
        predictions,
        found,
        warning.split,
        wording.cautions({"evaluation": found.evaluation.get_config(), "cautions": [*faults]}),
        parameters=parameters,
        bytes=size,
        members=tuple(e.key for e in entries),
    )


def _parts(entries: Sequence[Entry]) -> tuple[int, ...]:
    """Return the number of each one's test part: the same for the same images."""
    firsts: list[Entry] = []
    parts = []
    for entry in entries:
        place = next((i for i, first in enumerate(firsts) if not _why_not(first, entry)), None)
        if place is None:
            place = len(firsts)
            firsts.append(entry)
        parts.append(place + 1)
    return tuple(parts)


def _pairs(
    entries: Sequence[Entry], parts: Sequence[int], figures: tuple[str, ...], differ: Differ
) -> list[Pair]:
    found: dict[tuple[int, int], Pair] = {}
    for part in dict.fromkeys(parts):
        places = [place for place, number in enumerate(parts) if number == part]
        if len(places) > 1:
            found |= _tested([entries[place] for place in places], places, figures, differ)
    pairs = []
    for one, other in combinations(range(len(entries)), 2):
        first, second = entries[one], entries[other]
        reason = f"{second.label}: {_why_not(first, second)}"
        pairs.append(found.get((one, other)) or Pair(first.key, second.key, reason))
    return _corrected(pairs, figures)


def _tested(
    entries: Sequence[Entry], places: Sequence[int], figures: tuple[str, ...], differ: Differ
) -> dict[tuple[int, int], Pair]:
    tables = comparison.on_shared_radiographs([entry.predictions for entry in entries])
    return {
        (places[one], places[other]): Pair(
            entries[one].key,
            entries[other].key,
            differences=by_name,
            mcnemar=mcnemar(tables[one], tables[other], tables[one].groups),
            by_radiograph=tables[one].by_radiograph,
        )
        for (one, other), by_name in differ(tables, figures).items()
    }


def _corrected(pairs: Sequence[Pair], figures: Sequence[str]) -> list[Pair]:
    """Return pairs with Holm's correction: each figure is a family of as many tests as pairs."""
    tested = [pair for pair in pairs if pair.comparable]
    by_name = {name: holm([pair.differences[name].p for pair in tested]) for name in figures}
    of_mcnemar = holm([pair.mcnemar.p for pair in tested])
    corrected = {
        (pair.first, pair.second): replace(
            pair,
            holm={name: values[place] for name, values in by_name.items()},
            mcnemar_holm=of_mcnemar[place],
        )
        for place, pair in enumerate(tested)
    }
    return [corrected.get((pair.first, pair.second), pair) for pair in pairs]


@dataclass(frozen=True)
class Disagreement:
    """A test image that two models call by different names.

    Attributes:
        file: its path in the data set.
        radiograph: which it shows, ``""`` where that is not known.
        true: the class that it is labelled.
        first: the class that the first model called.
        second: the class that the second did.
        first_score: of that class.
        second_score: of that one.
        copies: further files of the same radiograph on which they disagree in the same way.
    """

    file: str
    radiograph: str
    true: str
    first: str
    second: str
    first_score: float
    second_score: float
    copies: int


def disagreements(first: Predictions, second: Predictions) -> tuple[Disagreement, ...]:
    """Return the images on which two models disagree, each radiograph once for each way.

    Those come first of which both are surest, by the smaller of both scores.

    Args:
        first: what one model said.
        second: what another said of the same images, in any order.

    Raises:
        DataSetError: if the images are not the same.
    """
    first, second = comparison.on_shared_radiographs([first, second])
    group = first.groups
    called, other = first.predicted, second.predicted
    mine, theirs = (p.probabilities.max(axis=1) for p in (first, second))
    places = np.flatnonzero(called != other).tolist()
    places.sort(key=lambda i: (-min(mine[i], theirs[i]), first.files[i]))
    ways: dict[tuple[int, ...], list[int]] = {}
    for i in places:
        ways.setdefault((group[i], first.true[i], called[i], other[i]), []).append(i)
    return tuple(
        Disagreement(
            first.files[i],
            first.radiographs[i],
            CLASS_NAMES[first.true[i]],
            CLASS_NAMES[called[i]],
            CLASS_NAMES[other[i]],
            float(mine[i]),
            float(theirs[i]),
            len(copies),
        )
        for i, *copies in ways.values()
    )


def find(name: str, models: Path | None = None, runs: Path | None = None) -> Model:
    """Return the model that a person means: by id, by the id of a run, or by folder.

    Args:
        name: an id in the model folder, a run's id, or a folder of either.
        models: folder of the models.
        runs: folder of the runs.

    Raises:
        ModelError: if there is none, or its folder is damaged.
    """
    from kop_core.errors import RunError, UnknownModel
    from kop_core.training import runs as training_runs

    if not name.strip():
        raise ModelError("A model is named by its id or its folder, and here by nothing.")
    try:
        return model_store.get(name, models)
    except UnknownModel as error:
        unknown = error
    try:
        folder = training_runs.find(name, runs).folder
    except RunError:
        folder = Path(name)
        if not training_runs.is_folder(folder):
            raise ModelError(f"{unknown} Nor is there a run or a folder of that name.") from None
    if not (folder / model_store.CARD).is_file() and (folder / "run.json").is_file():
        raise ModelError(f"The run {folder.name} has not finished: it has no model yet.")
    return model_store.open_model(folder.resolve())
