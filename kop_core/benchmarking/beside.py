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
from pathlib import Path

from kop_core.benchmarking import helper, runs
from kop_core.benchmarking.planning import Job
from kop_core.errors import KopError, RunError

# How often a job is begun whose process ends under it, of too little memory perhaps.
_TRIES = 2
_CODE = Path(__file__).resolve().parents[2]


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
        NoRoom: if there is too little room on the disk: no other job would fare better.
    """
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    done: queue.SimpleQueue[tuple[Job, KopError | None]] = queue.SimpleQueue()
    used = min(workers, len(jobs))
    threads = max(1, (os.cpu_count() or 1) // used)
    helpers = [_Helper(folder, data_folder, keep_models, threads) for _ in range(used)]
    for each in helpers:
        threading.Thread(target=_serve, args=(each, waiting, done), daemon=True).start()
    try:
        for left in reversed(range(len(jobs))):
            job, error = done.get()
            if isinstance(error, runs.NoRoom):
                raise error
            ended(job, error, left)
    finally:
        for each in helpers:
            each.end()


def _serve(
    helper_: _Helper,
    waiting: queue.SimpleQueue[Job],
    done: queue.SimpleQueue[tuple[Job, KopError | None]],
) -> None:
    while True:
        try:
            job = waiting.get_nowait()
        except queue.Empty:
            return
        done.put((job, helper_.do(job)))


class _Helper:
    """A process that does jobs, started when there is one, and again if it ended under one."""

    def __init__(self, folder: Path, data_folder: Path, keep_models: bool, threads: int) -> None:
        self._command = [
            sys.executable, "-m", helper.__name__,
            str(folder.absolute()), str(data_folder.absolute()), "keep" if keep_models else "slim",
        ]  # fmt: skip
        paths = [str(_CODE), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._environment = {
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "KERAS_BACKEND": "tensorflow",
            # Each its share of the processors, and of a graphics card what it needs.
            "OMP_NUM_THREADS": str(threads),
            "TF_NUM_INTRAOP_THREADS": str(threads),
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
        }
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
                return _failure(answer)
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
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(
                    self._command, env=self._environment, text=True, encoding="utf-8",
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                )  # fmt: skip
            process = self._process
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            return ""
        answer = process.stdout.readline()
        if not answer:
            process.wait()
        return answer

    def end(self) -> None:
        """End the process, whatever it does."""
        with self._starting:
            self._ended = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _failure(answer: str) -> KopError | None:
    """Return why a job failed by what its process answered, or ``None``."""
    try:
        found = json.loads(answer)
        failed, no_room = found["failed"], found["no_room"]
    except (ValueError, KeyError, TypeError):
        return RunError(f"Its process answered what cannot be read: {answer[:200].strip()}")
    if failed is None:
        return None
    return runs.NoRoom(failed) if no_room else RunError(failed)
