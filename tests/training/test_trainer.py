"""Training on generated and real pictures: what is written, and exact resume."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from kop_core import model_store
from kop_core.datasets import Split, scan
from kop_core.errors import DataSetError, RunError
from kop_core.evaluation import Predictions, evaluate
from kop_core.training import Progress, StopAsked, TrainingConfig, resume, train
from kop_core.training.run_folder import RunFolder, write_json

CONFIG = TrainingConfig(network="small", epochs=4, seed=3, batch_size=8, learning_rate=0.02,
                        options={}, precision="float32", split="random")  # fmt: skip


class Interrupted(Exception):
    """A run killed from outside."""


def kill_after_an_epoch(progress: Progress) -> None:
    if progress.stage == "epoch":
        raise Interrupted


@pytest.fixture
def finished(small_data, small_network, tmp_path):
    reports: list[Progress] = []
    run = train(CONFIG, small_data, tmp_path / "run", reports.append)
    return RunFolder(run), reports


def test_everything_that_decides_the_result_is_written(finished, small_data):
    run, _ = finished
    record = run.read_record()
    assert TrainingConfig.from_config(record["config"]) == CONFIG
    assert record["split"]["protocol"] == "random" and record["split"]["seed"] == 3
    assert len(record["data"]["fingerprint"]) == 64
    assert {"python", "keras", "tensorflow", "numpy"} <= record["versions"].keys()
    assert [row["epoch"] for row in run.read_history()] == [1, 2, 3, 4]
    assert run.split.read_text().count("\n") == 37
    rates = [row["learning_rate"] for row in run.read_history()]
    assert rates == sorted(rates, reverse=True) and rates[-1] < 0.1 * CONFIG.learning_rate


def test_predictions_and_card_agree(finished):
    run, _ = finished
    predictions = Predictions.read(run.predictions)
    assert len(predictions.files) == 7
    card = json.loads(run.card.read_text())
    assert card["evaluation"]["metrics"] == evaluate(predictions).get_config()["metrics"]
    assert card["storage"]["largest_difference_of_a_probability"] <= 0.005
    said = " ".join(card["statements"])
    assert "random, file by file" in said and "Not a medical device" in said
    model_store.verify(model_store.open_model(run.path))


def test_it_learns(finished):
    run, _ = finished
    history = run.read_history()
    assert history[-1]["loss"] < history[0]["loss"]


def test_progress_has_the_time_left(finished):
    _, reports = finished
    stages = [r.stage for r in reports]
    assert list(dict.fromkeys(stages)) == [
        "scanning", "reading", "compiling", "training", "validating", "epoch", "measuring",
    ]  # fmt: skip
    # As long as the last epoch took, for each that is to come: a busy machine may make it more.
    ends = [r for r in reports if r.stage == "epoch"]
    to_come = [pytest.approx(r.figures["seconds"] * (4 - r.epoch)) for r in ends]
    assert [r.epoch for r in ends] == [1, 2, 3, 4] and [r.seconds_left for r in ends] == to_come


def test_resume_equals_an_uninterrupted_run(finished, small_data, small_network, tmp_path):
    run, _ = finished

    def kill(progress: Progress) -> None:
        if progress.stage == "training" and progress.epoch == 3 and progress.done == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(CONFIG, small_data, tmp_path / "cut", kill)
    cut = RunFolder(tmp_path / "cut")
    assert len(cut.read_history()) == 2 and not cut.card.exists()
    resume(cut.path)
    for one, other in zip(run.read_history(), cut.read_history()):
        del one["seconds"], other["seconds"]
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)
    one, other = Predictions.read(run.predictions), Predictions.read(cut.predictions)
    assert one.files == other.files
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-4)
    weights = [r.read_checkpoint() for r in (run, cut)]
    assert weights[0][0] == weights[1][0] == 4
    for kind in (1, 2):
        for a, b in zip(weights[0][kind], weights[1][kind]):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_by_radiograph_unless_asked_otherwise(small_data, small_network, tmp_path):
    config = replace(CONFIG, epochs=1, split=TrainingConfig().split)
    run = RunFolder(train(config, small_data, tmp_path / "run"))
    record, card = run.read_record(), json.loads(run.card.read_text())
    assert record["split"]["protocol"] == card["split"]["protocol"] == "radiograph"
    assert record["split"]["same_radiograph"] == record["split"]["identical"] == 0
    assert record["data"]["radiographs_from"] == "data set"
    assert card["evaluation"]["radiographs"] == record["split"]["test_radiographs"]
    assert "No picture of a test radiograph was in training." in " ".join(card["statements"])
    tested = set(Predictions.read(run.predictions).radiographs)
    assert not tested & {i.radiograph for i in split_of(run).training}


def test_radiographs_that_no_table_names_come_from_the_audit(
    small_data, small_network, tmp_path, monkeypatch
):
    from kop_core.datasets import audit

    def found(data, progress=None):
        items = tuple(replace(i, radiograph=f"G{n // 3}") for n, i in enumerate(data.items))
        return replace(data, items=items)

    monkeypatch.setattr(audit, "with_radiographs", found)
    (small_data / "radiographs.csv").unlink()
    config = replace(CONFIG, epochs=1, split="radiograph")
    run = RunFolder(train(config, small_data, tmp_path / "run"))
    assert run.read_record()["data"]["radiographs_from"] == "audit"
    card = json.loads(run.card.read_text())
    assert card["data"]["radiographs"] == 12 and card["split"]["same_radiograph"] == 0
    assert "found by KOP's audit" in " ".join(card["statements"])


def test_a_run_on_a_table_of_files_goes_on(small_data, small_network, tmp_path):
    rows = [
        f"{item.file},{item.true},{item.radiograph}\n"
        for item in scan(small_data).items
        if not item.file.endswith(" 11.png")
    ]
    table = small_data / "chosen.csv"
    table.write_text("file,class,radiograph\n" + "".join(rows))
    with pytest.raises(Interrupted):
        train(CONFIG, table, tmp_path / "run", kill_after_an_epoch)
    run = RunFolder(tmp_path / "run")
    assert run.read_record()["data"]["folder"] == str(table.resolve())
    resume(run.path)
    card = json.loads(run.card.read_text())
    assert card["data"]["files"] == 33 and str(tmp_path) not in run.card.read_text()
    assert len(run.read_history()) == CONFIG.epochs


def split_of(run: RunFolder) -> Split:
    made = run.read_record()["split"]
    return Split.read(run.split, made["protocol"], made["seed"], made["conflicts"],
                      made["fold"], made["folds"])  # fmt: skip


def test_folds_and_conflicts_are_recorded_and_resumed(small_data, small_network, tmp_path):
    table = small_data / "radiographs.csv"
    lines = table.read_text().splitlines()
    lines[1:3] = ["Normal/Normal 0.png,both", "Normal/Normal 1.png,both"]
    lines[13] = lines[13].split(",")[0] + ",both"
    table.write_text("\n".join(lines) + "\n")
    config = replace(CONFIG, epochs=2, split="radiograph", conflicts="test", folds=3, fold=2)
    with pytest.raises(Interrupted):
        train(config, small_data, tmp_path / "run", kill_after_an_epoch)
    run = RunFolder(tmp_path / "run")
    before = run.split.read_bytes()
    resume(run.path)
    assert run.split.read_bytes() == before
    split = split_of(run)
    assert (split.fold, split.folds, split.conflicts) == (2, 3, "test")
    assert "both" not in {i.radiograph for i in split.training}
    card = json.loads(run.card.read_text())
    assert card["data"]["radiographs"] == 18 and card["data"]["conflicted_radiographs"] == 1
    assert card["split"]["left_out_files"] == len(split.left_out)


def as_the_first_kop_wrote_it(run: RunFolder) -> None:
    """Take from a run's folder what its first version did not write."""
    record = run.read_record()
    for name in ("split", "conflicts", "folds", "fold", "warmup_epochs"):
        del record["config"][name]
    of_split = ("protocol", "seed", "training_files", "test_files", "identical",
                "identical_share", "same_radiograph", "same_radiograph_share")  # fmt: skip
    record["split"] = {name: record["split"][name] for name in of_split}
    del record["data"]["radiographs_from"]
    write_json(run.record, record)
    lines = run.split.read_text().splitlines()
    run.split.write_text("\n".join(line.rsplit(",", 1)[0] for line in lines) + "\n")


