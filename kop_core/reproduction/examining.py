"""What the audit says of the data of a reproduction and of its splits, as plain values."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from kop_core.datasets import Split
from kop_core.datasets.audit import Leakage, SplitExamined, audit, examine_split
from kop_core.datasets.audit.cache import VERSION
from kop_core.evaluation import Estimate

if TYPE_CHECKING:
    from pathlib import Path

    from kop_core.datasets import DataSet
    from kop_core.datasets.audit.engine import Progress

_KEPT = (
    "files",
    "radiographs",
    "identical_groups",
    "conflicted_radiographs",
    "shortcuts",
    "random_split_leakage",
)


def of_data(data: DataSet, progress: Progress | None = None) -> dict[str, Any]:
    """Return what an audit finds in a data set: counts and figures, no names of files.

    Args:
        data: the data set.
        progress: see :func:`kop_core.datasets.audit.audit`.
    """
    report = audit(data, progress)
    found, groups = report.get_config(), report.groups()
    return {
        **{name: found[name] for name in _KEPT},
        "copied_files": sum(len(places) for places in groups.values() if len(places) > 1),
        "conflicted_files": sum(len(groups[name]) for name in report.conflicted()),
        "unreadable": len(report.unreadable),
    }


def of_run(
    data: DataSet, table: Path, config: Mapping[str, Any], before: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return what the split of a run leaks, and what a look-up scores on it.

    Args:
        data: the data set.
        table: the run's ``split.csv``.
        config: the settings of the run.
        before: what this function returned before; it is returned again if the split and
            the audit are the same, since the look-up takes seconds.

    Raises:
        DataSetError: if the table is damaged.
    """
    split = Split.read(table, config["split"], config["seed"])
    digest = hashlib.sha256(table.read_bytes()).hexdigest()
    if before and (before["split_sha256"], before["audit_version"]) == (digest, VERSION):
        return dict(before)
    parts = ([item.file for item in part] for part in (split.training, split.test))
    found = examine_split(data, *parts, split.protocol, split.seed)
    return {
        "leakage": asdict(found.leakage),
        "look_up": found.look_up.get_config(),
        "split_sha256": digest,
        "audit_version": VERSION,
    }


def read(stored: Mapping[str, Any]) -> SplitExamined:
    """Return what :func:`of_run` found from its plain values.

    Raises:
        KeyError, TypeError: if they are not that.
    """
    return SplitExamined(Leakage(**stored["leakage"]), Estimate(**stored["look_up"]))
