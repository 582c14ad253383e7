"""Run what is missing, collect what is there, write the page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kop_core import networks
from kop_core.benchmarking import beside, cluster, page, results, runs, speed
from kop_core.benchmarking.cluster import Cluster
from kop_core.benchmarking.planning import Job, Series
from kop_core.datasets import DataSet, make_split, scan, with_radiographs
from kop_core.errors import DataSetError, KopError, RunError
from kop_core.training import Progress, best_precision, locks, transfer
from kop_core.training.run_folder import RunFolder

# Writing the page takes at most a fifth of the time.
_PATIENCE = 4


@dataclass(frozen=True)
class Told:
    """Whom a benchmark tells what it does; each may be ``None``.

    Attributes:
        looking: called with files done and in all, as the pictures are scanned and looked at.
        began: called with a job, its place from 1, how many there are, and the seconds that
            are left for all, if that can be said.
        report: called as a job goes on.
        ended: called with a job that a cluster has done, why it failed or ``None``, how many
            are left, and the seconds left.
        timing: called with networks done and in all, as their speed is measured.
    """

    looking: Callable[[int, int], None] | None = None
    began: Callable[[Job, int, int, float | None], None] | None = None
    report: Callable[[Progress], None] | None = None
    ended: Callable[[Job, KopError | None, int, float | None], None] | None = None
    timing: Callable[[int, int], None] | None = None


def benchmark(
    data_folder: str | Path,
    wanted: Sequence[Series],
    out: str | Path,
    runs_folder: str | Path,
    *,
    quick: bool = False,
    keep_models: bool = False,
    on: Cluster | None = None,
    workers: int = 1,
    told: Told | None = None,
) -> Path:
    """Train and evaluate every network on every fold, and write the page after each job.

    Stopped at any point, the same call goes on: what is finished is used as it is, a half
    done job is resumed. What the page's folder holds is finished, though its runs may be gone:
    so a long benchmark can be shared among sessions and machines that do not last. A job that
    fails does not stop the others.

    Args:
        data_folder: the radiographs.
        wanted: see :func:`kop_core.benchmarking.plan`.
        out: folder of the page.
        runs_folder: holds a folder for the data set, and in it one for each job.
        quick: say on the page that its figures prove nothing.
        keep_models: leave the models in the runs' folders, which takes much room.
        on: a Ray cluster that does the jobs; without one they are done here.
        workers: how many processes of this machine do jobs side by side; one does them in turn.
        told: whom to tell how far it is.

    Returns:
        The page.

    Raises:
        DataSetError: if the data cannot be divided into the folds.
        RunError: if a run or result that is there has other settings or data or was altered,
            if there is no room on the disk, or if jobs failed; the page has the others.
    """
    told = told or Told()
    if workers < 1:
        raise RunError(f"At least 1 process must do the jobs, not {workers}.")
    scanned = scan(data_folder, told.looking)
    data = with_radiographs(scanned, told.looking)
    _require_folds(data, wanted)
    work = _Work(
        scanned.folder.resolve().name, Path(runs_folder), tuple(wanted), Path(out),
        results.facts(scanned, data), quick,
    )  # fmt: skip
    with locks.alone(work.folder, "benchmark"):
        for series in wanted:
            for job in series.jobs:  # one may have been stopped before it was tidied up
                runs.slim(RunFolder(work.folder / job.name), keep_models)
        written = work.collect()
        missing = work.missing()
        if workers > 1:
            beside.share_the_card()
        _require_weights(missing)
        if on is not None and missing:
            with cluster.connected(on) as ray:
                failed = work.send(ray, on, missing, scanned.source, told)
        elif workers > 1 and missing:
            failed = work.do_beside(missing, scanned.source, workers, keep_models, told)
        else:
            failed = work.do(missing, scanned.source, keep_models, told)
        timed = work.timed()
        if not failed and not speed.covers(work.stored().speed, timed):
            written = work.collect(speed.measure(timed, told.timing))
    if failed:
        raise RunError(_said_of(failed, len(missing), written))
    return written


def _said_of(failed: Mapping[str, KopError], jobs: int, page_at: Path) -> str:
    first = next(iter(failed))
    others = ", ".join(list(failed)[1:4]) + (" …" if len(failed) > 4 else "")
    return (
        f"{len(failed)} of {jobs} jobs failed, and the page {page_at} has the others. {first}: "
        f"{failed[first]}" + (f" The same call tries them again. Others: {others}." if others else
        " The same call tries it again.")
    )  # fmt: skip


def _require_folds(data: DataSet, wanted: Sequence[Series]) -> None:
    """See, before hours of training, that the data can be divided so.

    Raises:
        DataSetError: if it cannot.
    """
    seen = set()
    for series in wanted:
        config = series.jobs[0].config
        key = (config.split, config.seed, config.folds, config.conflicts)
        if key in seen:
            continue
        seen.add(key)
        for fold in range(1, len(series.jobs) + 1):
            found = make_split(
                data, config.split, config.test_share, config.seed, config.conflicts, fold,
                config.folds,
            )  # fmt: skip
            if len(found.training) < config.batch_size:
                raise DataSetError(
                    f"{data.folder} has too few files for {config.folds} folds: "
                    f"{len(found.training)} would train, fewer than a batch of "
                    f"{config.batch_size}. Add pictures, or use more folds."
                )


def _require_weights(jobs: Sequence[Job]) -> None:
    """See, before hours of training, that files of weights fit the networks named after them.

    Raises:
        WeightsError: if one does not, or cannot be read.
    """
    files = {job.config.pretrained: job.config for job in jobs if job.config.pretrained}
    for config in files.values():
        transfer.require_weights(config)


@dataclass(frozen=True)
class _Work:
    """A benchmark at work on one data set."""

    name: str
    runs_root: Path
    wanted: tuple[Series, ...]
    out: Path
    facts: Mapping[str, Any]
    quick: bool

    @property
    def folder(self) -> Path:
        return self.runs_root / self.name

    def keep(self, speeds: Mapping[str, Any] | None = None) -> None:
        """Put what is finished into the page's folder."""
        with self._written():
            results.collect(
                self.name, self.folder, self.wanted, self.out, self.facts, self.quick, speeds
            )

    def collect(self, speeds: Mapping[str, Any] | None = None) -> Path:
        """Put what is finished into the page's folder, and write the page."""
        self.keep(speeds)
        with self._written():
            return page.write(self.out)

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise runs.NoRoom(
                f"The page could not be written to {self.out} ({error.strerror}). Free some "
                "space, and call the benchmark again: it goes on from there."
            ) from error

    def stored(self) -> results.Results:
        return results.read(self.out / self.name)

    def missing(self) -> list[Job]:
        """Return the jobs that are to be done, in order."""
        stored = self.stored()
        return [
            job for series in self.wanted for job in series.jobs if not stored.holds(series, job)
        ]

    def timed(self) -> dict[str, dict[str, Any]]:
        """Return the settings of each network whose speed the page is to tell."""
        known = {e["network"]: e["settings"] for e in self.stored().finished}
        known |= {series.network: series.settings for series in self.wanted}
        return {name: its for name, its in known.items() if its["network"] in networks.names()}

    def do(
        self, jobs: Sequence[Job], data: Path, keep_models: bool, told: Told
    ) -> dict[str, KopError]:
        """Do jobs here, one after another; return why some failed, by name."""
        failed: dict[str, KopError] = {}
        left = _TimeLeft(self, jobs)
        for place, job in enumerate(jobs, start=1):
            if told.began:
                told.began(job, place, len(jobs), left.of(jobs[place - 1 :]))
            since = time.monotonic()
            try:
                runs.attempt(job, self.folder, data, told.report, keep_models)
            except runs.NoRoom:
                raise
            except KopError as error:
                # Not the error itself: its traceback holds the job's network and pictures.
                failed[job.name] = RunError(str(error))
                continue
            left.note(job, time.monotonic() - since)
            self.collect()
        return failed

    def do_beside(
        self, jobs: Sequence[Job], data: Path, workers: int, keep_models: bool, told: Told
    ) -> dict[str, KopError]:
        """Have jobs done by processes side by side; return why some failed, by name."""
        failed: dict[str, KopError] = {}
        ended = self._noting(jobs, failed, told)
        with self._last_collected():
            beside.do(jobs, self.folder, data, workers, ended, keep_models)
        return failed

    def send(
        self, ray: Any, on: Cluster, jobs: Sequence[Job], data: Path, told: Told
    ) -> dict[str, KopError]:
        """Have jobs done by a cluster; return why some failed, by name."""
        failed: dict[str, KopError] = {}
        ended = self._noting(jobs, failed, told)
        precision = best_precision()  # one for all, whatever processor a node has
        sent = [
            replace(job, config=replace(job.config, precision=precision))
            if job.config.precision == "auto"
            else job
            for job in jobs
        ]
        with self._last_collected():
            cluster.do(ray, sent, self.folder, data, self.facts["fingerprint"], on, ended)
        return failed

    @contextmanager
    def _last_collected(self) -> Iterator[None]:
        """Collect at the end, however it ends: jobs may have finished that nobody has heard of."""
        try:
            yield
        except BaseException:
            with suppress(KopError):  # what ended it is told, and this would be told again
                self.collect()
            raise
        self.collect()

    def _noting(
        self, jobs: Sequence[Job], failed: dict[str, KopError], told: Told
    ) -> Callable[[Job, KopError | None, int], None]:
        """Return what is called when a job has ended elsewhere: it keeps what came of it.

        Where jobs end quickly the page waits for several: written after each it would take
        longer than they do.
        """
        began = time.monotonic()
        written, took = began, 0.0

        def ended(job: Job, error: KopError | None, waiting: int) -> None:
            nonlocal written, took
            if error is not None:
                failed[job.name] = error
            else:
                since = time.monotonic()
                if since - written >= _PATIENCE * took:
                    self.collect()
                    written = time.monotonic()
                    took = written - since
                else:
                    self.keep()
            spent, done = time.monotonic() - began, len(jobs) - waiting
            if told.ended:
                told.ended(job, error, waiting, spent / done * waiting)

        return ended