def test_runs_of_the_first_kop_go_on(finished, small_data, small_network, tmp_path):
    whole, _ = finished
    with pytest.raises(Interrupted):
        train(CONFIG, small_data, tmp_path / "old", kill_after_an_epoch)
    old = RunFolder(tmp_path / "old")
    as_the_first_kop_wrote_it(old)
    assert old.split.read_text().startswith("file,part,true,radiograph,sha256\n")
    resume(old.path)
    one, other = Predictions.read(whole.predictions), Predictions.read(old.predictions)
    assert one.files == other.files
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-4)
    said = json.loads(old.card.read_text())["statements"]
    assert said[:3] == json.loads(whole.card.read_text())["statements"][:3]


def test_the_learning_rate_rises_through_the_warm_up(small_data, small_network, tmp_path):
    from kop_core.training.trainer import Training

    def rates(**settings):
        config = replace(CONFIG, epochs=4, learning_rate=1.0, **settings)
        run = Training(RunFolder(tmp_path), config, None, None, "float32", None)
        run.steps = 10
        return [run._learning_rate(step) for step in range(40)]

    warm = rates(warmup_epochs=1.5)
    assert warm[:16] == sorted(warm[:16]) and warm[0] == pytest.approx(1 / 16)
    assert warm[15] == 1.0 and warm[15:] == sorted(warm[15:], reverse=True)
    assert warm[-1] < 0.01
    flat = rates(warmup_epochs=1, schedule="constant")
    assert flat[9] < 1 and flat[10:] == [1.0] * 30
    assert rates()[0] == 1.0


