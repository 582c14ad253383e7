"""Jobs in two processes side by side, one of them killed in the middle."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from kop_core.benchmarking import (
    RECIPE,
    Told,
    benchmark,
    beside,
    helper,
    plan,
    results,
    runs,
    speed,
)
from kop_core.errors import RunError
from kop_core.evaluation import Predictions
from tests.conftest import make_data, write_radiographs


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(speed, "covers", lambda *_: True)  # not what this is about
    return write_radiographs(make_data(tmp_path / "knees", 8))


@pytest.fixture
def wanted():
    recipe = replace(RECIPE, epochs=1, warmup_epochs=0, batch_size=8, precision="float32")
    # The network that is ready soonest, at its smallest.
    return plan(["alexnet"], ["radiograph"], 2, recipe=recipe, size=64)


def helpers() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if helper.__name__ in process.cmdline():
                found.append(process)
    return found


def test_a_lost_process_loses_nothing_and_results_are_the_same(data, wanted, tmp_path):
    killed, ended = [], []

    def kill_one() -> None:
        """Kill a process as soon as it has begun a run."""
        until = time.monotonic() + 120
        while time.monotonic() < until and not killed:
            if list((tmp_path / "runs beside").rglob("split.csv")):
                killed.append(helpers()[0])
                killed[0].kill()
            time.sleep(0.02)

    killer = threading.Thread(target=kill_one)
    killer.start()
    benchmark(
        data, wanted, tmp_path / "beside", tmp_path / "runs beside", workers=2,
        told=Told(ended=lambda job, error, left, _: ended.append((job.name, error, left))),
    )  # fmt: skip
    killer.join()
    assert killed and not helpers()
    assert {name for name, *_ in ended} == {job.name for job in wanted[0].jobs}
    assert [(error, left) for _, error, left in ended] == [(None, 1), (None, 0)]
    benchmark(data, wanted, tmp_path / "turn", tmp_path / "runs in turn")
    both = [
        Predictions.read(tmp_path / out / "knees" / results.predictions_name(entry))
        for out in ("beside", "turn")
        for entry in results.read(tmp_path / out / "knees").finished
    ]
    assert both[0].files == both[1].files
    # Each process has its share of the processors, and sums in another order.
    np.testing.assert_allclose(both[0].probabilities, both[1].probabilities, atol=1e-4)
    assert not list((tmp_path / "runs beside").rglob("model.keras"))


def a_program(path: Path, does: str) -> str:
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return str(path)


def test_a_process_that_ends_under_each_job_is_named(data, wanted, tmp_path, monkeypatch):
    tried = tmp_path / "tried"
    program = a_program(tmp_path / "program", f"read line; echo . >> {tried}")
    monkeypatch.setattr(beside.sys, "executable", program)
    with pytest.raises(RunError, match=r"2 of 2 jobs failed.*ended in the middle.*--workers"):
        benchmark(data, wanted, tmp_path / "page", tmp_path / "runs", workers=2)
    assert tried.read_text().count(".") == 4  # each job twice
    assert (tmp_path / "page" / "README.md").is_file()


def test_an_answer_that_is_none_is_named(data, wanted, tmp_path, monkeypatch):
    program = a_program(tmp_path / "program", "while read line; do echo Using a backend; done")
    monkeypatch.setattr(beside.sys, "executable", program)
    with pytest.raises(RunError, match=r"cannot be read: Using a backend"):
        benchmark(data, wanted, tmp_path / "page", tmp_path / "runs", workers=2)


def test_a_full_disk_stops_them_all(data, wanted, tmp_path, monkeypatch):
    answer = '{"failed": "The disk is full.", "no_room": true}'
    program = a_program(tmp_path / "program", f"while read line; do echo '{answer}'; done")
    monkeypatch.setattr(beside.sys, "executable", program)
    with pytest.raises(runs.NoRoom, match="The disk is full"):
        benchmark(data, wanted, tmp_path / "page", tmp_path / "runs", workers=2)


def test_a_job_that_fails_is_told_as_in_turn(data, wanted, tmp_path):
    ended = []
    # A rate at which the loss stops being a number.
    wild = [replace(job, config=replace(job.config, learning_rate=1e30)) for job in wanted[0].jobs]
    beside.do(wild[:1], tmp_path / "runs", data, 1, lambda *said: ended.append(said))
    assert "The loss stopped being a number" in str(ended[0][1])


def test_a_process_does_not_outlive_the_benchmark(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", helper.__name__, str(tmp_path), str(tmp_path), "slim"],
        stdin=subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    time.sleep(0.1)
    process.stdin.close()
    assert process.wait(60) == 0


def test_there_must_be_one(data, wanted, tmp_path):
    with pytest.raises(RunError, match="At least 1 process"):
        benchmark(data, wanted, tmp_path / "page", tmp_path / "runs", workers=0)
