"""Jobs in several processes of this machine, side by side.

One small network after another leaves most of a large graphics card idle, and many of the
processors of a large machine. Each process has its own network and its share of the
processors; runs are at work where they would be without, so what was begun is gone on with.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from kop_core import child_process
from kop_core.benchmarking import helper, runs
from kop_core.benchmarking.planning import Job
from kop_core.errors import KopError, RunError

# How often a job is begun whose process ends under it, of too little memory perhaps.
_TRIES = 2
# Of a graphics card's memory each takes what it needs, and not all at once.
_OF_THE_CARD = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


def share_the_card() -> None:
    """See that no process takes all memory of a graphics card, also not this one.

    It counts if the deep-learning library has not begun to compute yet.
    """
    for name, value in _OF_THE_CARD.items():
        os.environ.setdefault(name, value)


def do(
    jobs: Sequence[Job], folder: Path, data_folder: Path, workers: int,
    ended: Callable[[Job, KopError | None, int], None], keep_models: bool = False,
) -> None:  # fmt: skip
    """Have jobs done by several processes of this machine.

    Args:
        jobs: what to do, in this order.
        folder: of the data set's runs.
        data_folder: the radiographs.
        workers: how many processes.
        ended: called with a job, why it failed (or ``None``), and how many are left.
        keep_models: leave the models in the runs' folders.

    Raises:
        NoRoom: if there is too little room on the disk for another job; those at work have
            ended then.
    """
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    done: queue.SimpleQueue[tuple[Job, KopError | None, int]] = queue.SimpleQueue()
    used = min(workers, len(jobs))
    helpers = [_Helper(folder, data_folder, keep_models, used) for _ in range(used)]
    for each in helpers:
        threading.Thread(target=_serve, args=(each, waiting, done), daemon=True).start()
    left, full = len(jobs), None
    try:
        while left:
            job, error, taken_back = done.get()
            left -= 1
            if isinstance(error, runs.NoRoom):
                full = full or error
                left -= taken_back
            else:
                ended(job, error, left)
    finally:
        for each in helpers:
            each.end()
    if full:
        raise full


def _taken_back(waiting: queue.SimpleQueue[Job]) -> int:
    """Take back what nobody has begun, and return how many jobs that were."""
    count = 0
    with suppress(queue.Empty):
        while True:
            waiting.get_nowait()
            count += 1
    return count


def _serve(
    helper_: _Helper,
    waiting: queue.SimpleQueue[Job],
    done: queue.SimpleQueue[tuple[Job, KopError | None, int]],
) -> None:
    """Have a process do what waits; with each job say how many others are not begun for it."""
    with suppress(queue.Empty):
        while True:
            job = waiting.get_nowait()
            try:
                error = helper_.do(job)
            except Exception as wrong:  # else whoever waits for this job would wait for ever
                error = RunError(f"What its process said was not understood ({wrong!r}).")
            full = isinstance(error, runs.NoRoom)
            done.put((job, error, _taken_back(waiting) if full else 0))


class _Helper:
    """A process that does jobs, started when there is one, and again if it ended under one.

    Args:
        folder: of the data set's runs.
        data_folder: the radiographs.
        keep_models: leave the models in the runs' folders.
        side_by_side: how many such processes there are.
    """

    def __init__(
        self, folder: Path, data_folder: Path, keep_models: bool, side_by_side: int
    ) -> None:
        self._command = [
            sys.executable, "-m", helper.__name__, str(folder.absolute()),
            str(data_folder.absolute()), "keep" if keep_models else "slim", str(side_by_side - 1),
        ]  # fmt: skip
        threads = str(max(1, (os.cpu_count() or 1) // side_by_side))
        self._environment = child_process.environment(
            unless_said={
                "OMP_NUM_THREADS": threads,
                "TF_NUM_INTRAOP_THREADS": threads,
                **_OF_THE_CARD,
            }
        )
        self._process: subprocess.Popen[str] | None = None
        self._starting = threading.Lock()
        self._ended = False

    def do(self, job: Job) -> KopError | None:
        """Have a job done; return why it failed, or ``None``."""
        for _ in range(_TRIES):
            try:
                answer = self._ask(json.dumps(helper.said_of(job)))
            except OSError as error:
                return RunError(f"A process for it could not be started: {error.strerror}.")
            if answer:
                return self._failure(job, answer)
            if self._ended:
                break
        return RunError(
            "Its process ended in the middle, perhaps because the machine ran out of memory. Use "
            "fewer processes (--workers), or smaller images."
        )

    def _ask(self, line: str) -> str:
        """Return the process's answer; an empty one if it ended under the question."""
        with self._starting:
            if self._ended:
                return ""
            if self._process is None:
                self._process = subprocess.Popen(
                    self._command, env=self._environment, text=True, encoding="utf-8",
                    errors="replace", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )  # fmt: skip
            process = self._process
        answer = ""
        with suppress(BrokenPipeError):
            process.stdin.write(line + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        if not answer:
            self._take_away()
        return answer

    def _failure(self, job: Job, answer: str) -> KopError | None:
        """Return why a job failed by what its process answered, or ``None``."""
        try:
            found = json.loads(answer)
            name, failed, no_room = found["name"], found["failed"], found["no_room"]
        except (ValueError, KeyError, TypeError):
            name = None
        if name != job.name:
            self._take_away()  # its next answer would be taken for another job's
            return RunError(f"Its process answered what cannot be read: {answer[:200].strip()}")
        if failed is None:
            return None
        return runs.NoRoom(failed) if no_room else RunError(failed)

    def _take_away(self) -> None:
        """End the process; the next job has a new one."""
        with self._starting:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
                self._process = None

    def end(self) -> None:
        """End the process, whatever it does, and start no other."""
        self._ended = True
        self._take_away()