def test_radiographs_under_two_classes_are_counted():
    from kop_core.datasets import Item
    from kop_core.training.finishing import conflicts

    def split(*rows):
        return Split("random", 0, tuple(Item("f", true, r, "") for true, r in rows), ())

    mixed = split(("healthy", "R1"), ("osteopenia", "R1"), ("healthy", "R2"))
    assert conflicts(mixed) == {"radiographs": 2, "conflicted_radiographs": 1}
    unknown = split(("healthy", "R1"), ("healthy", ""))
    assert conflicts(unknown) == {"radiographs": None, "conflicted_radiographs": None}


def test_a_finished_run_stays_as_it_is(finished):
    run, _ = finished
    before = run.card.read_bytes()
    resume(run.path)
    assert run.card.read_bytes() == before


def test_resume_refuses_other_data(small_data, small_network, tmp_path):
    with pytest.raises(Interrupted):
        train(CONFIG, small_data, tmp_path / "run", kill_after_an_epoch)
    (small_data / "Normal" / "Normal 0.png").unlink()
    with pytest.raises(RunError, match="fingerprint"):
        resume(tmp_path / "run")


def test_folders_that_are_no_runs(tmp_path, small_data, small_network):
    with pytest.raises(RunError, match="not the folder of a training run"):
        resume(tmp_path)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.txt").write_text("x")
    with pytest.raises(RunError, match="exists already"):
        train(CONFIG, small_data, taken)
    assert (taken / "thesis.txt").read_text() == "x"


