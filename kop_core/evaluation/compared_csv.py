"""Models side by side as one CSV table: a row a figure, everything that the page draws."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from kop_core import wording
from kop_core.classes import CLASS_NAMES
from kop_core.evaluation import published
from kop_core.evaluation.compared import Compared, Entry, disagreements, published_split
from kop_core.evaluation.curves import precision_recall_curves, roc_curves

COLUMNS = (
    "kind", "model", "other", "figure", "at", "value", "low", "high", "p", "p_holm", "images",
    "radiographs", "test_part", "split", "note",
)  # fmt: skip


def to_csv(compared: Compared) -> str:
    """Return everything of a comparison as a table.

    The column ``kind`` says what a row is: ``metric``, ``confusion`` (``figure`` says labelled
    and called, ``value`` how many images), ``caution``, ``member`` (of an ensemble: ``other``),
    ``difference``, ``mcnemar`` (``at`` are the radiographs for the first model, ``value`` less
    those for the second), ``disagreement`` (``figure`` says labelled, and called by each;
    ``note`` is the file, ``images`` are its copies that are called alike and itself), ``not
    tested``, ``size``, ``speed``, ``roc`` (``at`` the share wrongly called, ``value`` the share
    found), ``precision-recall`` (``at`` the share found), ``reliability`` (``at`` the mean score),
    ``learning curve`` (``at`` the epoch), ``published`` or ``not compared``.
    """
    stream = io.StringIO()
    rows = csv.DictWriter(stream, COLUMNS)
    rows.writeheader()
    for part, entry in zip(compared.parts, compared.entries):
        about = {
            "model": entry.key,
            "images": entry.evaluation.images,
            "radiographs": entry.evaluation.groups if entry.evaluation.by_radiograph else None,
            "test_part": part,
            "split": wording.split_badge(entry.split)[0],
        }
        rows.writerows(_plain({**about, **row}) for row in _of_entry(entry))
    for row in (*_of_pairs(compared), *_others(compared)):
        rows.writerow(_plain(row))
    return stream.getvalue()


def _of_entry(entry: Entry) -> Iterator[dict[str, Any]]:
    for name, found in entry.evaluation.metrics.items():
        yield {"kind": "metric", "figure": name, **found.get_config()}
    for true, row in zip(CLASS_NAMES, entry.evaluation.confusion.tolist()):
        for called, images in zip(CLASS_NAMES, row):
            yield {"kind": "confusion", "figure": f"{true}, called {called}", "value": images}
    for caution in entry.cautions:
        yield {"kind": "caution", "note": caution}
    for member in entry.members:
        yield {"kind": "member", "other": member}
    for figure, value in (("parameters", entry.parameters), ("bytes", entry.bytes)):
        yield {"kind": "size", "figure": figure, "value": value}
    if entry.speed:
        speed = entry.speed
        yield {
            "kind": "speed", "figure": "milliseconds", "value": speed.milliseconds,
            "low": speed.low, "high": speed.high,
            "note": f"median of {speed.repeats}, from the first to the ninth tenth; "
            f"{speed.machine}",
        }  # fmt: skip
    for kind, curves in (
        ("roc", roc_curves(entry.predictions)),
        ("precision-recall", precision_recall_curves(entry.predictions)),
    ):
        for curve in curves:
            for x, y in zip(curve.x.tolist(), curve.y.tolist()):
                yield {"kind": kind, "figure": curve.class_name, "at": x, "value": y}
    for one in entry.measured.bins:
        if one.images:
            yield {"kind": "reliability", "figure": f"{one.low:g} to {one.high:g}",
                   "at": one.confidence, **one.right.get_config(), "images": one.images,
                   "radiographs": one.radiographs}  # fmt: skip
    for epoch in entry.history:
        for name, value in epoch.items():
            if name != "epoch":
                yield {"kind": "learning curve", "figure": name, "at": epoch["epoch"],
                       "value": value}  # fmt: skip


def _of_pairs(compared: Compared) -> Iterator[dict[str, Any]]:
    for pair in compared.pairs:
        about = {"model": pair.first, "other": pair.second}
        if not pair.comparable:
            yield {**about, "kind": "not tested", "note": pair.reason}
            continue
        for name, found in pair.differences.items():
            yield {**about, "kind": "difference", "figure": name, **found.get_config(),
                   "p_holm": pair.holm[name]}  # fmt: skip
        votes = pair.mcnemar
        yield {
            **about, "kind": "mcnemar", "at": votes.first, "value": votes.first - votes.second,
            "p": votes.p, "p_holm": pair.mcnemar_holm,
            "note": f"{votes.first} {'radiographs' if pair.by_radiograph else 'files'} for the "
            f"first, {votes.second} for the second, {votes.ties} for neither",
        }  # fmt: skip
        first, second = (compared.entry(key).predictions for key in (pair.first, pair.second))
        for case in disagreements(first, second):
            yield {
                **about, "kind": "disagreement", "images": 1 + case.copies, "note": case.file,
                "figure": f"{case.true}, called {case.first} ({case.first_score:.3f}) and "
                f"{case.second} ({case.second_score:.3f})",
            }  # fmt: skip


def _others(compared: Compared) -> Iterator[dict[str, Any]]:
    for name, reason in compared.failed:
        yield {"kind": "not compared", "model": name, "note": reason}
    if compared.no_ensemble:
        yield {"kind": "not compared", "model": "ensemble", "note": compared.no_ensemble}
    for row in published.TABLE_3:
        yield {
            "kind": "published", "model": f"{row.study}, {row.network}", "figure": "accuracy",
            "value": row.accuracy, "images": row.images, "split": published_split(row),
            "note": "as printed in Table 3; no interval is given",
        }  # fmt: skip


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Keep a spreadsheet from taking a name for a formula."""
    return {
        name: f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
        for name, value in row.items()
    }
