"""Jobs in two processes side by side, one of them killed in the middle."""

from __future__ import annotations

import json
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
    np.testing.assert_allclose(both[0].probabilities, both[1].probabilities, atol=1e-3)
    assert not list((tmp_path / "runs beside").rglob("model.keras"))


PYTHON = sys.executable


def a_program(path: Path, does: str) -> str:
    """Write a program that does something with each line that it is given."""
    path.write_text(f"#!{PYTHON}\nimport json, sys\nfor line in sys.stdin:\n    {does}\n")
    path.chmod(0o755)
    return str(path)


def test_a_process_that_ends_under_each_job_is_named(data, wanted, tmp_path, monkeypatch):
    tried = tmp_path / "tried"
    program = a_program(tmp_path / "program", f"open({str(tried)!r}, 'a').write('.'); break")
    monkeypatch.setattr(beside.sys, "executable", program)
    with pytest.raises(RunError, match=r"2 of 2 jobs failed.*ended in the middle.*--workers"):
        benchmark(data, wanted, tmp_path / "page", tmp_path / "runs", workers=2)
    assert tried.read_text().count(".") == 4  # each job twice
    assert (tmp_path / "page" / "README.md").is_file()


def test_an_answer_that_is_none_is_named(data, wanted, tmp_path, monkeypatch):
    program = a_program(tmp_path / "program", "print('Using a backend', flush=True)")
    monkeypatch.setattr(beside.sys, "executable", program)
    with pytest.raises(RunError, match=r"cannot be read: Using a backend"):
        benchmark(data, wanted, tmp_path / "page", tmp_path / "runs", workers=2)


def test_a_full_disk_stops_them_all_and_what_is_at_work_ends(data, wanted, tmp_path, monkeypatch):
    answer = """print(json.dumps({"name": json.loads(line)["name"], "no_room": "fold-1" in line,
        "failed": "The disk is full." if "fold-1" in line else "Wrong."}), flush=True)"""
    monkeypatch.setattr(beside.sys, "executable", a_program(tmp_path / "program", answer))
    ended = []
    jobs = [*wanted[0].jobs, *(replace(job, name=f"{job.name}-again") for job in wanted[0].jobs)]
    with pytest.raises(runs.NoRoom, match="The disk is full"):
        beside.do(jobs, tmp_path / "runs", data, 1, lambda *said: ended.append(said))
    assert not ended and not helpers()
    jobs = jobs[1:] + jobs[:1]
    with pytest.raises(runs.NoRoom, match="The disk is full"):
        beside.do(jobs, tmp_path / "runs", data, 1, lambda *said: ended.append(said))
    assert [(str(error), left) for _, error, left in ended] == [("Wrong.", 3)]


def test_what_finished_is_on_the_page_though_it_is_broken_off(data, wanted, tmp_path, monkeypatch):
    class Interrupted(BaseException):
        """Ctrl-C."""

    def interrupt(*_) -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        benchmark(data, wanted, tmp_path / "page", tmp_path / "runs", workers=2,
                  told=Told(ended=interrupt))  # fmt: skip
    assert not helpers()
    assert results.read(tmp_path / "page" / "knees").record["entries"][0]["folds_done"] >= 1


def test_a_job_that_fails_is_told_as_in_turn(data, wanted, tmp_path):
    ended = []
    # A rate at which the loss stops being a number.
    wild = [replace(job, config=replace(job.config, learning_rate=1e30)) for job in wanted[0].jobs]
    beside.do(wild[:1], tmp_path / "runs", data, 1, lambda *said: ended.append(said))
    assert "The loss stopped being a number" in str(ended[0][1])


def test_a_process_does_not_outlive_the_benchmark(data, wanted, tmp_path):
    process = subprocess.Popen(
        [PYTHON, "-m", helper.__name__, str(tmp_path / "runs"), str(data), "slim", "0"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2], text=True,
    )  # fmt: skip
    process.stdin.write(json.dumps(helper.said_of(wanted[0].jobs[0])) + "\n")
    process.stdin.flush()
    until = time.monotonic() + 120
    while not list((tmp_path / "runs").rglob("split.csv")) and time.monotonic() < until:
        time.sleep(0.02)
    process.stdin.close()  # in the middle of the job
    assert process.wait(60) == 0
    assert not list((tmp_path / "runs").rglob("card.json")) and not process.stdout.read()


def test_there_must_be_one(data, wanted, tmp_path):
    with pytest.raises(RunError, match="At least 1 process"):
        benchmark(data, wanted, tmp_path / "page", tmp_path / "runs", workers=0)
