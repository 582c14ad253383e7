"""Training on generated and real pictures: what is written, and exact resume."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from kop_core import model_store
from kop_core.errors import DataSetError, RunError
from kop_core.evaluation import Predictions, evaluate
from kop_core.training import Progress, TrainingConfig, resume, train
from kop_core.training.run_folder import RunFolder

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
        "scanning", "reading", "training", "validating", "epoch", "measuring",
    ]  # fmt: skip
    left = [r.seconds_left for r in reports if r.stage == "epoch"]
    assert left[-1] == 0 and left == sorted(left, reverse=True)


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


def test_radiographs_under_two_classes_are_counted():
    from kop_core.datasets import Item, Split
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
    from dataclasses import replace

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
