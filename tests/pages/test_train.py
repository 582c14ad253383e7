"""The Train page by Streamlit's own test driver: the form, the list, and every state of a run."""

from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import kop_core.datasets.audit
from dashboard import loading, training_setup_time
from kop_core import marks
from kop_core.errors import ModelError
from kop_core.reproduction.settings import PAPER_SETTINGS
from kop_core.training import locks, runs
from kop_core.training.run_folder import RunFolder, write_json
from kop_core.training.run_state import write_state
from kop_core.training.setting_up import RECOMMENDED, paper_settings
from tests.altered import another
from tests.conftest import make_data, write_radiographs
from tests.datasets.reports import report_of
from tests.pages.test_data import button, words

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def apart(monkeypatch, tmp_path) -> Path:
    """Runs and caches of its own; no process is started, nothing is measured."""
    monkeypatch.setenv("KOP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KOP_RUNS", str(tmp_path / "runs"))

    def audit(data, progress=None, **_):
        return report_of(data)[0]

    monkeypatch.setattr(kop_core.datasets.audit, "audit", audit)
    monkeypatch.setattr(kop_core.datasets.audit, "with_radiographs", lambda d, progress=None: d)
    measuring = SimpleNamespace(running=True, found=None, error=None, began=0.0, stop=lambda: None)
    monkeypatch.setattr(training_setup_time, "ask", lambda config, busy: None)
    monkeypatch.setattr(training_setup_time, "known", lambda config, busy: measuring)
    return tmp_path / "runs"


@pytest.fixture
def started(monkeypatch) -> list[runs.Run]:
    """The runs whose process would have been started."""
    found: list[runs.Run] = []
    monkeypatch.setattr(runs, "start", lambda run, *_, **__: found.append(run))
    return found


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_radiographs(make_data(tmp_path / "my [knees]", 12))


@pytest.fixture
def run(folder) -> runs.Run:
    return runs.create(replace(RECOMMENDED, epochs=4), folder, "First [of all]")


def page() -> AppTest:
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    return at.switch_page("pages/train.py").run()


def opened(run_id: str) -> AppTest:
    at = page()
    at.query_params["run"] = run_id
    return at.run()


def looked_at(path: Path) -> AppTest:
    at = page()
    if "Set up a run" in [b.label for b in at.button]:
        button(at, "Set up a run").click().run()
    at.text_input(key="setup_path").set_value(str(path))
    button(at, "Look at the data").click().run()
    for _ in range(200):
        if "setup_job" not in at.session_state:
            return at  # it never began, and the page says why
        job = at.session_state["setup_job"]
        if not job.running:
            return at.run()
        time.sleep(0.05)
    raise AssertionError("the audit did not end")


def begun(run: runs.Run, *accuracies: float, state: str, **more) -> None:
    """Make of a run one that was at work for some epochs."""
    paths = RunFolder(run.folder)
    facts = {"protocol": "radiograph", "training_files": 20, "test_files": 8}
    write_json(paths.record, {"config": run.config.get_config(), "data": {"name": "my knees"},
                              "split": facts})  # fmt: skip
    row = {"accuracy": 0.5, "loss": 1.0, "val_loss": 1.0, "val_macro_f1": 0.4,
           "learning_rate": 1e-4, "seconds": 2.0}  # fmt: skip
    rows = [{**row, "epoch": e, "val_accuracy": a} for e, a in enumerate(accuracies, 1)]
    paths.write_history(rows)
    paths.write_checkpoint(len(rows), [np.zeros(3)], [np.zeros(3)])
    write_state(run.folder, {"state": state, "epoch": len(rows), "epochs": 4, **more})


# The form.


def test_without_runs_it_begins_with_the_data():
    at = page()
    assert not at.exception
    assert "Set up a run" in words(at) and "Osteoporosis/" in at.get("code")[0].value
    button(at, "Look at the data").click().run()
    assert "Type the path of a folder first." in words(at)


