"""Files that a reader marked, left out of every part of a run.

Which they are is settled when the run is set up and stands in its settings, file by file
with the reason: marks that change later change no run. The data stays what it is, and so
does its fingerprint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kop_core.datasets import DataSet, Item


def without_marked(data: DataSet, leave_out: Mapping[str, str]) -> tuple[DataSet, tuple[Item, ...]]:
    """Return a data set without some of its files, and those files.

    Args:
        data: the data set.
        leave_out: reason by file; files that the data set does not have do not count.
    """
    if not leave_out:
        return data, ()
    kept = tuple(i for i in data.items if i.file not in leave_out)
    return replace(data, items=kept), tuple(i for i in data.items if i.file in leave_out)


def count_marked(data: DataSet, leave_out: Mapping[str, str]) -> dict[str, int]:
    """Return how many files of a data set are left out, by reason."""
    _, out = without_marked(data, leave_out)
    reasons = [leave_out[item.file] for item in out]
    return {reason: reasons.count(reason) for reason in sorted(set(reasons))}


def said_of_marked(data: Mapping[str, Any]) -> list[str]:
    """Return, for a card, what was left out because a reader had marked it.

    Args:
        data: what the record says of the data; older ones say nothing of marks.
    """
    counts = data.get("left_out_marked") or {}
    if not counts:
        return []
    parts = [f"{count:,} as {reason}" for reason, count in counts.items()]
    files = sum(counts.values())
    if len(counts) == 1:
        parts = [f"as {next(iter(counts))}"]
    named = "1 file" if files == 1 else f"{files:,} files"
    were = "was" if files == 1 else "were"
    return [
        f"{named} that a reader had marked {' and '.join(parts)} {were} left out of training and "
        "test. The figures say nothing of such files."
    ]
