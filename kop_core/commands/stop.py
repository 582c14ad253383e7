"""``stop``: a run ends at its next step, and what it has learned is kept."""

from __future__ import annotations

import argparse
import time
from typing import Any

from kop_core.commands.runs import add_root

_WAITS = 20.0


def add(commands: Any) -> None:
    command = commands.add_parser("stop", help="stop a training run; it can go on later")
    command.add_argument("id", metavar="ID", help="of the run")
    add_root(command)
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from kop_core.training import runs

    run = runs.get(options.id, options.runs)
    runs.stop(run)
    until = time.monotonic() + _WAITS
    while (run := runs.get(options.id, options.runs)).alive and time.monotonic() < until:
        time.sleep(0.2)
    if run.alive:
        print(f"{run.id} was asked to stop, and does so at its next step.")
    else:
        print(f"{run.id} is {run.state}. {run.message or ''}".rstrip())
    return 0
