"""``delete``: a run and everything in its folder, for good."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from kop_core.commands.runs import add_root
from kop_core.errors import RunError


def add(commands: Any) -> None:
    command = commands.add_parser("delete", help="delete a training run for good")
    command.add_argument("id", metavar="ID", help="of the run")
    command.add_argument("--yes", action="store_true", help="do not ask")
    command.add_argument("--stop", action="store_true", help="stop it first if it is at work")
    add_root(command)
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from kop_core.training import runs

    run = runs.get(options.id, options.runs)
    if not options.yes:
        _ask(run.id, run.epoch, run.epochs)
    runs.delete(run, stop_first=options.stop)
    print(f"{run.id} is deleted.")
    return 0


def _ask(run_id: str, epoch: int, epochs: int) -> None:
    if not sys.stdin.isatty():
        raise RunError(f"Deleting {run_id} cannot be undone. Say that you mean it with --yes.")
    question = f"Delete {run_id} ({epoch} of {epochs} epochs) for good? [y/N] "
    try:
        answer = input(question)
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise RunError(f"{run_id} was not deleted.")