class _TimeLeft:
    """How long jobs take: as long as others of their network did, or of any."""

    def __init__(self, work: _Work, jobs: Sequence[Job]) -> None:
        self._seconds: dict[str, list[float]] = {}
        self._folder = work.folder
        for series in work.wanted:
            for job in series.jobs:
                if job not in jobs:
                    self.note(job)

    def note(self, job: Job, seconds: float | None = None) -> None:
        """Learn from a job that is done.

        Args:
            job: which.
            seconds: that it took; else those of its epochs, if it was done before.
        """
        if seconds is None:
            history = RunFolder(self._folder / job.name).read_history()
            seconds = sum(row["seconds"] for row in history)
        if seconds:
            self._seconds.setdefault(job.config.network, []).append(seconds)

    def of(self, jobs: Sequence[Job]) -> float | None:
        """Return the seconds of jobs that are to come, or ``None`` if none was done yet."""
        means = {name: sum(found) / len(found) for name, found in self._seconds.items()}
        if not means:
            return None
        usual = sum(means.values()) / len(means)
        return sum(means.get(job.config.network, usual) for job in jobs)


def rebuild(
    out: str | Path,
    data_folder: str | Path | None = None,
    wanted: Sequence[Series] = (),
    runs_folder: str | Path | None = None,
    quick: bool = False,
) -> Path:
    """Write the page anew without training.

    Args:
        out: folder of the page.
        data_folder: collect what is finished of this data set first; the pictures need not
            be there any more, only its name counts then.
        wanted: what is asked for of it.
        runs_folder: where its runs are.
        quick: say on the page that its figures prove nothing.

    Returns:
        The page.

    Raises:
        RunError: if there is nothing to show, or what there is does not fit.
    """
    if data_folder is not None and runs_folder is not None:
        source, facts = Path(data_folder), None
        name = source.resolve().name
        if source.exists():
            scanned = scan(source)
            name = scanned.folder.resolve().name
            facts = results.facts(scanned, with_radiographs(scanned))
        folder = Path(runs_folder) / name
        known = (Path(out) / name / results.RESULTS).is_file()
        if not known and (facts is None or not folder.is_dir()):
            raise RunError(f"There are no runs of {name} in {runs_folder}. Train them first.")
        results.collect(name, folder, wanted, Path(out), facts, quick)
    return page.write(Path(out))