def test_what_is_known_of_the_data_stands_above_the_settings(folder, started):
    at = looked_at(folder)
    assert not at.exception
    said = words(at)
    assert "files show a radiograph" in said and "filed under more than one class" in said
    assert at.radio(key="setup_split").value == "radiograph"
    assert said.count("<img ") == 24 and "as the network is fed them" in said
    assert "Training</th>" in said and "Validation</th>" in said
    button(at, "Start training").click().run()
    (run,) = started
    assert run.data_folder == folder and run.config == RECOMMENDED
    assert run.title == "my [knees], by radiograph, Nine convolutions (Ali et al. 2025)"
    assert at.query_params["run"] in (run.id, [run.id])
    button(at, "All runs").click().run()
    assert at.query_params.get("run") is None


def test_the_papers_settings_are_one_click_and_come_with_their_warning(folder, started):
    at = looked_at(folder)
    button(at, "The paper's settings").click().run()
    assert at.radio(key="setup_split").value == "random"
    assert at.number_input(key="setup_validation_share").value == 0
    assert "of the test images have a copy in training" in words(at)
    assert "Without a validation part all epochs are trained" in words(at)
    at.number_input(key="setup_epochs").set_value(2).run()
    assert "These are settings of your own." in words(at)
    at.text_input(key="setup_title").set_value("As in the paper").run()
    button(at, "Start training").click().run()
    assert (started[0].config.split, started[0].config.epochs) == ("random", 2)
    assert started[0].title == "As in the paper"


def test_the_recommendation_says_what_it_alters_of_the_papers_settings(folder, started):
    ours, papers = RECOMMENDED.get_config(), PAPER_SETTINGS.get_config()
    assert {name for name in ours if ours[name] != papers[name]} == {
        "batch_size", "validation_share", "keep", "patience", "class_weights", "warmup_epochs",
        "options", "augmentation", "precision",
    }  # fmt: skip
    assert ours["precision"] == paper_settings().precision == "auto"
    said = button(looked_at(folder), "KOP's recommendation").help
    assert "validation part that chooses the epoch, and classes that count the same" in said
    assert "warm-up of one epoch; stronger augmentation and dropout, batches of 16" in said
    assert "early stopping. Not compared with other settings." in said


def test_each_network_comes_with_its_own_options(folder, started):
    at = looked_at(folder)
    assert len(at.selectbox(key="setup_network").options) == 12
    at.selectbox(key="setup_network").select("vgg16").run()
    assert not at.exception and "138,357,544 parameters for 1,000 classes" in words(at)
    assert "setup_batch_norm_momentum" not in [n.key for n in at.number_input]
    at.selectbox(key="setup_head").select("original").run()
    assert not at.exception
    at.selectbox(key="setup_network").select("convnext_tiny").run()
    assert "setup_head" not in [s.key for s in at.selectbox]
    at.slider(key="setup_stochastic_depth").set_value(0.3).run()
    assert not at.exception and "28,589,128" in words(at)
    button(at, "Start training").click().run()
    (run,) = started
    assert run.config.network == "convnext_tiny"
    assert run.config.options == {"dropout": 0.0, "stochastic_depth": 0.3}
    assert "ConvNeXt-Tiny" in run.title


def test_what_a_network_begins_with_and_what_of_it_learns(folder, started, tmp_path):
    at = looked_at(folder)
    assert "Weights learned on ImageNet" not in at.selectbox(key="setup_start").options  # paper
    at.selectbox(key="setup_network").select("efficientnet_lite0").run()
    assert "All of the network learns." in words(at)
    assert "Weights learned on knees" in at.selectbox(key="setup_start").options
    at.selectbox(key="setup_start").select("imagenet").run()
    at.number_input(key="setup_head_epochs").set_value(2).run()
    at.number_input(key="setup_backbone_rate").set_value(0.1).run()
    at.selectbox(key="setup_learns").select("layer").run()
    assert not at.exception and "Name the layer from which on" in words(at)
    at.text_input(key="setup_layer").input("b12_expand").run()
    button(at, "Start training").click().run()
    config = started[0].config
    assert (config.pretrained, config.freeze) == ("imagenet", "b12_expand")
    assert (config.head_epochs, config.backbone_rate) == (2, 0.1)
    assert config.augmentation is not None


