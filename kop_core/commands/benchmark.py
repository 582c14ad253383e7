"""``benchmark``: every network on the same folds with the same budget, and a page of it."""

from __future__ import annotations

import argparse
import logging
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kop_core import networks, wording
from kop_core.commands.console import ProgressLine, StageLine, make_folder, start_tensorflow
from kop_core.datasets.splits import CONFLICTS, PROTOCOLS
from kop_core.errors import KopError, RunError

if TYPE_CHECKING:
    from kop_core.benchmarking import Job, Series, Told
    from kop_core.training import Progress

ALL = "all"
_RUNS = Path("runs") / "benchmark"
_SPLITS = ("radiograph", "random")


def add(commands: Any) -> None:
    command = commands.add_parser(
        "benchmark", help="train every network on the same folds, and compare them on a page"
    )
    command.add_argument("--data", type=Path, metavar="FOLDER", help="folder of class folders")
    command.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="where the page is written"
    )
    command.add_argument(
        "--networks",
        nargs="+",
        metavar="NAME",
        help="default: all; see the command networks. After a name +fresh or +knees says what it "
        "begins with, +joints what it is shown: efficientnet_lite0+knees+joints",
    )
    command.add_argument(
        "--split",
        nargs="+",
        choices=PROTOCOLS,
        default=_SPLITS,
        help=f"what stays together, one or several (default: {' '.join(_SPLITS)})",
    )
    command.add_argument("--folds", type=int, metavar="K", help="default: 5")
    command.add_argument(
        "--repeats", type=int, metavar="N", help="with other folds each (default: 1)"
    )
    command.add_argument("--seed", type=int, metavar="S", help="of the first repeat (default: 1)")
    command.add_argument(
        "--conflicts",
        choices=CONFLICTS,
        default="keep",
        help="radiographs filed under several classes (default: keep)",
    )
    command.add_argument("--epochs", type=int, metavar="N", help="default: 30")
    command.add_argument(
        "--size", type=int, metavar="PIXELS", help="side of the input (default: each its own)"
    )
    command.add_argument(
        "--weights",
        type=Path,
        metavar="FOLDER",
        help="ImageNet weights as NAME.npz, for networks whose weights do not ship with KOP",
    )
    command.add_argument(
        "--runs", type=Path, default=_RUNS, metavar="FOLDER", help=f"default: {_RUNS}"
    )
    command.add_argument(
        "--keep-models", action="store_true", help="leave the models in the runs' folders"
    )
    command.add_argument(
        "--quick",
        action="store_true",
        help="a few files, two small networks unless named, two folds, one epoch: proves only that "
        "it works",
    )
    command.add_argument(
        "--page-only",
        action="store_true",
        help="train nothing: collect what is finished and write the page anew",
    )
    command.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes that train side by side on this machine, such as on one GPU (default: 1)",
    )
    command.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="send the jobs to the Ray cluster at HOST:PORT (or auto), one that you trust",
    )
    command.add_argument(
        "--job-processors", type=int, default=2, metavar="N", help="on a node (default: 2)"
    )
    command.add_argument(
        "--job-gpus", type=float, default=0.0, metavar="N", help="on a node (default: 0)"
    )
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from kop_core.benchmarking import Cluster, benchmark, rebuild

    on = None
    if options.ray is not None:
        if options.keep_models:
            raise RunError(
                "Models stay on the nodes that trained them, and go with their jobs: --keep-models "
                "cannot be had together with --ray."
            )
        if options.workers != 1:
            raise RunError(
                "--ray sends jobs elsewhere, and --workers does them here: choose one of them. "
                "--job-processors and --job-gpus say how many a node does at once."
            )
        on = Cluster(options.ray, options.job_processors, options.job_gpus)
    wanted = _plan(options)
    if options.page_only:
        page = rebuild(options.out, options.data, wanted, options.runs, options.quick)
        print(f"The page is {page}.")
        return 0
    if options.data is None:
        raise RunError("Name the data to train on (--data FOLDER), or ask for --page-only.")
    start_tensorflow()
    # It warns that many networks are traced, one after another: that is what is wanted.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    make_folder(options.out)
    lines = _Lines()
    with ExitStack() as kept:
        data = options.data
        if options.quick:
            from kop_core.benchmarking.quick import handful

            data = kept.enter_context(handful(data, options.runs))
        kept.callback(lines.close)
        page = benchmark(
            data, wanted, options.out, options.runs, quick=options.quick,
            keep_models=options.keep_models, on=on, workers=options.workers, told=lines.told(),
        )  # fmt: skip
    print(f"The page is {page}.")
    if options.quick:
        print("This was a quick run: it proves nothing but that everything works.")
    return 0


def _plan(options: argparse.Namespace) -> tuple[Series, ...]:
    from kop_core.benchmarking import RECIPE, for_epochs, plan, quick_plan

    asked = options.networks or [ALL]
    named = [name for name in asked if name != ALL]
    if ALL in asked and asked != [ALL]:
        named += [name for name in networks.names() if name not in named]
    given = {
        name: getattr(options, name)
        for name in ("folds", "repeats", "seed", "epochs", "size")
        if getattr(options, name) is not None
    }
    if options.quick:
        if given:
            raise RunError(
                "--quick has its own folds, repeats, seed, epochs and size: leave out "
                f"--{next(iter(given))}, or --quick."
            )
        # All of them would take longer than quick allows.
        return quick_plan(named or None, options.split, options.conflicts, options.weights)
    epochs = given.pop("epochs", None)
    return plan(
        named or networks.names(),
        options.split,
        conflicts=options.conflicts,
        recipe=RECIPE if epochs is None else for_epochs(RECIPE, epochs),
        weights=options.weights,
        **given,
    )


class _Lines:
    """How far a benchmark is, on standard error."""

    def __init__(self) -> None:
        self._looking = StageLine("looking at the pictures: ")
        self._timing = StageLine("measuring speed: ")
        self._progress = ProgressLine()

    def told(self) -> Told:
        from kop_core.benchmarking import Told

        return Told(
            looking=lambda done, total: self._looking("files", done, total),
            began=self._began,
            report=self._report,
            ended=self._ended,
            timing=lambda done, total: self._timing("network", done + 1, total),
        )

    def _began(self, job: Job, place: int, total: int, seconds_left: float | None) -> None:
        text = f"job {place} of {total}: {job.name}{_left(seconds_left)}"
        self._progress.show(text, lasting=True)

    def _report(self, progress: Progress) -> None:
        self._progress(progress)

    def _ended(
        self, job: Job, error: KopError | None, waiting: int, seconds_left: float | None
    ) -> None:
        said = "done" if error is None else f"failed: {error}"
        left = _left(seconds_left) if waiting else ""
        self._progress.show(f"{job.name} {said}; {waiting} jobs to come{left}", lasting=True)

    def close(self) -> None:
        self._progress.close()


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f"  about {wording.duration(seconds)} left for all"
