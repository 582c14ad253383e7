"""A confusion matrix in sentences and tables of words, for the page and for its figure."""

from __future__ import annotations

from kop_core.classes import CLASSES, by_name
from kop_core.evaluation import words
from kop_core.evaluation.intervals import Estimate
from kop_core.evaluation.matrix import ABSTAIN, MOST_LIKELY, NOT_CALLED, Difference, Matrix, Rule

_NOTHING = "Not called"


def heading(name: str) -> str:
    """Return what a column is headed, given a class or ``"uncalled"``."""
    return _NOTHING if name == NOT_CALLED else by_name(name).label


def rule(found: Rule) -> str:
    """Return what a rule does, as a sentence."""
    level = f"{100 * found.level:.0f} %"
    if found.kind == MOST_LIKELY:
        return "Each image is called the class with the highest score."
    if found.kind == ABSTAIN:
        return (
            f"Images whose highest score is below {level} are called nothing; the others are "
            "called the class with the highest score."
        )
    sought, others = found.sought, [c.name for c in CLASSES if c.name not in found.sought.classes]
    inside, outside = " or ".join(sought.classes), " or ".join(others)
    return f"Called {inside} where {sought.score} {level} or more, else {outside}."


def answer(found: Matrix) -> str:
    """Return how many images are called as they are labelled, and the worst mistake."""
    asked = found.images - found.uncalled
    basis = words.measured_on(found.images, found.groups if found.by_radiograph else None)
    said = f"{found.right:,} of {basis} are called as they are labelled"
    if found.rule.kind == ABSTAIN:
        said = (
            f"{_number(found.uncalled)} called nothing, of {basis}. Of the other {asked:,}, "
            f"{found.right:,} are called as they are labelled"
        )
    ill = len(CLASSES) - 1
    missed, labelled = int(found.counts[ill, 0]), int(found.counts[ill].sum())
    if labelled:
        said += (
            f". Of {labelled:,} labelled osteoporosis, {missed:,} "
            f"{'is' if missed == 1 else 'are'} called healthy: "
            f"{words.share(found.of_rows[ill][0])}"
        )
    return f"{said}."


def _number(count: int) -> str:
    return "1 is" if count == 1 else f"{count:,} are"


def cell(found: Matrix, true: int, column: int) -> str:
    """Return what a cell counts, in two sentences.

    Args:
        found: the matrix.
        true: its row.
        column: its column.
    """
    count = int(found.counts[true, column])
    row, whole = int(found.counts[true].sum()), int(found.counts[:, column].sum())
    label, name = CLASSES[true].name, found.rule.columns[column]
    how = "called nothing" if name == NOT_CALLED else f"called {name}"
    if not row:
        return f"No image is labelled {label}."
    said = f"Of {row:,} labelled {label}, {count:,} {_are(count)} {how}: "
    said += f"{words.share(found.of_rows[true][column])}."
    if whole:
        said += f" Of {whole:,} {how}, {count:,} {_are(count)} labelled {label}: "
        said += f"{words.share(found.of_columns[true][column])}."
    return said


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def table(found: Matrix) -> list[dict[str, str]]:
    """Return the matrix as rows of words: counts, shares of row and column with intervals."""
    rows = []
    for i, c in enumerate(CLASSES):
        row = {"Labelled": c.label}
        for j, name in enumerate(found.rule.columns):
            row[heading(name)] = (
                f"{int(found.counts[i, j]):,}; row {_share(found.of_rows[i][j])}; "
                f"column {_share(found.of_columns[i][j])}"
            )
        rows.append(row)
    return rows


def _share(found: Estimate) -> str:
    return "none" if found.value is None else words.share(found)


def points(found: Estimate) -> str:
    """Return a difference of shares in percentage points, with its interval."""
    if found.value is None:
        return words.NOT_DEFINED
    value, low, high = (_signed(100 * v) for v in (found.value, found.low, found.high))
    return f"{value} ({low} to {high})"


def _signed(value: float) -> str:
    rounded = round(value)
    return f"+{rounded}" if rounded > 0 else f"−{-rounded}" if rounded < 0 else "0"


def apart(found: Estimate) -> bool:
    """Return whether an interval of a difference leaves out nought."""
    return found.low is not None and (found.low > 0 or found.high < 0)


def difference_table(found: Difference) -> list[dict[str, str]]:
    """Return a difference as rows of words: images, and percentage points with intervals."""
    rows = []
    for i, c in enumerate(CLASSES):
        row = {"Labelled": c.label}
        for j, name in enumerate(found.rule.columns):
            row[heading(name)] = (
                f"{_signed(int(found.counts[i, j]))}; row {points(found.of_rows[i][j])}; "
                f"column {points(found.of_columns[i][j])}"
            )
        rows.append(row)
    return rows


def told_apart(found: Difference, first: str, second: str) -> str:
    """Return in which cells two models can be told apart, as a sentence.

    Args:
        found: first less second.
        first: name of one model.
        second: name of the other.
    """
    cells = [
        f"{c.name} called {called(name)} by {points(found.of_rows[i][j])} percentage points"
        for i, c in enumerate(CLASSES)
        for j, name in enumerate(found.rule.columns)
        if apart(found.of_rows[i][j])
    ]
    if not cells:
        return (
            f"In no cell does the share of its row differ between {first} and {second} by more "
            "than chance: every 95 % interval holds 0."
        )
    return (
        f"{first} less {second}, share of the row: {'; '.join(cells)}. The other cells cannot be "
        f"told apart. {len(CLASSES) * len(found.rule.columns)} cells were looked at without a "
        "correction for so many: one of twenty such intervals leaves out 0 where nothing differs."
    )


def ranges_table(low, high) -> list[dict[str, str]]:
    """Return a matrix of ranges as rows of words.

    Args:
        low: least counts, shape (classes, classes).
        high: largest counts.
    """
    return [
        {"Labelled": c.label}
        | {d.label: span(int(low[i, j]), int(high[i, j])) for j, d in enumerate(CLASSES)}
        for i, c in enumerate(CLASSES)
    ]


def span(low: int, high: int) -> str:
    """Return a count, or the range that it is in."""
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def called(name: str) -> str:
    """Return how an image was called, for a sentence."""
    return "nothing" if name == NOT_CALLED else name