def test_a_frozen_backbone_alters_no_pictures(folder, started, tmp_path):
    at = looked_at(folder)
    at.selectbox(key="setup_network").select("efficientnet_lite0").run()
    at.selectbox(key="setup_start").select("file").run()
    assert not at.exception and "Name the file of weights" in words(at)
    at.text_input(key="setup_weights_file").input("/somewhere/encoder.npz").run()
    at.selectbox(key="setup_learns").select("head").run()
    assert not at.exception and "Training pictures are not altered" in words(at)
    assert not [t for t in at.toggle if t.key == "setup_augment"]
    button(at, "Start training").click().run()
    config = started[0].config
    assert (config.pretrained, config.freeze) == ("/somewhere/encoder.npz", "backbone")
    assert config.augmentation is None and config.head_epochs == 0


@pytest.mark.parametrize(
    ("widget", "value", "says"),
    [
        ("setup_epochs", 0, "The number of epochs must be at least 1, and is 0."),
        ("setup_batch_size", 500, "The batch (500 pictures) is larger than the training part"),
        ("setup_batch_size", 0, "The batch must be at least 1"),
        ("setup_learning_rate", "fast", "The learning rate must be a number such as 0.0003"),
        ("setup_learning_rate", "-1", "The learning rate must be above 0"),
        ("setup_size", 64, "takes pictures of 128 to 292 pixels a side, not 64"),
        ("setup_replicas", 3, "cannot be shared evenly by 3 replicas"),
        ("setup_test_share", 0.0, "The test part's share must lie between 0 and 1."),
    ],
)
def test_a_setting_that_cannot_be_is_named_and_nothing_starts(folder, started, widget, value, says):
    at = looked_at(folder)
    kind = at.text_input if isinstance(value, str) else at.number_input
    kind(key=widget).set_value(value).run()
    assert not at.exception
    assert says in words(at)
    assert button(at, "Start training").disabled
    assert not started and not runs.list_runs()


def one_class(folder: Path) -> None:
    for name in ("Osteopenia", "Osteoporosis"):
        for path in (folder / name).iterdir():
            path.unlink()


def ten_images(folder: Path) -> None:
    for name, most in (("Normal", 4), ("Osteopenia", 3), ("Osteoporosis", 3)):
        for path in sorted((folder / name).iterdir())[most:]:
            path.unlink()


def one_radiograph_of_a_class(folder: Path) -> None:
    for path in sorted((folder / "Osteopenia").iterdir())[1:]:
        path.unlink()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (one_class, "there is nothing to tell apart"),
        (ten_images, "10 files are too few to train on and measure with"),
        (one_radiograph_of_a_class, "Training and test need different ones"),
    ],
)
def test_data_that_nothing_can_be_learned_from(folder, started, monkeypatch, spoil, says):
    spoil(folder)
    (folder / "radiographs.csv").unlink()
    from tests.datasets import reports

    def audit(data, progress=None, **_):  # of these no two show the same radiograph
        report = reports.report_of(data)[0]
        files = tuple(replace(f, radiograph=f.file) for f in report.files)
        return replace(report, files=files)

    monkeypatch.setattr(kop_core.datasets.audit, "audit", audit)
    at = looked_at(folder)
    assert not at.exception
    assert says in words(at)
    assert button(at, "Start training").disabled and not started


def test_a_second_run_joins_the_queue(folder, run, started):
    write_state(run.folder, {"state": "running", "epochs": 4, "seconds_left": 600.0})
    with locks.kept(locks.take(run.folder / "lock")):
        at = looked_at(folder)
        assert "At most one run trains at a time here, so this one will wait." in words(at)
        assert "needs about 10 min more" in words(at)
        button(at, "Add to the queue").click().run()
    assert len(started) == 1


