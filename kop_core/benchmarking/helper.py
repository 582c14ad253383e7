"""A process beside the benchmark's: does the jobs that it is handed, one after another.

``python -m kop_core.benchmarking.helper RUNS DATA KEEP OTHERS`` reads a job a line from its
standard input and answers each with a line on its standard output, both as JSON; see
:mod:`kop_core.benchmarking.beside`. It ends as soon as its input does, with whatever it does:
then the benchmark is gone, and what it had begun is gone on with by the next.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from pathlib import Path
from typing import Any

from kop_core.benchmarking import runs
from kop_core.benchmarking.planning import Job
from kop_core.errors import KopError
from kop_core.training.config import TrainingConfig


def said_of(job: Job) -> dict[str, Any]:
    """Return a job as plain values."""
    return {"name": job.name, "config": job.config.get_config()}


def serve(folder: Path, data_folder: Path, keep_models: bool, others: int) -> None:
    """Do jobs until there are no more.

    Args:
        folder: of the data set's runs.
        data_folder: the radiographs.
        keep_models: leave the models in the runs' folders.
        others: how many processes do jobs beside this one.
    """
    # What libraries print would be taken for answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    jobs: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    while True:
        asked = json.loads(jobs.get())
        job = Job(asked["name"], TrainingConfig.from_config(asked["config"]))
        failed, no_room = None, False
        try:
            runs.attempt(job, folder, data_folder, keep_model=keep_models, beside=others)
        except KopError as error:
            failed, no_room = str(error), isinstance(error, runs.NoRoom)
        answer = {"name": job.name, "failed": failed, "no_room": no_room}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _listen(jobs: queue.SimpleQueue[str]) -> None:
    """Take what is asked for; end the process, whatever it does, when nobody is left to ask."""
    for line in sys.stdin:
        jobs.put(line)
    os._exit(0)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "keep", int(sys.argv[4]))
