"""``runs``, ``stop``, ``resume``, ``delete``, ``publish`` and ``export``, as they are typed."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from kop_core import cli, model_store, wording
from kop_core.commands import following
from kop_core.commands import stop as stop_command
from kop_core.exchange.bundles import read_bundle
from kop_core.networks import registry
from kop_core.training import TrainingConfig, locks, runs, worker
from kop_core.training.run_folder import RunFolder, write_json
from kop_core.training.run_state import write_state
from tests.conftest import make_data, make_small_network, write_radiographs

CONFIG = TrainingConfig(network="small", epochs=2, seed=3, batch_size=8, learning_rate=0.02,
                        options={}, precision="float32")  # fmt: skip
ROW = {"accuracy": 0.5, "loss": 1.0, "val_accuracy": 0.75, "val_loss": 1.0, "val_macro_f1": 0.5,
       "learning_rate": 0.1, "seconds": 1.0}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Iterator[Path]:
    """A runs folder with one run that has finished."""
    data = write_radiographs(make_data(tmp_path_factory.mktemp("commands") / "data", 12))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._NETWORKS, "small", make_small_network())
        run = runs.create(CONFIG, data, "Knees, all", tmp_path_factory.mktemp("commands") / "runs")
        assert worker.work(run.folder) == "finished"
        yield run.folder.parent


@pytest.fixture
def root(trained, tmp_path, monkeypatch) -> Iterator[Path]:
    """A copy of it, where the commands look for runs; what is at work ends with the test."""
    folder = Path(shutil.copytree(trained, tmp_path / "runs"))
    monkeypatch.setenv("KOP_RUNS", str(folder))
    monkeypatch.setenv("KOP_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    yield folder
    for run in runs.list_runs(folder):
        pid = run.progress["pid"]
        if run.alive and pid and pid != os.getpid():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def done(root) -> runs.Run:
    """The run that has finished."""
    (run,) = runs.list_runs(root)
    return run


@pytest.fixture
def half(root, done) -> runs.Run:
    """A run whose process was killed after one of its epochs."""
    run = runs.create(CONFIG, done.data_folder, "Knees, half", root)
    paths = RunFolder(run.folder)
    write_json(paths.record, {"config": CONFIG.get_config(), "data": {}})
    paths.write_history([{**ROW, "epoch": 1}])
    write_state(run.folder, {"state": "running", "epoch": 1, "epochs": 2})
    return again(run)


def again(run: runs.Run) -> runs.Run:
    return runs.get(run.id, run.folder.parent)


def kop(*arguments) -> int:
    return cli.main([str(a) for a in arguments])


@pytest.fixture
def fails(capsys) -> Callable[..., str]:
    """Run a command that cannot be done; it must say so in one line."""

    def run(*arguments) -> str:
        capsys.readouterr()
        assert kop(*arguments) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("kop_core: ") and said.err.count("\n") == 1
        return said.err

    return run


def strictly(text: str):
    def refuse(word: str):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def pretending(run: runs.Run, *options: str) -> list[str]:
    """Return the command of a process that only says that it trains."""
    module = "tests.training.worker_process"
    return [sys.executable, "-m", module, str(run.folder), "--pretend", *options]


def until(run: runs.Run, state: str) -> runs.Run:
    end = time.monotonic() + 60
    while (found := again(run)).state != state:
        assert time.monotonic() < end, (found, found.log.read_text()[-3000:])
        time.sleep(0.02)
    return found


# runs


def test_runs_as_json(done, half, capsys):
    assert kop("runs", "--json") == 0
    said = capsys.readouterr()
    second, first = strictly(said.out)
    assert (first["id"], first["state"], first["title"]) == (done.id, "finished", "Knees, all")
    assert (first["epoch"], first["epochs"], first["message"]) == (2, 2, None)
    assert first["folder"] == str(done.folder) and first["network"] == "small"
    assert first["best"] == done.best and first["best"]["part"] == "test"
    assert (second["id"], second["state"], second["epoch"]) == (half.id, "interrupted", 1)
    assert second["best"]["accuracy"] == 0.75 and "Resume it" in second["message"]
    assert said.err == ""


def test_what_is_no_number_is_null_in_json(half, capsys):
    rows = [{**ROW, "epoch": 1, "loss": float("nan"), "val_loss": float("nan")}]
    RunFolder(half.folder).write_history(rows)
    assert kop("runs", "--json") == 0
    best = strictly(capsys.readouterr().out)[0]["best"]
    assert best["accuracy"] == 0.75 and best["loss"] is None


def test_runs_as_a_table(done, half, capsys):
    assert kop("runs") == 0
    said = capsys.readouterr()
    head, second, first = said.out.splitlines()
    assert head.split() == ["run", "state", "epochs", "best", "left", "title"]
    at = [head.index(word) for word in head.split()]
    cells = [[line[i:].split("  ")[0] for i in at] for line in (second, first)]
    best = f"{wording.percent(done.best['accuracy'])} (test)"
    assert cells == [
        [half.id, "interrupted", "1/2", "75 % (test)", "", "Knees, half"],
        [done.id, "finished", "2/2", best, "", "Knees, all"],
    ]
    assert said.err.startswith(f"{half.id}: ") and said.err.count("\n") == 1


def test_no_runs_and_how_many_at_once(root, tmp_path, capsys, fails):
    empty = tmp_path / "none"
    assert kop("runs", "--runs", empty, "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert kop("runs", "--runs", empty) == 0
    assert "There are no runs yet." in capsys.readouterr().out
    assert kop("runs", "--at-once", 3) == 0
    assert "3 runs train at once." in capsys.readouterr().out
    assert runs.at_once(root) == 3
    assert "From 1 to 64" in fails("runs", "--at-once", 0)
    assert runs.at_once(root) == 3


# What every command says of what is no run.


@pytest.mark.parametrize(
    "command",
    [("stop",), ("resume",), ("resume", "--wait"), ("delete", "--yes"), ("publish", "--name", "m"),
     ("export", "--zip", "m.zip"), ("export", "--onnx", "m.onnx"),
     ("export", "--tensorboard", "logs")],
    ids=" ".join,
)  # fmt: skip
def test_what_is_no_run_is_one_sentence(done, command, fails, tmp_path):
    name, *options = command
    before = {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")}
    fails(name, "x" * 500, *options)
    for unknown in ("nobody", "../runs", "", "a\nb"):
        said = fails(name, unknown, *options)
        assert f"Known: {done.id}" in said or "not the folder of a training run" in said
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.txt").write_text("x")
    said = fails(name, thesis, *options)
    assert "no run called" in said or f"{thesis} is not the folder of a training run" in said
    assert "finished" not in said
    shutil.rmtree(thesis)
    assert {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")} == before


def test_a_run_that_has_not_finished_is_one_sentence(half, fails, tmp_path):
    for command in (
        ("publish", half.id, "--name", "mine"),
        ("publish", half.folder, "--name", "mine"),
        ("export", half.id, "--zip", "m.zip"),
        ("export", half.id, "--onnx", "m.onnx"),
    ):
        said = fails(*command)
        assert half.id in said and "has not finished: it has no card.json yet" in said
    assert {p.name for p in tmp_path.iterdir()} == {"runs"}


# train --queue, stop, resume, delete


def test_a_run_is_queued_and_its_id_printed(done, capsys, fails, monkeypatch):
    started = []
    monkeypatch.setattr(runs, "start", started.append)
    options = ("--queue", "--network", "small", "--data", done.data_folder)
    assert kop("train", *options, "--title", "Knees, next", "--seed", 7) == 0
    (run,) = started
    assert capsys.readouterr().out == f"{run.id}\n"
    assert (run.title, run.config.seed, run.data_folder) == ("Knees, next", 7, done.data_folder)
    assert run.folder.parent == done.folder.parent
    assert "leave --out and --resume away" in fails("train", *options, "--out", "r")
    assert "Name the data" in fails("train", "--queue")
    assert "no network called 'papre'" in fails("train", *options, "--network", "papre")
    assert "no folder or table" in fails("train", *options, "--data", "none")
    assert "no run called" in fails("train", "--run", "nobody")
    assert started == [run]


def test_a_run_at_work_is_stopped_and_resumed_to_its_end(half, capsys, fails, monkeypatch):
    runs.start(half, command=pretending(half, "--pause", "2"))
    until(half, "running")
    assert "is running already" in fails("resume", half.id)
    assert "at work. Stop it first" in fails("delete", half.id, "--yes")
    assert kop("stop", half.id) == 0
    said = capsys.readouterr().out
    assert said == f"{half.id} is stopped. Stopped after 1 epoch of 2. Resume it to go on.\n"
    assert "ended already: it is stopped" in fails("stop", half.id)
    monkeypatch.setattr(runs, "resume", partial(runs.resume, command=pretending(half)))
    assert kop("resume", half.id, "--wait") == 0
    said = capsys.readouterr()
    assert said.out == f"{half.id} is finished after 2 of 2 epochs.\n"
    assert "epoch 2/2" in said.err and "val_accuracy 0.500" in said.err
    assert "epoch 1/2  loss" not in said.err  # had ended before
    assert "has finished" in fails("resume", half.id)
    assert "ended already: it is finished" in fails("stop", half.id)


def test_stopping_what_was_killed_says_so(half, capsys):
    assert kop("stop", half.id) == 0
    assert "is stopped. Stopped after 1 epoch of 2." in capsys.readouterr().out
    assert again(half).state == "stopped"


def test_a_run_that_does_not_stop_at_once_is_told(half, capsys, monkeypatch):
    monkeypatch.setattr(stop_command, "_WAITS", 0.1)
    with locks.kept(locks.take(half.folder / "lock")):
        assert kop("stop", half.id) == 0
        assert "was asked to stop, and does so at its next step" in capsys.readouterr().out
        assert (half.folder / "stop").exists()


def test_resume_returns_at_once_and_whoever_watches_may_leave(half, capsys, monkeypatch):
    nothing = (sys.executable, "-c", "")
    monkeypatch.setattr(runs, "resume", partial(runs.resume, command=nothing))
    assert kop("resume", half.id) == 0
    assert f"{half.id} goes on after 1 of 2 epochs" in capsys.readouterr().out
    assert again(half).state == "queued"

    def leave(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(following.time, "sleep", leave)
    assert following.follow(half.id, None) == 130
    assert "goes on without being watched" in capsys.readouterr().err
    assert again(half).state == "queued"


def test_a_run_that_fails_while_it_is_watched_is_an_exit_status(half, capsys, monkeypatch):
    code = (
        "import sys; from pathlib import Path; from kop_core.training import run_state; "
        "run_state.write_state(Path(sys.argv[1]), {'state': 'failed', 'message': 'No disk.'})"
    )
    command = (sys.executable, "-c", code, str(half.folder))
    monkeypatch.setattr(runs, "resume", partial(runs.resume, command=command))
    assert kop("resume", half.id, "--wait") == 1
    said = capsys.readouterr()
    assert f"{half.id} is failed after 1 of 2 epochs." in said.out
    assert said.err.endswith("No disk.\n")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_deleting_is_asked_for(done, half, capsys, fails, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert "cannot be undone" in fails("delete", half.id)
    for answer in ("n\n", "\n", "ja\n", ""):  # nothing at all: Ctrl-D
        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        assert kop("delete", half.id) == 1
        said = capsys.readouterr()
        assert "1 of 2 epochs" in said.out and said.err.endswith("was not deleted.\n")
        assert half.folder.is_dir()
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert kop("delete", half.id) == 0 and not half.folder.exists()
    assert kop("delete", done.id, "--yes") == 0 and not done.folder.exists()
    assert "Known: none" in fails("delete", done.id, "--yes")


def test_a_run_at_work_is_stopped_and_deleted(half, capsys):
    runs.start(half, command=pretending(half, "--pause", "2"))
    until(half, "running")
    assert kop("delete", half.id, "--yes", "--stop") == 0
    assert f"{half.id} is deleted." in capsys.readouterr().out
    assert not half.folder.exists()


# publish


def test_a_finished_run_is_published(done, tmp_path, capsys):
    options = ("--title", "Knees", "--source", "A shelf.", "--caution", "It is small.")
    assert kop("publish", done.id, "--name", "mine", *options) == 0
    assert capsys.readouterr().out == f"mine is in {tmp_path / 'models' / 'mine'}.\n"
    model = model_store.get("mine")
    model_store.verify(model)
    assert model.title == "Knees" and model.card["data"]["source"] == "A shelf."
    assert model.card["cautions"] == ["It is small."]
    guessing = wording.guessing(model.card)
    assert model.cautions == (*((guessing,) if guessing else ()), "It is small.")
    assert kop("publish", done.folder, "--name", "second") == 0
    capsys.readouterr()
    assert kop("models", "--json") == 0
    assert [m["id"] for m in json.loads(capsys.readouterr().out)] == ["mine", "second"]


def test_a_name_that_is_taken_or_none_is_one_sentence(done, tmp_path, fails):
    assert kop("publish", done.id, "--name", "mine") == 0
    card = (tmp_path / "models/mine/card.json").read_bytes()
    assert "a model called mine already" in fails("publish", done.id, "--name", "mine")
    for name in ("", "../up", "A b", ".x", "a/b", "/tmp/x", "x" * 65, "é"):
        assert "cannot be a model's name" in fails("publish", done.id, "--name", name)
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["mine"]
    assert (tmp_path / "models/mine/card.json").read_bytes() == card


def test_an_altered_run_is_not_published(done, tmp_path, fails):
    with (done.folder / "predictions.csv").open("a") as stream:
        stream.write("x")
    assert "predictions.csv" in fails("publish", done.id, "--name", "mine")
    assert "predictions.csv" in fails("export", done.id, "--zip", "m.zip")
    assert {p.name for p in tmp_path.iterdir()} <= {"runs", "models"}
    assert not (tmp_path / "models").exists()


# export


def test_a_run_as_onnx_checked_on_its_radiographs(done, tmp_path, capsys):
    import onnx

    assert kop("export", done.id, "--onnx", "m.onnx") == 0
    said = capsys.readouterr()
    assert "Written: m.onnx. On 6 images its probabilities differ from those of Keras" in said.out
    assert "No radiographs" not in said.err
    onnx.checker.check_model(tmp_path / "m.onnx")
    (tmp_path / "m.onnx").unlink()
    assert kop("export", done.id, "--onnx", "m.onnx", "--data", tmp_path / "none") == 0
    said = capsys.readouterr()
    assert "On 16 images" in said.out
    assert "No radiographs were there to check it on; name some with --data." in said.err


def test_a_run_as_a_bundle(done, root, tmp_path, capsys):
    assert kop("export", done.id, "--zip", "m.zip") == 0
    assert capsys.readouterr().out == "Written: m.zip\n"
    model_store.verify(read_bundle(tmp_path / "m.zip", "brought", tmp_path / "others"))
    kept = (tmp_path / "m.zip").read_bytes()
    # the same by folder, of a model by its id, and by its folder
    assert kop("export", done.folder, "--zip", "2.zip") == 0
    assert (tmp_path / "2.zip").read_bytes() == kept
    assert kop("publish", done.id, "--name", "mine") == 0
    assert kop("export", "mine", "--zip", "3.zip") == 0
    assert kop("export", tmp_path / "models" / "mine", "--zip", "4.zip") == 0
    (tmp_path / "mine").mkdir()  # a folder of that name here is not meant
    assert kop("export", "mine", "--zip", "5.zip") == 0
    third = (tmp_path / "3.zip").read_bytes()
    assert third == (tmp_path / "4.zip").read_bytes() == (tmp_path / "5.zip").read_bytes() != kept


def test_a_run_as_tensorboard_logs_before_it_has_finished(half, done, tmp_path, capsys, fails):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for run, epochs in ((half, 1), (done, 2)):
        assert kop("export", run.id, "--tensorboard", f"logs{epochs}") == 0
        assert f"tensorboard --logdir logs{epochs}" in capsys.readouterr().out
        log = EventAccumulator(str(tmp_path / f"logs{epochs}" / "validation")).Reload()
        assert [e.step for e in log.Scalars("accuracy")] == list(range(1, epochs + 1))
    (tmp_path / "file").touch()
    assert "cannot be written" in fails("export", half.id, "--tensorboard", "file")
    history = RunFolder(half.folder).history
    head = history.read_text().splitlines()[0]
    for row in ("1,1,1,1,1,1,1,nan", "1,1,1,1,1,1,1,1e400", "1e30,1,1,1,1,1,1,1", "many"):
        history.write_text(f"{head}\n{row}\n")
        assert "damaged" in fails("export", half.id, "--tensorboard", "logs3")
    history.unlink()
    assert "no whole epoch yet" in fails("export", half.id, "--tensorboard", "logs3")
    assert not (tmp_path / "logs3").exists()


def test_what_stands_in_the_way_of_an_export_is_one_sentence(done, tmp_path, fails):
    assert "Say what to write" in fails("export", done.id)
    (tmp_path / "folder").mkdir()
    (tmp_path / "thesis").write_text("mine")
    for option in ("--zip", "--onnx"):
        assert "folder is a folder. Name a file" in fails("export", done.id, option, "folder")
        assert "exists already" in fails("export", done.id, option, "thesis")
        for place in ("none/m", "thesis/m"):
            assert "cannot be written" in fails("export", done.id, option, place)
    assert (tmp_path / "thesis").read_text() == "mine"
    assert {p.name for p in tmp_path.iterdir()} == {"runs", "folder", "thesis"}
    assert kop("export", done.id, "--zip", "thesis", "--force") == 0
    assert (tmp_path / "thesis").read_bytes().startswith(b"PK")
