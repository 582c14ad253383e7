"""Following a run that is a process of its own, until it ends."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from kop_core.commands.console import ProgressLine

if TYPE_CHECKING:
    from kop_core.training import Progress
    from kop_core.training.runs import Run

_LOOKS_EVERY = 0.5


def follow(run_id: str, root: Path | None) -> int:
    """Show how far a run is until it ends. Ending this leaves the run at work.

    Returns:
        The exit status: 0 if it finished or was stopped, 130 if this was ended before.
    """
    from kop_core.training import runs

    line = ProgressLine()
    run = runs.get(run_id, root)
    known = run.epoch
    try:
        while run.alive:
            known = _show(line, run, known)
            time.sleep(_LOOKS_EVERY)
            run = runs.get(run_id, root)
    except KeyboardInterrupt:
        line.close()
        print(f"{run_id} goes on without being watched.", file=sys.stderr)
        return 130
    _show(line, run, known)
    line.close()
    print(f"{run.id} is {run.state} after {run.epoch} of {run.epochs} epochs.")
    if run.message:
        print(run.message, file=sys.stderr)
    return 0 if run.state in (runs.FINISHED, runs.STOPPED) else 1


def _show(line: ProgressLine, run: Run, known: int) -> int:
    """Show the epochs that have ended since the last look, and what goes on now."""
    for row in run.history:
        if row["epoch"] > known:
            line(_progress(run, "epoch", row))
    if run.state == "queued":
        line.show(run.message or "The run is starting.")
    elif run.alive and run.progress["step"] is not None:
        line(_progress(run, run.progress["stage"] or "", run.progress["figures"]))
    return run.epoch


def _progress(run: Run, stage: str, figures: dict[str, float]) -> Progress:
    from kop_core.training import Progress

    said = run.progress
    return Progress(
        stage=stage,
        done=said["step"] or 0,
        total=said["steps"] or 0,
        epoch=int(figures["epoch"]) if stage == "epoch" else said["epoch"] or 0,
        epochs=run.epochs,
        seconds_left=said["seconds_left"],
        figures=figures,
    )
