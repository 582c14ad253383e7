"""``reproduce``: the paper's network by its own protocol and by radiograph, and a page of it."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kop_core.commands.console import ProgressLine, StageLine, make_folder, start_tensorflow
from kop_core.errors import RunError

if TYPE_CHECKING:
    from kop_core.reproduction import Job

_RUNS = Path("runs") / "reproduction"
_SEEDS = (1, 2)


def add(commands: Any) -> None:
    command = commands.add_parser(
        "reproduce", help="train the paper's network by its protocol and by radiograph, and compare"
    )
    command.add_argument("--data", type=Path, metavar="FOLDER", help="folder of class folders")
    command.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="where the page is written"
    )
    command.add_argument(
        "--seeds", type=int, nargs="+", default=_SEEDS, metavar="S", help="default: 1 2"
    )
    command.add_argument(
        "--folds", type=int, metavar="K", help="by radiograph in K folds, not once a seed"
    )
    command.add_argument(
        "--runs", type=Path, default=_RUNS, metavar="FOLDER", help=f"default: {_RUNS}"
    )
    command.add_argument("--epochs", type=int, metavar="N", help="default: 30, as in the paper")
    command.add_argument(
        "--page-only",
        action="store_true",
        help="train nothing: collect what is finished and write the page anew",
    )
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from kop_core.reproduction import PAPER_SETTINGS, plan, rebuild, reproduce

    settings = PAPER_SETTINGS
    if options.epochs is not None:
        settings = replace(settings, epochs=options.epochs)
    jobs = plan(settings, options.seeds, options.folds)
    start_tensorflow()
    looking = StageLine("looking at the pictures: ")
    if options.page_only:
        page = rebuild(options.out, options.data, jobs, options.runs, looking)
    else:
        if options.data is None:
            raise RunError("Name the data to train on (--data FOLDER), or ask for --page-only.")
        make_folder(options.out)
        progress = ProgressLine()

        def began(job: Job, place: int, total: int) -> None:
            looking.close()
            print(f"run {place} of {total}: {job.name}", file=sys.stderr, flush=True)

        page = reproduce(options.data, jobs, options.out, options.runs, began, progress, looking)
        progress.close()
    looking.close()
    print(f"The page is {page}.")
    return 0