# The runs.


def test_the_list_has_every_run_and_one_that_a_hand_altered(folder, run):
    begun(run, 0.6, 0.7, state="stopped")
    other = runs.create(RECOMMENDED, folder)
    (other.folder / "request.json").write_text("[" * 9000)
    at = page()
    assert not at.exception
    rows = at.dataframe[0].value
    assert set(rows["Run"]) == {other.id, "First [of all]"}
    by_name = rows.set_index("Run")
    assert by_name.loc["First [of all]", "State"] == "Stopped"
    assert by_name.loc["First [of all]", "Epochs"] == "2 of 4"
    assert by_name.loc["First [of all]", "Best so far"] == "70 % validation, epoch 2"
    assert by_name.loc[other.id, "State"] == "Failed"


def test_how_many_train_at_once_is_a_setting_of_the_machine(run):
    at = page()
    at.number_input(key="runs_at_once").set_value(2).run()
    assert runs.at_once() == 2
    other = page()
    assert other.number_input(key="runs_at_once").value == 2
    runs.set_at_once(3)
    assert other.run().number_input(key="runs_at_once").value == 3


def test_a_run_killed_from_outside_can_go_on(run, started):
    begun(run, 0.6, state="running")
    at = opened(run.id)
    assert not at.exception
    said = words(at)
    assert "First [of all]" in said and "it was killed" in said
    assert "The result will be the same as if it had not been interrupted." in said
    assert len(at.get("plotly_chart")) == 4
    button(at, "Resume").click().run()
    assert [r.id for r in started] == [run.id]


def test_a_failed_run_says_why_and_a_damaged_one_what(run):
    begun(run, 0.6, state="failed", message="The loss stopped being a number in epoch 2.")
    assert "The loss stopped being a number in epoch 2." in words(opened(run.id))
    RunFolder(run.folder).checkpoint.write_bytes(b"PK")
    said = words(opened(run.id))
    assert "checkpoint.npz is damaged" in said
    (run.folder / "history.csv").write_bytes(b"\xff")
    at = opened(run.id)
    assert not at.exception and "history.csv" in words(at)


def test_a_live_run_is_watched_and_stopped(run):
    begun(run, 0.6, state="running", stage="training", step=3, steps=9, seconds_left=600.0,
          images_per_second=8.4, memory_bytes=2 * 10**9, figures={"loss": 0.9})  # fmt: skip
    (run.folder / "log.txt").write_text("epoch 1/4  loss 1.000\n")
    with locks.kept(locks.take(run.folder / "lock")):
        at = opened(run.id)
        assert not at.exception
        said = words(at)
        assert "8.4 images a second" in said or "8 images a second" in said
        assert "2.0 GB" in said and "60 % on the validation part, epoch 1" in said
        assert "epoch 1/4" in at.get("code")[0].value
        assert "Delete" not in [b.label for b in at.button]
        button(at, "Stop").click().run()  # it asks once more, in a dialog
        assert not (run.folder / "stop").exists()
        runs.stop(runs.get(run.id))
        assert "Stopping" in [b.label for b in opened(run.id).button]


def test_deleting_asks_first(run):
    begun(run, 0.6, state="stopped")
    at = opened(run.id)
    button(at, "Delete").click().run()
    assert not at.exception and run.folder.is_dir()
    assert {"Delete it", "Keep it"} <= {b.label for b in at.button}


def test_an_address_of_no_run(run):
    at = opened("../../etc")
    assert not at.exception
    assert "There is no run called ../../etc on this machine." in words(at)


