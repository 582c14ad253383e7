"""What ``train`` has for runs that are processes of their own: ``--queue`` and ``--run``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from kop_core.commands.console import ProgressLine, start_tensorflow
from kop_core.errors import RunError

if TYPE_CHECKING:
    from kop_core.training import TrainingConfig


def add(command: Any) -> None:
    """Give ``train`` its options."""
    command.add_argument(
        "--queue",
        "--background",
        action="store_true",
        help="make the run in the runs folder ($KOP_RUNS) and train it in a process of its own, "
        "when its turn comes; its id is printed",
    )
    command.add_argument("--title", metavar="TEXT", help="its name in a sentence, with --queue")
    command.add_argument(
        "--run", metavar="ID", dest="run_id", help="train a run of the runs folder, in its turn"
    )


def queue(config: TrainingConfig, options: argparse.Namespace) -> int:
    """Make a run, start it and print its id."""
    from kop_core.training import runs

    if options.out or options.resume:
        raise RunError(
            "A run that is queued has its folder in the runs folder: leave --out and --resume away "
            "with --queue. A run goes on with: python -m kop_core resume ID"
        )
    if not options.data:
        raise RunError("Name the data to train on: --data FOLDER.")
    run = runs.create(config, options.data, options.title)
    runs.start(run)
    print(run.id)
    return 0


def work(run_id: str) -> int:
    """Be the process of a run: this is what a queued run starts."""
    from kop_core.training import runs, worker

    state = worker.work(
        runs.find(run_id).folder,
        runs.default_root(),
        report=ProgressLine(),
        prepare=start_tensorflow,
    )
    return 0 if state in (runs.FINISHED, runs.STOPPED) else 1
