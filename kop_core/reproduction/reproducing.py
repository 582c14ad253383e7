"""Train what is missing, collect what is there, write the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kop_core.datasets import DataSet, scan
from kop_core.errors import RunError
from kop_core.reproduction import page, results, runs
from kop_core.reproduction.settings import Job
from kop_core.training import Progress, locks, resume, train
from kop_core.training.run_folder import RunFolder

if TYPE_CHECKING:
    from kop_core.datasets.audit.engine import Progress as Looking

Began = Callable[[Job, int, int], None]


def reproduce(
    data_folder: str | Path,
    jobs: Sequence[Job],
    out: str | Path,
    runs_folder: str | Path,
    began: Began | None = None,
    report: Callable[[Progress], None] | None = None,
    looking: Looking | None = None,
) -> Path:
    """Train and evaluate every job on a data set, and write the page after each.

    Stopped at any point, the same call goes on: finished runs are used as they are, a half
    done one is resumed. What the page's folder holds is finished, though its run may be gone:
    so a long reproduction can be shared among machines.

    Args:
        data_folder: the radiographs.
        jobs: see :func:`kop_core.reproduction.plan`.
        out: folder of the page.
        runs_folder: holds a folder for the data set with a run folder for each job.
        began: called with a job, its place from 1, and how many there are.
        report: called as a run goes on.
        looking: called as the audit looks at the pictures, which comes first.

    Returns:
        The page.

    Raises:
        DataSetError: if the data cannot be trained on.
        RunError: if a run or result that is there has other settings or data or was altered,
            another reproduction is at work on the same runs, or a training fails.
    """
    data = scan(data_folder)
    name = data.folder.resolve().name
    folder = Path(runs_folder) / name
    with locks.alone(folder, "reproduction"):
        written = _collect(name, folder, jobs, Path(out), data, looking)
        done = {run["name"] for run in results.read(Path(out) / name).finished}
        for place, job in enumerate(jobs, start=1):
            if job.name in done:
                continue
            if began:
                began(job, place, len(jobs))
            _go(RunFolder(folder / job.name), job, data_folder, report)
            written = _collect(name, folder, jobs, Path(out), data, looking)
    return written


def _go(
    run: RunFolder, job: Job, data_folder: str | Path, report: Callable[[Progress], None] | None
) -> None:
    import keras

    runs.clear_if_not_begun(run)
    if runs.state(run) == runs.UNFINISHED:
        resume(run.path, report, data_folder)
    else:
        train(job.config, data_folder, run.path, report)
    keras.utils.clear_session()  # the next run is another network


def _collect(
    name: str,
    folder: Path,
    jobs: Sequence[Job],
    out: Path,
    data: DataSet | None,
    looking: Looking | None,
) -> Path:
    results.collect(name, folder, jobs, out, data, looking)
    return page.write(out)


def rebuild(
    out: str | Path,
    data_folder: str | Path | None = None,
    jobs: Sequence[Job] = (),
    runs_folder: str | Path | None = None,
    looking: Looking | None = None,
) -> Path:
    """Write the page anew without training.

    Args:
        out: folder of the page.
        data_folder: collect what is finished of this data set first; it need not be there
            any more, only its name counts then.
        jobs: what is wanted of it.
        runs_folder: where its runs are.
        looking: called as the audit looks at the pictures, if they are there.

    Returns:
        The page.

    Raises:
        RunError: if there is nothing to show, or what there is does not fit.
    """
    if data_folder is not None and runs_folder is not None:
        source = Path(data_folder)
        data = scan(source) if source.exists() else None
        name = data.folder.resolve().name if data else source.name
        folder = Path(runs_folder) / name
        known = (Path(out) / name / results.RESULTS).is_file()
        if not folder.is_dir() and not known:
            raise RunError(f"There are no runs of {name} in {runs_folder}. Train them first.")
        return _collect(name, folder, jobs, Path(out), data, looking)
    return page.write(Path(out))