def test_settings_of_an_earlier_run_begin_a_new_one(run, started):
    asked = json.loads((run.folder / "request.json").read_text())
    asked["config"] |= {"epochs": 7, "learning_rate": 0.002}
    write_json(run.folder / "request.json", asked)
    begun(runs.get(run.id), 0.6, state="stopped")
    at = opened(run.id)
    button(at, "Use these settings again").click().run()
    for _ in range(100):
        if "setup_epochs" in at.session_state and not at.session_state["setup_job"].running:
            break
        time.sleep(0.05)
        at.run()
    at.run()
    assert at.number_input(key="setup_epochs").value == 7
    assert at.text_input(key="setup_learning_rate").value == "0.002"


def test_a_model_that_was_altered_is_named_beside_a_run_and_hides_nothing(
    shipped, apart, tmp_path, monkeypatch
):
    done, altered = apart / "done", tmp_path / "models" / "altered"
    for place in (done, altered):
        shutil.copytree(shipped.folder, place)
    monkeypatch.setenv("KOP_MODELS", str(altered.parent))
    record = {name: shipped.card[name] for name in ("data", "split")}
    write_json(done / "run.json", {**record, "config": shipped.card["training"]["config"]})
    card = json.loads((altered / "card.json").read_text())
    card["checksums"]["model.keras"] = "0" * 64  # not the run's own weights
    card["evaluation"]["confusion"][0][0] += 1
    write_json(altered / "card.json", card)
    at = opened("done")
    assert not at.exception
    assert "figures on the card of the model altered are not those of its" in words(at)
    assert [s.value for s in at.subheader][-2:] == ["Publish", "Export"]


def test_a_run_beside_models_of_one_title_and_maps_that_cannot_be_made(
    shipped, shared, apart, tmp_path, monkeypatch
):
    done, models = apart / "done", tmp_path / "models"
    shutil.copytree(shipped.folder, done)
    for place, name in enumerate(("first", "second")):
        another(shipped, models, name, noise=2.5 * place, seed=1, title="Twice")
        card = json.loads((models / name / "card.json").read_text())
        card["checksums"]["model.keras"] = "0" * 64  # not the run's own weights
        write_json(models / name / "card.json", card)
    monkeypatch.setenv("KOP_MODELS", str(models))
    data = {**shipped.card["data"], "folder": str(shared / "paper1947")}
    write_json(done / "run.json", {"data": data, "split": shipped.card["split"],
                                   "config": shipped.card["training"]["config"]})  # fmt: skip
    at = opened("done")
    assert not at.exception
    said = words(at)
    assert "This run and Twice (first) cannot be told apart by this test part" in said
    assert "This run is more accurate than Twice (second) on this test part, by +" in said
    assert "after Holm's correction for 2 models" in said
    beside = next(t.value for t in at.table if "Difference in accuracy" in t.value)
    assert ", p " in beside["Difference in macro F1"].iloc[-1].replace("\u00a0", " ")
    failed: Future = Future()
    failed.set_exception(ModelError("Its weights are damaged."))
    monkeypatch.setattr(loading, "start_loading", lambda model: failed)
    button(at, "Show what the network looked at").click().run()
    assert "Not every map was made. Its weights are damaged." in words(at)
    assert button(at, "Show what the network looked at")  # to try again


def test_what_a_reader_marked_can_be_left_out(folder, started, tmp_path, monkeypatch):
    monkeypatch.setenv("KOP_MARKS", str(tmp_path / "marks"))
    at = looked_at(folder)
    assert "Leave out what a reader marked" not in [g.label for g in at.get("button_group")]
    fingerprint = at.session_state["setup_job"].data.fingerprint
    marks.put(fingerprint, marks.Mark("Normal/Normal 1.png", "healthy", "mislabelled"))
    at.run()
    (group,) = [g for g in at.get("button_group") if g.label == "Leave out what a reader marked"]
    assert group.options == ["Mislabelled (1 file)"]
    at.session_state["setup_leave_out"] = ["mislabelled"]
    at.run()
    assert not at.exception and "Left out" in words(at)
    button(at, "Start training").click().run()
    assert started[0].config.leave_out == {"Normal/Normal 1.png": "mislabelled"}
