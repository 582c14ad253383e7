"""An encoder from generated knees: what comes out, exact resume, persons kept together."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from kop_core import networks
from kop_core.cli import main
from kop_core.datasets import scan
from kop_core.errors import DataSetError, RunError
from kop_core.networks import pretrained
from kop_core.pretraining import ENCODER, FACTS, SETTINGS, encoder, pretrain
from kop_core.training import Progress, StopAsked, train
from kop_core.training.config import TrainingConfig
from kop_core.training.run_folder import RunFolder
from tests.conftest import make_data

CONFIG = replace(SETTINGS, network="small", pretrained=None, backbone_rate=1.0, epochs=2,
                 batch_size=8, size=64, seed=2, validation_share=0.25, options={},
                 precision="float32")  # fmt: skip


@pytest.fixture
def knees(tmp_path):
    """Knees of persons with two each, filed by grade, in two collections."""
    drawn = make_data(tmp_path / "drawn", 12)
    for grade, folder in enumerate(sorted(drawn.iterdir())):
        for place, file in enumerate(sorted(folder.iterdir())):
            to = tmp_path / "knees" / ("oai" if place < 8 else "digital") / str(grade)
            to.mkdir(parents=True, exist_ok=True)
            shutil.move(file, to / f"90{grade}{place // 2}{'LR'[place % 2]}.png")
    return tmp_path / "knees"


def test_an_encoder_comes_out_with_what_it_was_learned_from(knees, small_network, tmp_path):
    path = pretrain(CONFIG, knees, tmp_path / "run")
    assert path == tmp_path / "run" / ENCODER
    facts = json.loads((tmp_path / "run" / FACTS).read_text())
    assert facts["data"]["classes"] == {"0": 12, "1": 12, "2": 12}
    assert facts["data"]["fingerprint"] == scan(knees, any_class=True).fingerprint
    assert facts["validation"]["pictures"] == 2 * facts["validation"]["persons"] == 8
    kappa = facts["validation"]["quadratic_weighted_kappa"]
    assert kappa["low"] <= kappa["value"] <= kappa["high"]
    assert str(tmp_path) not in json.dumps(facts)
    model = networks.build("small", size=64)
    assert pretrained.load(model, "small", path) == 6


def test_a_network_begins_with_it(knees, small_network, small_data, tmp_path):
    path = pretrain(replace(CONFIG, epochs=1), knees, tmp_path / "run")
    config = TrainingConfig(network="small", epochs=1, size=64, batch_size=8, options={},
                            split="random", augmentation=None, pretrained=str(path),
                            freeze="backbone", precision="float32")  # fmt: skip
    run = RunFolder(train(config, small_data, tmp_path / "second"))
    assert run.read_record()["pretrained"]["name"] == ENCODER
    kept = run.read_checkpoint()[1][0]
    np.testing.assert_array_equal(kept, pretrained.read_weights(path)["conv1/kernel"])


def test_it_goes_on_exactly_and_refuses_another_runs_folder(knees, small_network, tmp_path):
    whole = pretrained.read_weights(pretrain(CONFIG, knees, tmp_path / "whole"))

    class Killed(Exception):
        pass

    def kill(progress: Progress) -> None:
        if progress.stage == "training" and progress.epoch == 2:
            raise Killed

    with pytest.raises(Killed):
        pretrain(CONFIG, knees, tmp_path / "cut", kill)
    with pytest.raises(RunError, match="other settings or other pictures"):
        pretrain(replace(CONFIG, seed=9), knees, tmp_path / "cut")
    cut = pretrained.read_weights(pretrain(CONFIG, knees, tmp_path / "cut"))
    for name, value in whole.items():
        np.testing.assert_allclose(cut[name], value, atol=2e-3)
    seen: list[str] = []
    pretrain(CONFIG, knees, tmp_path / "cut", lambda p: seen.append(p.stage))
    assert set(seen) == {"scanning"}  # it was done


def test_one_that_was_stopped_goes_on(knees, small_network, tmp_path):
    def stop(progress: Progress) -> None:
        if progress.stage == "training" and progress.epoch == 2:
            raise StopAsked

    facts = tmp_path / "run" / FACTS
    path = pretrain(CONFIG, knees, tmp_path / "run", stop)
    assert json.loads(facts.read_text())["stopped"] and path.is_file()
    pretrain(CONFIG, knees, tmp_path / "run")
    found = json.loads(facts.read_text())
    assert (found["stopped"], found["epochs_run"]) == (False, 2)


def test_both_knees_of_a_person_stay_on_one_side(knees):
    items = scan(knees, any_class=True).items
    learned, watched = encoder.divide(items, 0.3, seed=1)
    assert sorted(i.file for i in learned + watched) == sorted(i.file for i in items)
    assert not {encoder.person(i) for i in learned} & {encoder.person(i) for i in watched}
    assert len({encoder.person(i) for i in items}) == 18
    assert encoder.divide(items, 0.3, seed=2)[1] != watched


def test_bad_input_is_named(knees, small_network, tmp_path):
    with pytest.raises(RunError, match="needs a validation part"):
        pretrain(replace(CONFIG, validation_share=0.0, keep="last"), knees, tmp_path / "run")
    for grade in "12":
        for folder in ("oai", "digital"):
            shutil.rmtree(knees / folder / grade)
    with pytest.raises(DataSetError, match="nothing to tell apart"):
        pretrain(CONFIG, knees, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_command(knees, small_network, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["pretrain", "--data", str(knees), "--out", str(out), "--network", "small",
                 "--fresh", "--epochs", "1", "--size", "64", "--batch", "8"]) == 0  # fmt: skip
    said = capsys.readouterr().out
    assert "weighted kappa" in said and "of 2 persons" in said
    assert main(["pretrain", "--data", str(tmp_path / "no"), "--out", str(out)]) == 1