def test_a_damaged_checkpoint_is_named(small_data, small_network, tmp_path):
    with pytest.raises(Interrupted):
        train(CONFIG, small_data, tmp_path / "run", kill_after_an_epoch)
    checkpoint = RunFolder(tmp_path / "run").checkpoint
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    with pytest.raises(RunError, match=r"checkpoint\.npz is damaged"):
        resume(tmp_path / "run")


def test_a_loss_that_is_no_number_is_explained(small_data, small_network, tmp_path):
    with pytest.raises(RunError, match="learning rate"):
        train(replace(CONFIG, learning_rate=1e30), small_data, tmp_path / "run")


def test_data_that_cannot_be_trained_on(small_data, small_network, tmp_path):
    shutil.rmtree(small_data / "Osteopenia")
    with pytest.raises(DataSetError, match="osteopenia"):
        train(CONFIG, small_data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_unreadable_picture_is_on_the_card(small_data, small_network, tmp_path):
    bad = small_data / "Normal" / "Normal 3.png"
    bad.write_bytes(bad.read_bytes()[:200])
    run = train(CONFIG, small_data, tmp_path / "run")
    card = json.loads((run / "card.json").read_text())
    assert [file for file, _ in card["data"]["unreadable"]] == ["Normal/Normal 3.png"]


WATCHED = replace(CONFIG, split="radiograph", validation_share=0.2)


def test_a_validation_part_is_watched_and_the_test_part_is_not(
    small_data, small_network, tmp_path, monkeypatch
):
    from kop_core.training import trainer

    watched = []

    def seen(forward, pixels, *more):
        watched.append({i.radiograph for i in pixels.items})
        return trainer_predict(forward, pixels, *more)

    trainer_predict = trainer.predict
    monkeypatch.setattr(trainer, "predict", seen)
    run = RunFolder(train(WATCHED, small_data, tmp_path / "run"))
    split = split_of(run)
    apart = [{i.radiograph for i in p} for p in (split.training, split.validation, split.test)]
    assert all(apart) and not set.intersection(*apart[:2]) and not apart[1] & apart[2]
    assert watched == [apart[1]] * WATCHED.epochs
    said = " ".join(json.loads(run.card.read_text())["statements"])
    assert "The test part was looked at once, at the end: " in said
    assert f"{len(split.validation)} pictures of the training part were set aside" in said
    assert "measured on another" in said


def test_the_best_epoch_is_kept_also_after_an_interruption(
    small_data, small_network, tmp_path, monkeypatch
):
    from kop_core.training.trainer import Training

    measured = Training._validate

    def validate(run, epoch):  # as if it had learned too much by heart from then on
        return {**measured(run, epoch), "val_loss": abs(epoch - 2) + 0.5}

    monkeypatch.setattr(Training, "_validate", validate)
    config = replace(WATCHED, epochs=6, keep="best", learning_rate=0.1, schedule="constant")
    whole = RunFolder(train(config, small_data, tmp_path / "whole"))
    losses = [row["val_loss"] for row in whole.read_history()]
    best = losses.index(min(losses)) + 1
    assert best == 3
    training = json.loads(whole.card.read_text())["training"]
    assert training["kept_epoch"] == best and training["epochs_run"] == 6
    assert training["weights"].startswith(f"of epoch {best}, which had the lowest loss")
    (kept,) = whole.path.glob("best-*.npz")
    assert kept.name == f"best-{best:04d}.npz"
    last = whole.read_checkpoint()[1]
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(whole.read_best(best), last))

    def kill(progress: Progress) -> None:
        if progress.stage == "training" and progress.epoch == best + 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(config, small_data, tmp_path / "cut", kill)
    cut = RunFolder(resume(tmp_path / "cut"))
    one, other = Predictions.read(whole.predictions), Predictions.read(cut.predictions)
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-4)


