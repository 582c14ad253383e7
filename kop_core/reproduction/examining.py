"""What the audit says of the data of a reproduction and of its splits, as plain values."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from kop_core.datasets import Split
from kop_core.datasets.audit import Leakage, SplitExamined, audit, examine_split
from kop_core.datasets.audit.cache import VERSION
from kop_core.evaluation import Estimate, Predictions
from kop_core.evaluation.intervals import Scale, ratios
from kop_core.reproduction import by_heart

if TYPE_CHECKING:
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
    data: DataSet, split: Split, predictions: Predictions, before: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return what the split of a run leaks, and what one scores on it who learned nothing.

    Args:
        data: the data set.
        split: of a finished run.
        predictions: what the run said of its test part.
        before: what this function returned before; the audit is not asked again if it and
            the split are the same, since the look-up takes seconds.
    """
    known = by_heart.by_heart(split, predictions)
    of_labels = {"by_heart": known and known.get_config()}
    digest = hashlib.sha256(split.to_csv().encode()).hexdigest()
    if (
        before
        and (before["split_sha256"], before["audit_version"]) == (digest, VERSION)
        and "ahead" in before  # an older KOP did not measure it
    ):
        return {**before, **of_labels}
    parts = ([item.file for item in part] for part in (split.training, split.test))
    found = examine_split(data, *parts, split.protocol, split.seed)
    ahead = ahead_of(found.looked_up, predictions)
    return {
        "leakage": asdict(found.leakage),
        "look_up": found.look_up.get_config(),
        "ahead": ahead and ahead.get_config(),
        "split_sha256": digest,
        "audit_version": VERSION,
        **of_labels,
    }


def ahead_of(looked_up: Mapping[str, float], predictions: Predictions) -> Estimate | None:
    """Return by how much more often a network is right than a look-up, image by image.

    Both are asked about the same images, so what counts is the difference on each of them,
    and not whether two intervals overlap.

    Args:
        looked_up: how far the look-up is right of each test file.
        predictions: the network's, of the same files.

    Returns:
        The mean difference, with its interval by bootstrap over radiographs; ``None`` if no
        file was looked up.
    """
    asked = np.array([file in looked_up for file in predictions.files], float)
    if not asked.any():
        return None
    other = np.array([looked_up.get(file, 0.0) for file in predictions.files])
    more = asked * (predictions.predicted == predictions.true) - other
    return ratios([more], [asked], predictions.groups, scale=Scale(None, None))[0]


def read(stored: Mapping[str, Any]) -> SplitExamined:
    """Return what :func:`of_run` found from its plain values.

    Raises:
        KeyError, TypeError: if they are not that.
    """
    if stored.get("by_heart"):
        by_heart.ByHeart.from_config(stored["by_heart"])
    return SplitExamined(Leakage(**stored["leakage"]), Estimate(**stored["look_up"]))
