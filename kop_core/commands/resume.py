"""``resume``: a run that ended too early goes on after its last whole epoch."""

from __future__ import annotations

import argparse
from typing import Any

from kop_core.commands.following import follow
from kop_core.commands.runs import add_root


def add(commands: Any) -> None:
    command = commands.add_parser(
        "resume", help="go on with a training run that was stopped, killed or failed"
    )
    command.add_argument("id", metavar="ID", help="of the run")
    command.add_argument("--wait", action="store_true", help="stay until it has ended")
    add_root(command)
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from kop_core.training import runs

    run = runs.get(options.id, options.runs)
    runs.resume(run)
    if options.wait:
        return follow(run.id, options.runs)
    print(f"{run.id} goes on after {run.epoch} of {run.epochs} epochs, when its turn comes.")
    return 0
