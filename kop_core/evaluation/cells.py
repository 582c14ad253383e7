"""The images in a cell of a confusion matrix: which they are, how sure, and what is known."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from kop_core import classes
from kop_core.cases import spreadsheet_safe
from kop_core.classes import CLASS_NAMES
from kop_core.evaluation.matrix import NOT_CALLED, PLAIN, UNCALLED, Rule, called
from kop_core.evaluation.predictions import Predictions

if TYPE_CHECKING:
    from kop_core.datasets.scanning import Item

# Tables of predictions have six decimals: a smaller score than that cannot be told from none.
LEAST_SCORE = 1e-6
BY_CONFIDENCE, BY_LOSS = "confidence", "loss"
SORTS = (BY_CONFIDENCE, BY_LOSS)
ANY, OTHERWISE = "any", "otherwise"


@dataclass(frozen=True)
class Cell:
    """Which images are asked for.

    Attributes:
        true: a class, or ``"any"``.
        called: a class, ``"uncalled"``, ``"any"``, or ``"otherwise"``: a class, but another
            than the label.
    """

    true: str = ANY
    called: str = OTHERWISE

    @property
    def whole(self) -> bool:
        """Whether it is one cell of the matrix."""
        return self.true != ANY and self.called not in (ANY, OTHERWISE)

    @property
    def word(self) -> str:
        """How it stands in an address."""
        return f"{self.true}-{self.called}"

    @property
    def sentence(self) -> str:
        """What its images are, without a full stop."""
        whose = "Images" if self.true == ANY else f"Labelled {self.true}"
        if self.called == ANY:
            return "All images" if self.true == ANY else whose
        if self.called == OTHERWISE:
            return f"{whose} called otherwise" + (" than labelled" if self.true == ANY else "")
        how = "called nothing" if self.called == NOT_CALLED else f"called {self.called}"
        return f"{whose} {how}" if self.true == ANY else f"{whose}, {how}"


MISTAKES = Cell()


def cell_from(word: str | None) -> Cell | None:
    """Return the cell that an address names, or ``None`` if it names none.

    Args:
        word: as :attr:`Cell.word` gives it.
    """
    true, _, name = (word or "").partition("-")
    known = (*CLASS_NAMES, NOT_CALLED, ANY, OTHERWISE)
    return Cell(true, name) if true in (*CLASS_NAMES, ANY) and name in known else None


@dataclass(frozen=True)
class CellCase:
    """One image of a cell.

    Attributes:
        file: its name.
        radiograph: which radiograph it shows, ``""`` where unknown.
        true: the class that it is labelled.
        called: the class that it is called, ``"uncalled"`` if none.
        scores: of the classes, in their order.
        confidence: score of the class called; of the highest where none is.
        loss: −log of the label's score, in nats (natural logarithm). Scores below
            :data:`LEAST_SCORE` count as that.
    """

    file: str
    radiograph: str
    true: str
    called: str
    scores: tuple[float, ...]
    confidence: float
    loss: float


def cases(
    predictions: Predictions, cell: Cell = MISTAKES, rule: Rule = PLAIN, by: str = BY_CONFIDENCE
) -> tuple[CellCase, ...]:
    """Return the images of a cell, the most confident (or of the largest loss) first.

    Args:
        predictions: what a model said of its test part.
        cell: which of them.
        rule: how a score becomes a call.
        by: ``"confidence"`` or ``"loss"``; equal ones are in the order of their names.
    """
    calls = called(predictions, rule)
    found = [_case(predictions, i, int(calls[i])) for i in _places(predictions, calls, cell)]
    return tuple(sorted(found, key=lambda case: (-getattr(case, by), case.file)))


def _places(predictions: Predictions, calls: np.ndarray, cell: Cell) -> np.ndarray:
    wanted = np.ones(len(calls), bool)
    if cell.true != ANY:
        wanted &= predictions.true == CLASS_NAMES.index(cell.true)
    if cell.called == OTHERWISE:
        wanted &= (calls != predictions.true) & (calls != UNCALLED)
    elif cell.called != ANY:
        names = (*CLASS_NAMES, NOT_CALLED)
        wanted &= calls == names.index(cell.called)
    return np.flatnonzero(wanted)


def _case(predictions: Predictions, place: int, call: int) -> CellCase:
    scores = predictions.probabilities[place]
    true = int(predictions.true[place])
    return CellCase(
        predictions.files[place],
        predictions.radiographs[place],
        CLASS_NAMES[true],
        (*CLASS_NAMES, NOT_CALLED)[call],
        tuple(float(score) for score in scores),
        float(scores.max() if call == UNCALLED else scores[call]),
        -math.log(max(float(scores[true]), LEAST_SCORE)),
    )


# What else shows the same radiograph.


@dataclass(frozen=True)
class Kin:
    """The files that show one radiograph.

    Attributes:
        files: all of them.
        classes: those that they are filed under, in order.
        of_all_data: whether all files of the data set were asked; else the test part alone.
        trained_on: those of them that the model was trained on; ``None`` if that is not
            known.
    """

    files: tuple[str, ...]
    classes: tuple[str, ...]
    of_all_data: bool
    trained_on: tuple[str, ...] | None = None

    @property
    def conflicted(self) -> bool:
        """Whether the radiograph is filed under several classes."""
        return len(self.classes) > 1

    def sentences(self, file: str) -> list[str]:
        """Return what a person looking at one of the files should know of the others."""
        others = [f for f in self.files if f != file]
        where = "the data set" if self.of_all_data else "the test part"
        if not others:
            return [f"No other file of {where} shows this radiograph."]
        one = len(others) == 1
        said = f"{len(others):,} other {'file' if one else 'files'} of {where} "
        said += "shows this radiograph" if one else "show this radiograph"
        if self.trained_on is not None:
            learned = len(set(self.trained_on) - {file})
            said += f", {learned if learned else 'none'} of which the model was trained on"
        found = [f"{said}."]
        if self.conflicted:
            listed = " and ".join(filter(None, [", ".join(self.classes[:-1]), *self.classes[-1:]]))
            found.append(f"It is filed under {listed}: at least one of its labels is wrong.")
        return found


def kin(
    predictions: Predictions,
    items: Sequence[Item] = (),
    trained_on: Iterable[str] | None = None,
) -> dict[str, Kin]:
    """Return, by test file, which files show the same radiograph and how they are filed.

    Args:
        predictions: of the test part.
        items: every file of the data set, where that is known; those whose radiograph is
            not named count for nothing.
        trained_on: files of the training part, where that is known.

    Returns:
        By name of the test file; files whose radiograph is unknown are left out.
    """
    of = {f: r for f, r in zip(predictions.files, predictions.radiographs) if r}
    named = {i.file: i.radiograph for i in items if i.radiograph}
    # What the model's own table says counts; the data set's names are its own.
    whole = bool(items) and all(named.get(f) for f in predictions.files)
    if whole:
        of = {f: named[f] for f in predictions.files}
        rows: Iterable[tuple[str, str, str]] = ((i.file, i.radiograph, i.true) for i in items)
    else:
        rows = (
            (f, r, CLASS_NAMES[t])
            for f, r, t in zip(predictions.files, predictions.radiographs, predictions.true)
        )
    files, filed = defaultdict(list), defaultdict(set)
    for file, radiograph, true in rows:
        files[radiograph].append(file)
        filed[radiograph].add(true)
    learned = None if trained_on is None or not whole else set(trained_on)
    groups = {
        radiograph: Kin(
            tuple(sorted(files[radiograph])),
            tuple(n for n in CLASS_NAMES if n in filed[radiograph]),
            whole,
            None if learned is None else tuple(f for f in files[radiograph] if f in learned),
        )
        for radiograph in set(of.values())
    }
    return {file: groups[radiograph] for file, radiograph in of.items()}


# Filters.


def source(file: str, name: str) -> str:
    """Return where a file comes from: its top folder, or the data set if that is a class.

    Args:
        file: its path in the data set.
        name: of the data set.
    """
    top, *below = PurePosixPath(file).parts
    return top if below and classes.match(top) is None else name


@dataclass(frozen=True)
class Facts:
    """What is known of a file beside its scores.

    Attributes:
        size: width and height in pixels, ``None`` where its picture is not at hand.
        laterality: ``"right"``, ``"left"`` or ``"both"``, as the file's header or a table of
            its data set says; ``None`` where neither does.
    """

    size: tuple[int, int] | None = None
    laterality: str | None = None


@dataclass(frozen=True)
class Filter:
    """Which of the cases are wanted; what is ``None`` does not count.

    Attributes:
        source: see :func:`source`.
        laterality: as in :class:`Facts`; ``""`` wants those of which it is not known.
        sides: least and most pixels of the longer side.
    """

    source: str | None = None
    laterality: str | None = None
    sides: tuple[int, int] | None = None

    @property
    def needs_facts(self) -> bool:
        """Whether sizes or sides of the files must be known for it."""
        return self.laterality is not None or self.sides is not None


def chosen(
    found: Iterable[CellCase], wanted: Filter, name: str, facts: Mapping[str, Facts]
) -> tuple[CellCase, ...]:
    """Return the cases that pass a filter, in their order.

    Args:
        found: the cases.
        wanted: the filter.
        name: of the data set.
        facts: by file; a file without is of no known size and side.
    """

    def passes(case: CellCase) -> bool:
        known = facts.get(case.file, Facts())
        low, high = wanted.sides or (0, 0)
        return (
            (wanted.source is None or source(case.file, name) == wanted.source)
            and (wanted.laterality is None or (known.laterality or "") == wanted.laterality)
            and (
                wanted.sides is None or (known.size is not None and low <= max(known.size) <= high)
            )
        )

    return tuple(case for case in found if passes(case))


_COLUMNS = (
    "file", "radiograph", "labelled", "called", *(f"p_{n}" for n in CLASS_NAMES), "loss",
    "files_of_the_radiograph", "filed_under",
)  # fmt: skip


def to_csv(found: Iterable[CellCase], related: Mapping[str, Kin]) -> str:
    """Return cases as a CSV table, a row a file, in order.

    Args:
        found: the cases.
        related: see :func:`kin`.
    """
    stream = io.StringIO(newline="")
    rows = csv.writer(stream)
    rows.writerow(_COLUMNS)
    for case in found:
        known = related.get(case.file)
        rows.writerow(
            [
                *map(spreadsheet_safe, (case.file, case.radiograph)), case.true, case.called,
                *(f"{score:.6f}" for score in case.scores), f"{case.loss:.4f}",
                len(known.files) if known else "", " ".join(known.classes) if known else "",
            ]
        )  # fmt: skip
    return stream.getvalue()