def test_it_ends_early_once_the_validation_part_gets_no_better(small_data, small_network, tmp_path):
    config = replace(WATCHED, epochs=30, patience=2, learning_rate=0.5, schedule="constant")
    run = RunFolder(train(config, small_data, tmp_path / "run"))
    losses = [row["val_loss"] for row in run.read_history()]
    best = losses.index(min(losses)) + 1
    assert len(losses) == best + 2 < 30
    card = json.loads(run.card.read_text())
    assert card["training"]["epochs_run"] == len(losses) and not card["training"]["stopped"]
    assert f"The training ended after {len(losses)} epochs of 30" in " ".join(card["statements"])
    before = run.card.read_bytes()
    resume(run.path)
    assert run.card.read_bytes() == before


def stop_in(epoch: int, stage: str = "training"):
    def stop(progress: Progress) -> None:
        if progress.stage == stage and progress.epoch == epoch:
            raise StopAsked

    return stop


def test_a_stopped_run_has_a_model_and_goes_on_to_the_same_end(
    finished, small_data, small_network, tmp_path
):
    whole, _ = finished
    run = RunFolder(train(CONFIG, small_data, tmp_path / "stopped", stop_in(3)))
    card = json.loads(run.card.read_text())
    assert card["training"]["stopped"] and card["training"]["kept_epoch"] == 2
    assert "stopped by hand after 2 epochs of 4." in " ".join(card["statements"])
    assert "those of epoch 2, the last whole one" in " ".join(card["statements"])
    model_store.verify(model_store.open_model(run.path))
    stopped = run.card.read_bytes()
    with pytest.raises(StopAsked):  # before it learns anything more: the model stays
        resume(run.path, stop_in(1, "reading"))
    assert run.card.read_bytes() == stopped
    resume(run.path)
    assert not json.loads(run.card.read_text())["training"]["stopped"]
    one, other = Predictions.read(whole.predictions), Predictions.read(run.predictions)
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-4)


def test_a_run_stopped_before_its_first_epoch_has_no_model(small_data, small_network, tmp_path):
    with pytest.raises(StopAsked):
        train(CONFIG, small_data, tmp_path / "run", stop_in(1))
    assert not (tmp_path / "run" / "card.json").exists()
    assert not (tmp_path / "run" / "checkpoint.npz").exists()


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_every_optimiser_goes_on_exactly(optimizer, small_data, small_network, tmp_path):
    config = replace(CONFIG, epochs=2, optimizer=optimizer, learning_rate=0.003, weight_decay=0.1)
    whole = RunFolder(train(config, small_data, tmp_path / "whole"))
    with pytest.raises(Interrupted):
        train(config, small_data, tmp_path / "cut", kill_after_an_epoch)
    cut = RunFolder(resume(tmp_path / "cut"))
    for kind in (1, 2):
        for a, b in zip(whole.read_checkpoint()[kind], cut.read_checkpoint()[kind]):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_weights_decay_and_biases_do_not():
    import keras

    from kop_core.training.transfer import make_optimizer

    layer = keras.layers.Dense(1)
    layer.build((None, 1))
    kernel, bias = layer.trainable_variables
    for variable in (kernel, bias):
        variable.assign(variable * 0 + 2)
    optimizer = make_optimizer(replace(CONFIG, learning_rate=0.1, weight_decay=0.5), layer)
    optimizer.apply([kernel * 0, bias * 0], [kernel, bias])
    assert float(kernel.numpy().item()) == pytest.approx(2 * (1 - 0.1 * 0.5))
    assert float(bias.numpy().item()) == 2


def test_balanced_classes_have_the_same_say(small_data, small_network, tmp_path):
    from kop_core.training.trainer import Training

    for path in list((small_data / "Osteopenia").iterdir())[:6]:
        path.unlink()
    config = replace(CONFIG, class_weights="balanced")
    data = scan(small_data)
    from kop_core.training.trainer import split_of as parts

    run = Training(
        RunFolder(tmp_path), config, data, parts(data, config), "float32", lambda p: None
    )
    run._load_all()
    counts = run.training.targets.sum(axis=0)
    assert len(set(counts)) > 1
    said = counts * run.class_weights
    np.testing.assert_allclose(said, np.full(3, len(run.training.items) / 3), rtol=1e-5)


