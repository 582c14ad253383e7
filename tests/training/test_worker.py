"""Runs as processes: real ones, on a tiny data set, killed and stopped as they would be."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from kop_core.errors import RunError
from kop_core.evaluation import Predictions
from kop_core.training import TrainingConfig, run_queue, runs, worker
from kop_core.training.run_folder import RunFolder
from kop_core.training.run_state import read_state, write_state

CONFIG = TrainingConfig(network="small", epochs=4, seed=3, batch_size=8, learning_rate=0.02,
                        options={}, precision="float32")  # fmt: skip
LONG = 90  # seconds; a busy machine imports TensorFlow in twenty


def command(run: runs.Run, *options: str) -> list[str]:
    return [sys.executable, "-m", "tests.training.worker_process", str(run.folder), *options]


PRETEND = ("--pretend", "--pause", "0.05")


@pytest.fixture
def root(tmp_path):
    """A runs folder; what is at work in it ends with the test."""
    folder = tmp_path / "runs"
    yield folder
    for run in runs.list_runs(folder):
        pid = run.progress["pid"]
        if run.alive and pid:
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def new(small_data, small_network, root) -> Callable[..., runs.Run]:
    def make(**settings) -> runs.Run:
        return runs.create(replace(CONFIG, **settings), small_data, "Small knees", root)

    return make


def again(run: runs.Run) -> runs.Run:
    return runs.get(run.id, run.folder.parent)


def until(run: runs.Run, holds: Callable[[runs.Run], bool], seconds: float = LONG) -> runs.Run:
    """Wait until something holds of a run."""
    end = time.monotonic() + seconds
    while not holds(found := again(run)):
        assert time.monotonic() < end, (found, found.log.read_text()[-3000:])
        time.sleep(0.02)
    return found


def ended(run: runs.Run) -> bool:
    return not run.alive


def kill(run: runs.Run, number: int = signal.SIGKILL) -> None:
    os.kill(again(run).progress["pid"], number)


def test_from_start_to_finish_while_two_look(new):
    run = new(epochs=2)
    seen: list[set[str]] = [set(), set()]
    stop = threading.Event()

    def look(states: set[str]) -> None:
        while not stop.is_set():
            json.loads((run.folder / "state.json").read_text())  # never half of it
            found = again(run)
            states.add(found.state)
            assert not found.message or found.state == "queued", found.message

    runs.start(run, command=command(run))
    lookers = [threading.Thread(target=look, args=(states,)) for states in seen]
    for looker in lookers:
        looker.start()
    with pytest.raises(RunError, match=r"already|at work"):
        runs.start(run, command=command(run))
    found = until(run, ended)
    stop.set()
    for looker in lookers:
        looker.join()
    assert seen[0] | seen[1] <= {"queued", "running", "finished"} and "running" in seen[0]
    assert (found.state, found.epoch, found.message) == ("finished", 2, None)
    said = found.progress
    assert said["stage"] == "measuring" and said["memory_bytes"] > 10**8
    assert said["queued_at"] <= said["started_at"] <= said["updated_at"]
    assert found.best["epoch"] in (1, 2) and found.record["data"]["files"] == 36
    written = {p.name for p in run.folder.iterdir()}
    assert written >= {"request.json", "state.json", "log.txt", "lock", "card.json", "model.keras"}
    assert not [name for name in written if name.endswith(".part")] and "stop" not in written
    log = found.log.read_text()
    assert "Traceback" not in log and ".png" not in log
    with pytest.raises(RunError, match="has finished"):
        runs.resume(found)


def test_killed_in_the_middle_and_resumed_it_equals_an_uninterrupted_run(new):
    whole, cut = new(), new()
    runs.start(whole, command=command(whole))
    runs.start(cut, command=command(cut, "--pause", "0.2"))
    until(whole, ended)
    until(cut, lambda r: r.epoch == 2 and r.progress["stage"] == "training")
    kill(cut)
    found = until(cut, lambda r: r.state == "interrupted")
    assert "was killed" in found.message and not RunFolder(cut.folder).card.exists()
    runs.resume(found, command=command(cut))
    assert until(cut, ended).state == "finished"
    one, other = RunFolder(whole.folder), RunFolder(cut.folder)
    assert len(other.read_history()) == CONFIG.epochs
    for a, b in zip(one.read_history(), other.read_history()):
        del a["seconds"], b["seconds"]
        assert a == pytest.approx(b, rel=1e-4, abs=1e-6)
    np.testing.assert_allclose(
        Predictions.read(one.predictions).probabilities,
        Predictions.read(other.predictions).probabilities,
        atol=1e-4,
    )
    for a, b in zip(one.read_checkpoint()[1:], other.read_checkpoint()[1:]):
        for x, y in zip(a, b):
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-4)


def test_stopped_at_a_step_it_keeps_what_it_has_and_goes_on(new):
    run = new(epochs=3)
    runs.start(run, command=command(run, "--pause", "0.3"))
    until(run, lambda r: r.epoch == 1 and r.progress["stage"] == "training")
    runs.stop(again(run))
    found = until(run, ended)
    assert (found.state, found.epoch) == ("stopped", 1)
    assert found.message.startswith("Stopped after 1 epoch of 3.")
    assert RunFolder(run.folder).card.is_file() and not (run.folder / "stop").exists()
    assert json.loads(RunFolder(run.folder).card.read_text())["title"] == run.title
    runs.resume(found, command=command(run))
    found = until(run, ended)
    assert (found.state, [row["epoch"] for row in found.history]) == ("finished", [1, 2, 3])


def test_a_request_of_the_system_to_end_interrupts(new):
    run = new()
    runs.start(run, command=command(run, *PRETEND))
    until(run, lambda r: r.epoch == 1)
    kill(run, signal.SIGTERM)
    found = until(run, ended)
    assert found.state == "interrupted" and "asked to end from outside" in found.message
    assert not list(run.folder.glob("*.part"))


def test_the_second_waits_and_starts_by_itself(new, root):
    first, second = new(), new()
    for run in (first, second):
        runs.start(run, command=command(run, *PRETEND))
    until(first, lambda r: r.state == "running")
    found = until(second, lambda r: r.message is not None)
    assert found.state == "queued" and found.message == "Waits for its turn: 1 run is before it."
    assert found.progress["started_at"] is None
    until(first, ended)
    found = until(second, ended)
    assert [again(r).state for r in (first, second)] == ["finished", "finished"]
    assert found.progress["started_at"] >= again(first).progress["updated_at"][:19]


def test_a_killed_run_lets_the_oldest_that_waits_go_on(new):
    first, second, third = new(epochs=1000), new(), new()
    for run in (first, second, third):
        runs.start(run, command=command(run, *PRETEND))
    until(first, lambda r: r.state == "running")
    until(third, lambda r: r.message == "Waits for its turn: 2 runs are before it.")
    kill(first)
    assert until(second, ended).state == until(third, ended).state == "finished"
    assert again(first).state == "interrupted"
    began = [again(r).progress["started_at"] for r in (second, third)]
    assert began == sorted(began)


def test_stopping_a_run_that_waits_ends_it_at_once(new):
    first, second = new(epochs=1000), new()
    for run in (first, second):
        runs.start(run, command=command(run, *PRETEND))
    until(second, lambda r: r.message is not None)
    runs.stop(second)
    found = until(second, ended, 10)
    assert (found.state, found.progress["started_at"]) == ("stopped", None)
    assert "before its first epoch" in found.message
    assert again(first).state == "running"
    runs.delete(again(first), stop_first=True)
    assert not first.folder.exists()


def test_two_at_once(new, root):
    runs.set_at_once(2, root)
    three = [new(epochs=1000), new(epochs=1000), new(epochs=1)]
    for run in three:
        runs.start(run, command=command(run, *PRETEND))
    until(three[0], lambda r: r.state == "running")
    until(three[1], lambda r: r.state == "running")
    assert until(three[2], lambda r: r.message is not None).state == "queued"
    runs.stop(three[1])
    assert until(three[2], ended).state == "finished"
    assert again(three[0]).state == "running"


def test_it_goes_on_when_whoever_started_it_has_ended(new):
    run = new()
    code = (
        "import sys\nfrom kop_core.training import runs\n"
        "run = runs.open_run(sys.argv[1])\nruns.start(run, command=sys.argv[2:])\n"
    )
    parent = [sys.executable, "-c", code, str(run.folder), *command(run, *PRETEND)]
    assert os.spawnv(os.P_WAIT, sys.executable, parent) == 0
    found = until(run, lambda r: r.progress["pid"] is not None)
    assert os.getsid(found.progress["pid"]) == found.progress["pid"]  # a session of its own
    assert until(run, ended).state == "finished"


# What follows needs no process of its own: the worker is called here.


def train_as(monkeypatch, train: Callable[[Callable], object]) -> None:
    def trained(config, data_folder, out, report):
        return train(report)

    monkeypatch.setattr("kop_core.training.train", trained)


def test_an_error_for_the_person_is_told_as_it_is(new, monkeypatch):
    def fail(report):
        raise RunError("The loss stopped being a number.")

    train_as(monkeypatch, fail)
    run = new()
    assert worker.work(run.folder) == "failed"
    assert (again(run).state, again(run).message) == ("failed", "The loss stopped being a number.")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "not enough memory"),
        (OSError(28, "No space left on device", "/data/Smith, Jane.png"), "The disk is full."),
        (OSError(5, "Input/output error", "/data/Smith, Jane.png"), "Input/output error"),
        (ValueError("no '/data/Smith, Jane.png'"), "did not foresee (ValueError)"),
    ],
)
def test_an_unforeseen_error_is_a_sentence_and_its_traceback_is_logged(
    new, monkeypatch, caplog, error, says
):
    def fail(report):
        raise error

    train_as(monkeypatch, fail)
    run = new()
    assert worker.work(run.folder) == "failed"
    assert says in again(run).message
    assert type(error).__name__ in caplog.text and "test_worker.py" in caplog.text
    assert "Jane" not in again(run).message + caplog.text


def test_a_full_disk_takes_the_state_and_leaves_the_training(new, monkeypatch):
    from kop_core.training import Progress

    heard = []

    def train(report):
        for step in range(5):
            report(Progress("training", step, 5, 1, 4, None, {"loss": float("nan")}))
            if step == 1:
                monkeypatch.setattr(worker, "write_state", full)
        monkeypatch.setattr(worker, "write_state", write_state)

    def full(folder, said):
        raise OSError(28, "No space left on device")

    def log(progress):
        heard.append(progress.done)
        raise OSError(28, "No space left on device")

    train_as(monkeypatch, train)
    run = new()
    assert worker.work(run.folder, report=log) == "finished"
    assert heard == [0, 1, 2, 3, 4] and read_state(run.folder)["state"] == "finished"


def test_the_state_is_written_twice_a_second_at_most(new, monkeypatch):
    from kop_core.training import Progress

    written = []
    monkeypatch.setattr(worker, "write_state", lambda folder, said: written.append(said))

    def train(report):
        for stage in ("reading", "training"):
            for step in range(200):
                report(Progress(stage, step, 200, 1, 4, None, {}))

    train_as(monkeypatch, train)
    worker.work(new().folder)
    stages = [said["stage"] for said in written]
    assert stages[:2] == ["waiting", "starting"] and {"reading", "training"} <= set(stages)
    assert len(stages) < 12


def test_one_worker_a_run(new):
    run = new()
    with worker.locks.holding(run.folder), pytest.raises(RunError, match="at work"):
        worker.work(run.folder)


def test_what_is_no_run_has_no_worker(tmp_path, new):
    with pytest.raises(RunError, match="not the folder of a training run"):
        worker.work(tmp_path)
    run = new()
    (tmp_path / "linked").symlink_to(run.folder)
    with pytest.raises(RunError, match="is a link"):
        worker.work(tmp_path / "linked")


def test_a_start_that_was_killed_early_begins_anew(new, monkeypatch):
    run = new()
    (run.folder / "split.csv").write_text("half")
    (run.folder / "run.json.part").write_text("{")
    seen = []
    train_as(monkeypatch, lambda report: seen.extend(p.name for p in run.folder.iterdir()))
    assert worker.work(run.folder) == "finished"
    assert set(seen) == {"request.json", "state.json", "lock"}


def test_a_folder_altered_by_hand_is_not_trained_over(new, monkeypatch):
    train_as(monkeypatch, lambda report: pytest.fail("trained"))
    run = new()
    RunFolder(run.folder).write_checkpoint(1, [np.zeros(1)], [])
    assert worker.work(run.folder) == "failed"
    assert "run.json is missing" in again(run).message
    record = {"config": replace(CONFIG, seed=9).get_config(), "data": {}}
    RunFolder(run.folder).record.write_text(json.dumps(record))
    assert worker.work(run.folder) == "failed"
    assert "belongs to another run" in again(run).message


def wait(run: runs.Run, root, look=lambda before: None, begin=lambda: None):
    return run_queue.wait_for_turn(run.folder, "2026", root, look, begin)


def test_a_turn_is_given_back(root, new):
    place = wait(new(), root)
    looked = []

    def look(before: int) -> None:
        looked.append(before)
        place.release()

    wait(new(), root, look).release()
    assert looked == [1]


def test_a_turn_whose_beginning_fails_is_given_back(root, new):
    def fail() -> None:
        raise RunError("The disk is gone.")

    with pytest.raises(RunError, match="gone"):
        wait(new(), root, begin=fail)
    wait(new(), root, lambda before: pytest.fail("waited")).release()


def test_a_run_that_begins_is_counted_once(root, new):
    """It has its place before it can say that it waits no longer."""
    first, second = new(), new()
    write_state(first.folder, {"state": "queued", "queued_at": "2026"})
    counted = []

    def look(before: int) -> None:
        counted.append(before)
        place.release()

    waits = threading.Thread(target=lambda: wait(second, root, look).release())

    def begin() -> None:
        waits.start()
        waits.join(1.0)
        write_state(first.folder, {"state": "running", "queued_at": "2026"})

    with worker.locks.holding(first.folder):
        place = wait(first, root, begin=begin)
        waits.join(LONG)
    assert counted[0] == 1
