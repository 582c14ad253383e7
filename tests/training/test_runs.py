"""Runs as folders: what is shown of them, whole and damaged, and what may be done with each."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from kop_core.errors import DataSetError, KopError, RunError, UnknownNetwork, UnknownRun
from kop_core.training import TrainingConfig, locks, runs
from kop_core.training.run_folder import RunFolder, write_json
from kop_core.training.run_state import read_state, write_state

CONFIG = TrainingConfig(network="small", epochs=4, batch_size=8, options={}, precision="float32")
NOTHING = (sys.executable, "-c", "")
ROW = {"accuracy": 0.5, "loss": 1.0, "val_accuracy": 0.5, "val_loss": 1.0, "val_macro_f1": 0.5,
       "learning_rate": 0.1, "seconds": 1.0}  # fmt: skip


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def run(small_data, small_network, root) -> runs.Run:
    return runs.create(CONFIG, small_data, "Knees, at first", root)


def begun(run: runs.Run, *accuracies: float, state: str | None = "running") -> RunFolder:
    """Make of a run one that has been at work for some epochs."""
    paths = RunFolder(run.folder)
    write_json(paths.record, {"config": run.config.get_config(), "data": {"folder": "/x"}})
    rows = [{**ROW, "epoch": e, "val_accuracy": a} for e, a in enumerate(accuracies, 1)]
    paths.write_history(rows)
    paths.write_checkpoint(len(rows), [np.zeros(3)], [np.zeros(3)])
    if state:
        write_state(run.folder, {"state": state, "epoch": len(rows), "epochs": 4})
    return paths


def again(run: runs.Run) -> runs.Run:
    return runs.get(run.id, run.folder.parent)


def test_a_new_run_says_what_was_asked_for(run, small_data, root):
    day, number, network = run.id[:10], run.id[11:13], run.id[14:]
    assert datetime.fromisoformat(day) and (number, network) == ("01", "small")
    assert run.folder == root / run.id and run.title == "Knees, at first"
    assert run.config == CONFIG and run.data_folder == small_data
    assert abs(datetime.now(timezone.utc) - run.created) < timedelta(minutes=1)
    assert (run.epoch, run.epochs, run.best, run.history, run.record) == (0, 4, None, [], None)
    asked = json.loads((run.folder / "request.json").read_text())
    assert asked.keys() == {"format", "config", "data_folder", "title", "created"}
    assert run.state == "interrupted" and "Resume" in run.message  # nobody has started it
    assert json.loads(json.dumps(run.get_config()))["folder"] == str(run.folder)


def test_ids_are_new_each_time_and_the_newest_is_first(run, small_data, root):
    made = [run, *(runs.create(CONFIG, small_data, root=root) for _ in range(11))]
    ids = [r.id for r in made]
    assert len(set(ids)) == 12 and ids == sorted(ids)
    assert [r.id for r in runs.list_runs(root)] == ids[::-1]
    runs.delete(made[5])
    assert runs.create(CONFIG, small_data, root=root).id not in ids
    assert made[1].title == made[1].id


def test_several_make_runs_at_once(small_data, small_network, root):
    made = []

    def make() -> None:
        made.append(runs.create(CONFIG, small_data, root=root).id)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8 and len(runs.list_runs(root)) == 8


def test_the_runs_folder_follows_the_environment(run, root, monkeypatch):
    monkeypatch.setenv("KOP_RUNS", str(root))
    assert runs.default_root() == root
    assert runs.get(run.id).folder == run.folder
    monkeypatch.delenv("KOP_RUNS")
    assert runs.default_root() == Path(runs.__file__).resolve().parents[2] / "runs"
    assert runs.list_runs(root / "none") == ()


def test_what_cannot_be_set_up_is_named(small_data, small_network, tmp_path, root):
    with pytest.raises(UnknownNetwork, match="Known: paper"):
        runs.create(replace(CONFIG, network="papre"), small_data, root=root)
    with pytest.raises(DataSetError, match="no folder or table"):
        runs.create(CONFIG, tmp_path / "none", root=root)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be set up"):
        runs.create(CONFIG, small_data, root=tmp_path / "file")
    assert runs.list_runs(tmp_path / "file") == ()


@pytest.mark.parametrize("name", ["..", "../data", "/etc", "", ".slots", "a/b", "x" * 300, "no\n"])
def test_an_id_never_leads_out_of_the_runs_folder(run, root, name):
    with pytest.raises(UnknownRun, match=f"Known: {run.id}") as raised:
        runs.get(name, root)
    assert isinstance(raised.value, RunError) and raised.value.code == "unknown_run"


def test_a_run_is_found_by_id_and_by_folder(run, root, tmp_path):
    assert runs.find(run.id, root).id == runs.find(run.folder, root).id == run.id
    with pytest.raises(RunError, match="not the folder of a training run"):
        runs.find(tmp_path, root)
    with pytest.raises(UnknownRun):
        runs.find(tmp_path / "none", root)


def test_a_run_shows_its_best_epoch_and_what_it_was_measured_on(run):
    begun(run, 0.6, 0.8, 0.8)
    found = again(run)
    assert found.epoch == 3 and [row["epoch"] for row in found.history] == [1, 2, 3]
    assert found.best == {
        "epoch": 2, "figure": "val_accuracy", "accuracy": 0.8, "loss": 1.0, "part": "test",
    }  # fmt: skip
    begun(run, float("nan"))
    assert again(run).best is None


def test_a_run_without_a_process_is_interrupted(run):
    begun(run, 0.6)
    found = again(run)
    assert found.state == "interrupted" and "Resume" in found.message
    lock = locks.take(run.folder / "lock")
    with locks.kept(lock):
        assert again(run).state == "running" and again(run).message is None
    assert again(run).state == "interrupted"


def test_looking_at_a_run_is_never_taken_for_working_on_it(run):
    begun(run, 0.6)
    (run.folder / "lock").touch()
    states, stop = set(), threading.Event()

    def look() -> None:
        while not stop.is_set():
            states.add(again(run).state)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(20):  # those who look do not keep a worker from taking it
        lock = locks.take(run.folder / "lock", wait=20)
        assert lock is not None
        lock.release()
    stop.wait(0.2)
    states.clear()
    stop.wait(0.3)  # and do not see one another
    stop.set()
    for thread in threads:
        thread.join()
    assert states == {"interrupted"}


def test_a_run_without_state_is_shown_by_its_files(run, root):
    """As ``train --out`` leaves it, in a folder of the runs folder."""
    paths = begun(run, 0.6, state=None)
    (run.folder / "request.json").unlink()
    found = again(run)
    assert found.state == "interrupted" and found.config == CONFIG
    assert found.data_folder == Path("/x") and found.created and found.title == run.id
    write_json(paths.card, {})
    assert again(run).state == "finished"
    with pytest.raises(RunError, match="has finished"):
        runs.resume(again(run))
    write_json(paths.card, {"training": {"stopped": True}})
    assert again(run).state == "stopped"


def test_a_run_killed_after_its_card_has_finished(run):
    paths = begun(run, 0.6, 0.7, 0.8, 0.9)
    write_json(paths.card, {"training": {}})
    assert again(run).state == "finished" and again(run).message is None


@pytest.mark.parametrize("said", ["failed", "stopped"])
def test_a_run_that_train_goes_on_with_is_not_as_its_worker_left_it(run, said):
    """``train --resume`` writes no state."""
    paths = begun(run, 0.6, 0.7, state=said)
    assert again(run).state == said
    with locks.kept(locks.take(run.folder / "lock")):
        assert again(run).state == "running"
    write_json(paths.card, {"training": {"stopped": True}})
    assert again(run).state == said
    write_json(paths.card, {"training": {"stopped": False}})
    assert again(run).state == "finished"


BROKEN = {
    "state.json": b'{"format": 1, "state": "run',
    "run.json": b"\xff\xfe",
    "request.json": b"[]",
    "history.csv": b"epoch,accuracy\n1,many\n",
    "checkpoint.npz": b"PK\x03\x04 half",
}


@pytest.mark.parametrize("row", ["inf,0.5", "1e400,0.5", "1,0.5,7", "0.5"])
def test_a_history_with_an_epoch_that_is_none_is_damaged(run, root, row):
    begun(run, 0.6)
    (run.folder / "history.csv").write_text(f"epoch,accuracy\n{row}\n")
    (found,) = runs.list_runs(root)
    assert found.damaged and "history.csv" in found.message and found.history == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_damaged_file_is_named_and_the_other_runs_are_listed(run, small_data, root, name):
    begun(run, 0.6)
    whole = runs.create(CONFIG, small_data, root=root)
    (run.folder / name).write_bytes(BROKEN[name])
    found = {r.id: r for r in runs.list_runs(root)}
    assert found.keys() == {run.id, whole.id}
    assert name in found[run.id].message and found[run.id].state == "interrupted"
    assert name not in found[whole.id].message


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize(
    "content", [b"", b"null", b"[" * 100_000, b"\x00" * 50, b'{"format": 1, "state": []}', None]
)
def test_nothing_in_a_run_folder_makes_a_list_fail(run, root, name, content):
    begun(run, 0.6)
    path = run.folder / name
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    (found,) = runs.list_runs(root)
    assert found.state in ("interrupted", "finished", "failed")
    assert found.message.endswith(".")
    json.dumps(found.get_config())


def test_fields_that_are_altered_count_as_not_there(run):
    begun(run, 0.6)
    said = {"format": 1, "state": "running", "stage": 3, "epoch": "two", "epochs": True,
            "seconds_left": float("inf"),
            "figures": {"loss": "low", "val_loss": 10**400, "accuracy": 0.5},
            "queued_at": 7, "pid": -1.5, "steps": 10**400, "more": 1}  # fmt: skip
    (run.folder / "state.json").write_text(json.dumps(said))
    progress = again(run).progress
    assert progress["state"] == "running" and progress["figures"] == {"accuracy": 0.5}
    assert not [k for k in ("stage", "epoch", "epochs", "steps", "seconds_left", "queued_at", "pid")
                if progress[k] is not None]  # fmt: skip
    assert again(run).epochs == 4 and "more" not in progress


def test_settings_of_another_run_are_named(run):
    paths = begun(run, 0.6)
    record = paths.read_record()
    write_json(paths.record, {**record, "config": replace(CONFIG, seed=9).get_config()})
    assert "belongs to another run" in again(run).message
    asked = json.loads((run.folder / "request.json").read_text())
    for config in ({"colour": "red"}, {"epochs": "many"}, 7, {"augmentation": [1]}, None):
        write_json(run.folder / "request.json", {**asked, "config": config})
        assert "request.json" in again(run).message


def test_a_missing_record_is_named(run):
    begun(run, 0.6).record.unlink()
    assert "run.json" in again(run).message and "missing" in again(run).message


def test_settings_that_nobody_knows_make_a_run_fail(run):
    (run.folder / "request.json").unlink()
    write_state(run.folder, {"state": "running"})
    found = again(run)
    assert found.state == "failed" and "cannot go on" in found.message
    with pytest.raises(RunError, match="cannot go on"):
        runs.start(found, command=NOTHING)
    with pytest.raises(RunError, match="ended already"):
        runs.stop(found)
    runs.delete(found)
    assert not run.folder.exists()


def test_what_says_finished_without_a_card_has_not(run):
    begun(run, 0.6, state="finished")
    assert again(run).state == "interrupted" and "card.json" in again(run).message


def test_what_is_no_run_is_passed_over(run, root):
    (root / "thesis").mkdir()
    (root / "thesis" / "chapter.txt").write_text("x")
    (root / "notes.txt").write_text("x")
    (root / ".slots").mkdir(exist_ok=True)
    assert [r.id for r in runs.list_runs(root)] == [run.id]
    with pytest.raises(UnknownRun):
        runs.get("thesis", root)
    outside = runs.Run("thesis", root / "thesis", "failed", "thesis")
    for deed in (runs.start, runs.stop, runs.resume, runs.delete):
        with pytest.raises(RunError, match="not there any more"):
            deed(outside)
    assert (root / "thesis" / "chapter.txt").exists()


def test_a_link_is_named_and_nothing_is_done_with_it(run, root, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    shutil.move(run.folder, elsewhere)
    (root / "linked").symlink_to(elsewhere)
    (found,) = runs.list_runs(root)
    assert found.state == "failed" and "is a link" in found.message
    assert runs.get("linked", root).message == found.message
    before = sorted(p.name for p in elsewhere.iterdir())
    for deed in (runs.start, runs.stop, runs.resume, runs.delete):
        with pytest.raises(RunError, match="is a link"):
            deed(found)
    assert sorted(p.name for p in elsewhere.iterdir()) == before


def test_deleting_removes_the_folder_and_nothing_else(run, root, small_data):
    other = runs.create(CONFIG, small_data, root=root)
    begun(run, 0.6)
    (run.folder / "data").symlink_to(small_data)
    (run.folder / "card").symlink_to(other.folder / "request.json")
    pictures = sorted(small_data.rglob("*"))
    runs.delete(again(run))
    assert not run.folder.exists() and not [p for p in root.iterdir() if run.id in p.name]
    assert sorted(small_data.rglob("*")) == pictures
    assert [r.id for r in runs.list_runs(root)] == [other.id]
    with pytest.raises(RunError, match="not there any more"):
        runs.delete(run)


def test_a_live_run_is_neither_started_nor_deleted(run):
    begun(run, 0.6)
    with locks.kept(locks.take(run.folder / "lock")):
        with pytest.raises(RunError, match="at work"):
            runs.start(run, command=NOTHING)
        with pytest.raises(RunError, match="running already"):
            runs.resume(run)
        with pytest.raises(RunError, match="Stop it first"):
            runs.delete(run)
        runs.stop(run)
        assert (run.folder / "stop").exists()
        with pytest.raises(RunError, match="does not stop"):
            runs.delete(run, stop_first=True, wait=0.1)
    assert run.folder.is_dir()


def test_stopping_what_was_killed_marks_it(run):
    begun(run, 0.6)
    runs.stop(again(run))
    found = again(run)
    assert found.state == "stopped" and found.message.startswith("Stopped after 1 epoch of 4.")
    assert not (run.folder / "stop").exists()
    with pytest.raises(RunError, match="ended already: it is stopped"):
        runs.stop(found)


def test_a_run_that_was_started_waits_for_its_process(run):
    runs.start(run, command=NOTHING)
    assert again(run).state == "queued" and again(run).alive
    with pytest.raises(RunError, match="starting already"):
        runs.start(run, command=NOTHING)
    with pytest.raises(RunError, match="at work"):
        runs.delete(run)
    said = {**read_state(run.folder), "updated_at": "2026-01-01T00:00:00+00:00"}
    write_json(run.folder / "state.json", said)  # its process never came
    assert again(run).state == "interrupted"
    runs.start(run, command=NOTHING)
    runs.stop(run)  # before its process has its lock
    assert again(run).state == "stopped" and (run.folder / "stop").exists()
    runs.start(run, command=NOTHING)
    assert not (run.folder / "stop").exists()


def test_a_process_that_cannot_be_started_is_named(run):
    with pytest.raises(RunError, match="could not be started"):
        runs.start(run, command=("/no/such/python",))
    assert again(run).state == "failed" and "could not be started" in again(run).message


def test_a_folder_that_cannot_be_written_is_named(run, monkeypatch):
    def write(folder, said) -> None:
        raise OSError(30, "Read-only file system")

    begun(run, 0.6)
    monkeypatch.setattr(runs, "write_state", write)
    for deed in (runs.start, runs.stop):
        with pytest.raises(RunError, match=r"cannot be written: Read-only"):
            deed(run)
    assert again(run).state == "interrupted"


def test_how_many_train_at_once_is_a_setting(root):
    assert runs.at_once(root) == 1
    runs.set_at_once(3, root)
    assert runs.at_once(root) == 3
    for number in (0, -1, 65, 2.0, True, "2", None):
        with pytest.raises(RunError, match="From 1 to 64"):
            runs.set_at_once(number, root)
    for content in ('{"at_once": 0}', '{"at_once": "two"}', "[]", "{", ""):
        (root / "settings.json").write_text(content)
        assert runs.at_once(root) == 1


def test_a_lock_is_kept_while_a_run_is_in_the_foreground(tmp_path):
    folder = tmp_path / "run"
    with locks.holding(folder):
        assert locks.held(folder / "lock")
        with pytest.raises(RunError, match="at work"), locks.holding(folder):
            pass
    assert not folder.exists()  # nothing began
    folder.mkdir()
    (folder / "thesis.txt").touch()
    with pytest.raises(KopError), locks.holding(folder):
        raise KopError
    assert [p.name for p in folder.iterdir()] == ["thesis.txt"]
    with pytest.raises(RunError, match="is a file"), locks.holding(folder / "thesis.txt"):
        pass