def test_the_learning_rate_falls_in_steps(small_network, tmp_path):
    from kop_core.training.trainer import Training

    config = replace(CONFIG, epochs=4, learning_rate=1.0, schedule="steps")
    run = Training(RunFolder(tmp_path), config, None, None, "float32", None)
    run.steps = 10
    rates = [run._learning_rate(step) for step in range(40)]
    assert rates == [1.0] * 20 + [0.1] * 10 + [0.01] * 10


def test_another_side_of_the_input_is_trained_served_and_on_the_card(
    small_data, small_network, tmp_path
):
    from kop_core import radiographs
    from kop_core.classifier import load_network

    run = RunFolder(train(replace(CONFIG, epochs=1, size=96), small_data, tmp_path / "run"))
    model = model_store.open_model(run.path)
    model_store.verify(model)
    preparation = radiographs.preparation.from_config(model.card["preparation"])
    assert preparation.shape == (96, 96, 3)
    network = load_network(model)
    assert network.input_shape == (None, 96, 96, 3)
    kept = Predictions.read(run.predictions)
    picture = radiographs.read(small_data / kept.files[0])
    served = network(radiographs.prepare(picture, preparation)[None]).numpy()[0]
    np.testing.assert_allclose(served, kept.probabilities[0], atol=1e-4)


def test_a_network_that_is_shown_joints_is_trained_served_and_explained(
    small_data, small_network, tmp_path, monkeypatch
):
    from kop_core import radiographs
    from kop_core.classifier import Classifier
    from kop_core.radiographs import knees

    joint = knees.Knee(48, 64, 40, 5.0)
    monkeypatch.setattr(knees, "find_knees", lambda radiograph: (joint,))
    config = replace(CONFIG, epochs=1, size=64, view="joints", augmentation=None)
    run = RunFolder(train(config, small_data, tmp_path / "run"))
    model = model_store.open_model(run.path)
    assert model.card["preparation"]["name"] == "joints64"
    classifier = Classifier(model)
    kept = Predictions.read(run.predictions)
    picture = radiographs.read(small_data / kept.files[0])
    said = classifier.classify(picture, explain="gradcam")
    np.testing.assert_allclose(list(said.probabilities.values()), kept.probabilities[0], atol=1e-4)
    heat = said.influence.heat
    assert heat.shape == (512, 384)  # of the picture's proportions, nothing outside the joint
    assert heat[: 512 * 40 // 128].max() == heat[512 * 90 // 128 :].max() == 0


def test_a_batch_larger_than_the_data_is_named(small_data, small_network, tmp_path):
    with pytest.raises(RunError, match=r"batch \(64 pictures\) is larger than the training part"):
        train(replace(CONFIG, batch_size=64), small_data, tmp_path / "run")


def test_what_was_not_measured_by_an_older_kop_is_no_number(tmp_path):
    run = RunFolder(tmp_path)
    row = {"epoch": 1, "accuracy": 0.5, "loss": 1.0, "val_accuracy": 0.5, "val_loss": 1.0,
           "learning_rate": 0.1, "seconds": 2.0}  # fmt: skip
    run.write_history([row, {**row, "epoch": 2, "val_macro_f1": 0.25}])
    first, second = run.read_history()
    assert np.isnan(first["val_macro_f1"]) and second["val_macro_f1"] == 0.25


def test_a_history_that_lacks_epochs_is_named(small_data, small_network, tmp_path):
    def kill(progress: Progress) -> None:
        if progress.stage == "epoch" and progress.done == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(CONFIG, small_data, tmp_path / "run", kill)
    run = RunFolder(tmp_path / "run")
    run.write_history(run.read_history()[:1])
    with pytest.raises(RunError, match=r"history\.csv lacks epochs"):
        resume(run.path)
