"""``runs``: what is training, what waits, and what has ended."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kop_core import wording
from kop_core.commands.console import print_json

if TYPE_CHECKING:
    from kop_core.training.runs import Run


def add(commands: Any) -> None:
    command = commands.add_parser("runs", help="list the training runs")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.add_argument(
        "--at-once", type=int, metavar="N", help="set how many may train at once; the others wait"
    )
    add_root(command)
    command.set_defaults(run=_run)


def add_root(command: Any) -> None:
    """Give a command the option that says where the runs are."""
    command.add_argument(
        "--runs", type=Path, metavar="FOLDER", help="folder of the runs (default: runs)"
    )


def _run(options: argparse.Namespace) -> int:
    from kop_core.training import runs

    if options.at_once is not None:
        runs.set_at_once(options.at_once, options.runs)
    found = runs.list_runs(options.runs)
    if options.json:
        print_json([_values(run) for run in found])
        return 0
    for line in _table([_row(run) for run in found]):
        print(line)
    for run in found:
        if run.message:
            print(f"{run.id}: {run.message}", file=sys.stderr)
    number = runs.at_once(options.runs)
    if options.at_once is not None:
        print(f"{number} {'run trains' if number == 1 else 'runs train'} at once.")
    elif not found:
        print("There are no runs yet. Start one with: python -m kop_core train --queue")
    return 0


def _values(run: Run) -> dict[str, Any]:
    """Return a run for JSON, which has no word for what is no number."""
    values = run.get_config()
    for key, value in (values["best"] or {}).items():
        if isinstance(value, float) and not math.isfinite(value):
            values["best"] = {**values["best"], key: None}
    return values


_HEAD = ("run", "state", "epochs", "best", "left", "title")


def _row(run: Run) -> tuple[str, ...]:
    best = run.best
    left = run.progress["seconds_left"] if run.state == "running" else None
    return (
        run.id,
        run.state,
        f"{run.epoch}/{run.epochs}",
        # No share stands without the part of the data that it was measured on.
        f"{wording.percent(best['accuracy'])} ({best['part']})" if best else "",
        wording.duration(left) if left is not None else "",
        "" if run.title == run.id else run.title,
    )


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    """Return rows in columns, with a head."""
    if not rows:
        return []
    rows = [_HEAD, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows]
