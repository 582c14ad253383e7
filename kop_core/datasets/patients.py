"""What is known of the patients, by class: a variable that differs is a shortcut, too."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from kop_core.datasets.scanning import DataSet

MAX_CATEGORIES = 12
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "-", "?"})
# Columns that may say who a patient is have no place in a report.
_NAMING = re.compile(
    r"name|birth|born|address|phone|mail|contact|initials|post.?code|accession|(?<![a-z])"
    r"(dob|id|mrn|ssn|nhs|zip|tel|(record|hospital|chart|insurance).?(no|nr|number))(?![a-z])",
    re.IGNORECASE,
)
_NEXT_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")


def summarise_patients(data: DataSet) -> dict[str, Any]:
    """Return the patient variables of a data set by class, as plain values.

    Each patient counts once in a class where patients are named; else each file does.
    Columns whose title speaks of names, births, addresses or numbers of persons are left out.

    Returns:
        ``counted``, ``"patients"`` or ``"files"``; ``known``, how many of them have
        variables; ``variables`` by title, each with ``kind``:

        - ``"number"``: ``by_class`` gives ``n``, ``missing``, ``median``, ``low_quartile``,
          ``high_quartile``, ``min`` and ``max``;
        - ``"category"``: ``by_class`` gives ``n``, ``missing`` and ``counts`` by value;
        - ``"text"``: ``distinct``, how many different values there are (none is shown): many,
          or another one for everybody.

        ``{}`` if nothing is known.
    """
    if not data.patients:
        return {}
    rows, counted = _counted(data)
    columns = dict.fromkeys(c for _, row in rows for c in row if not _may_name(c))
    present = [name for name in data.counts() if any(true == name for true, _ in rows)]
    return {
        "counted": counted,
        "known": len(rows),
        "variables": {c: _variable(c, rows, present) for c in columns},
    }


def _may_name(column: str) -> bool:
    """Whether a column, by its title, may say who a patient is."""
    return bool(_NAMING.search(_NEXT_WORD.sub(" ", column)))


def _counted(data: DataSet) -> tuple[list[tuple[str, Any]], str]:
    """Return class and variables of each patient or file, and which of them it is."""
    known = [item for item in data.items if item.file in data.patients]
    if not all(item.patient for item in known):
        return [(item.true, data.patients[item.file]) for item in known], "files"
    once = {}
    for item in known:
        once.setdefault((item.true, item.patient), data.patients[item.file])
    return [(true, row) for (true, _), row in once.items()], "patients"


def _variable(column: str, rows: Sequence[tuple[str, Any]], present: list[str]) -> dict[str, Any]:
    by_class = defaultdict(list)
    for true, row in rows:
        by_class[true].append(str(row.get(column, "")).strip())
    values = [v for given in by_class.values() for v in given if v.lower() not in _MISSING]
    numbers = [_number(v) for v in values]
    distinct = len(set(values))
    if None not in numbers and distinct > 2:
        return {"kind": "number", "by_class": {n: _quartiles(by_class[n]) for n in present}}
    everybodys_own = None in numbers and distinct == len(values)
    if distinct <= MAX_CATEGORIES and not everybodys_own:
        return {"kind": "category", "by_class": {n: _categories(by_class[n]) for n in present}}
    return {"kind": "text", "distinct": distinct}


def _number(text: str) -> float | None:
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _present(given: list[str]) -> list[str]:
    return [v for v in given if v.lower() not in _MISSING]


def _quartiles(given: list[str]) -> dict[str, Any]:
    values = [n for v in _present(given) if (n := _number(v)) is not None]
    found: dict[str, Any] = {"n": len(values), "missing": len(given) - len(values)}
    names = ("min", "low_quartile", "median", "high_quartile", "max")
    if not values:
        return found | dict.fromkeys(names)
    return found | dict(zip(names, map(float, np.percentile(values, [0, 25, 50, 75, 100]))))


def _categories(given: list[str]) -> dict[str, Any]:
    values = _present(given)
    counts = dict(sorted(Counter(values).items()))
    return {"n": len(values), "missing": len(given) - len(values), "counts": counts}
