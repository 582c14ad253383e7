"""Transfer learning on generated pictures: what learns, what stays, and exact resume."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from kop_core import networks
from kop_core.datasets import feeding, scan
from kop_core.errors import RunError, WeightsError
from kop_core.networks import pretrained
from kop_core.training import Progress, StopAsked, TrainingConfig, resume, train, transfer
from kop_core.training.run_folder import RunFolder

CONFIG = TrainingConfig(network="small", epochs=3, seed=3, batch_size=8, learning_rate=0.02,
                        options={}, precision="float32", split="random", size=64,
                        augmentation=None)  # fmt: skip


class Interrupted(Exception):
    """A run killed from outside."""


@pytest.fixture
def weights(small_network, tmp_path):
    """A file of weights for the small network's backbone."""
    import keras

    keras.utils.set_random_seed(11)
    model = networks.build("small", size=64)
    norm = model.get_layer("norm1")
    norm.moving_variance.assign(norm.moving_variance * 0.25)
    path = tmp_path / "encoder.npz"
    pretrained.save(model, "small", path)
    return path


def learned(run: RunFolder, kind: int = 1) -> list[np.ndarray]:
    return run.read_checkpoint()[kind]


def by_name(run: RunFolder) -> dict[str, np.ndarray]:
    model = networks.build("small", size=64)
    return {
        f"{layer.name}/{v.name}": value
        for (layer, v), value in zip(
            ((layer, v) for layer in model.layers for v in layer.weights), learned(run)
        )
    }


def kill_in(epoch: int):
    def kill(progress: Progress) -> None:
        if progress.stage == "training" and progress.epoch == epoch and progress.done == 2:
            raise Interrupted

    return kill


def test_a_frozen_backbone_stays_and_its_head_learns(small_data, weights, tmp_path):
    config = replace(CONFIG, pretrained=str(weights), freeze="backbone")
    seen: list[Progress] = []
    run = RunFolder(train(config, small_data, tmp_path / "run", seen.append))
    given, found = pretrained.read_weights(weights), by_name(run)
    for name, value in given.items():
        np.testing.assert_array_equal(found[name], value.astype(np.float32))
    history = run.read_history()
    assert history[-1]["loss"] < history[0]["loss"]
    features = [p for p in seen if p.stage == "features"]
    assert sum(p.done == p.total for p in features) == 2  # of both parts, once


def test_features_that_are_kept_teach_what_pictures_would(small_data, weights, tmp_path):
    """The same head, trained through the whole network by hand, ends at the same weights."""
    from kop_core.datasets import make_split

    config = replace(CONFIG, pretrained=str(weights), freeze="backbone", epochs=2,
                     schedule="constant", options={"dropout": 0.0})  # fmt: skip
    run = RunFolder(train(config, small_data, tmp_path / "run"))
    import keras

    keras.utils.set_random_seed(config.seed)
    model = networks.build("small", size=64, dropout=0.0)
    pretrained.load(model, "small", weights)
    transfer.freeze(model, config, transfer.HEAD)
    model.compile(transfer.make_optimizer(config, model), loss="categorical_crossentropy")
    data = scan(small_data)
    split = make_split(data, "random", config.test_share, config.seed)
    pixels = feeding.load(data, split.training, config.preparation)
    for epoch in range(2):
        batches = feeding.Epoch(pixels, config.batch_size, None, config.seed, epoch)
        for step in range(len(batches)):
            model.train_on_batch(*batches.batch(step))
    for kept, whole in zip(learned(run), model.get_weights()):
        np.testing.assert_allclose(kept, whole, atol=2e-5)


def test_two_stages(small_data, weights, tmp_path):
    config = replace(CONFIG, pretrained=str(weights), head_epochs=2, epochs=3)
    given = pretrained.read_weights(weights)
    kept: list[dict] = []

    def look(progress: Progress) -> None:
        if progress.stage == "epoch":
            kept.append(by_name(RunFolder(tmp_path / "run")))

    train(config, small_data, tmp_path / "run", look)
    name = "conv1/kernel"
    for epoch in kept[:2]:
        np.testing.assert_array_equal(epoch[name], given[name].astype(np.float32))
    assert np.abs(kept[2][name] - given[name]).max() > 1e-4
    assert np.abs(kept[2]["norm1/moving_mean"] - given["norm1/moving_mean"]).max() > 1e-4


@pytest.mark.parametrize("epoch", [1, 3, 4])
def test_a_run_of_two_stages_goes_on_exactly(epoch, small_data, weights, tmp_path):
    config = replace(CONFIG, pretrained=str(weights), head_epochs=2, epochs=4, optimizer="adam",
                     learning_rate=0.003, backbone_rate=0.1, weight_decay=0.1)  # fmt: skip
    whole = RunFolder(train(config, small_data, tmp_path / "whole"))
    with pytest.raises(Interrupted):
        train(config, small_data, tmp_path / "cut", kill_in(epoch))
    if epoch > 1:
        weights.unlink()  # what a run began with is not needed to go on
    cut = RunFolder(resume(tmp_path / "cut"))
    for kind in (1, 2):
        for a, b in zip(learned(whole, kind), learned(cut, kind)):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    for a, b in zip(whole.read_history(), cut.read_history()):
        del a["seconds"], b["seconds"]
        assert a == pytest.approx(b, rel=1e-3, abs=1e-5)


def test_stopped_among_the_heads_epochs_there_is_a_model(small_data, weights, tmp_path):
    config = replace(CONFIG, pretrained=str(weights), head_epochs=2, epochs=4)

    def stop(progress: Progress) -> None:
        if progress.stage == "training" and progress.epoch == 2:
            raise StopAsked

    run = RunFolder(train(config, small_data, tmp_path / "run", stop))
    assert json.loads(run.card.read_text())["training"]["epochs_run"] == 1


def test_it_learns_from_a_layer_on(small_data, weights, tmp_path):
    config = replace(CONFIG, pretrained=str(weights), freeze="dense1", epochs=2)
    found = by_name(RunFolder(train(config, small_data, tmp_path / "run")))
    given = pretrained.read_weights(weights)
    for name, value in given.items():
        np.testing.assert_array_equal(found[name], value.astype(np.float32))
    config = replace(config, freeze="norm1")
    found = by_name(RunFolder(train(config, small_data, tmp_path / "second")))
    np.testing.assert_array_equal(found["conv1/kernel"], given["conv1/kernel"].astype(np.float32))
    assert np.abs(found["norm1/gamma"] - given["norm1/gamma"]).max() > 1e-4


def test_a_layer_that_is_not_there_is_named(small_data, weights, tmp_path):
    config = replace(CONFIG, pretrained=str(weights), freeze="conv7")
    with pytest.raises(RunError, match=r"small has no layer 'conv7'.*conv1, norm1.*networks"):
        train(config, small_data, tmp_path / "run")


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "rmsprop"])
def test_the_backbone_learns_at_its_own_rate(optimizer, small_network):
    """A step of the backbone is as long as with the smaller rate for all, decay too."""
    import keras

    def step(rate: float, backbone_rate: float) -> list[tuple[str, np.ndarray]]:
        keras.utils.set_random_seed(1)
        model = networks.build("small", size=64)
        before = [v.numpy() for v in model.trainable_variables]
        config = replace(CONFIG, optimizer=optimizer, learning_rate=rate, weight_decay=0.3,
                         backbone_rate=backbone_rate)  # fmt: skip
        backbone = networks.split(model, "small")[0].layers
        made = transfer.make_optimizer(config, model, backbone)
        learns = model.trainable_variables
        made.apply([v * 0 + 0.5 for v in learns], learns)
        return [(v.path, v.numpy() - old) for v, old in zip(learns, before)]

    both, slow, fast = step(0.1, 0.1), step(0.01, 1.0), step(0.1, 1.0)
    for (path, moved), (_, slowly), (_, quickly) in zip(both, slow, fast):
        expected = slowly if path.startswith(("conv1", "norm1")) else quickly
        np.testing.assert_allclose(moved, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_it_does_so_under_other_backends(backend):
    pytest.importorskip(backend)  # KOP requires neither
    tests = f"{__file__}::test_the_backbone_learns_at_its_own_rate"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", tests],
        env={**os.environ, "KERAS_BACKEND": backend}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout[-2000:]


def test_adamw_needs_no_decay(small_data, small_network, tmp_path):
    config = replace(CONFIG, optimizer="adamw", epochs=1, learning_rate=0.001)
    assert RunFolder(train(config, small_data, tmp_path / "run")).card.is_file()


def test_what_it_began_with_is_on_record_and_on_the_card(small_data, weights, tmp_path):
    config = replace(CONFIG, pretrained=str(weights), freeze="backbone", epochs=1)
    run = RunFolder(train(config, small_data, tmp_path / "run"))
    began = run.read_record()["pretrained"]
    assert began["name"] == "encoder.npz" and len(began["sha256"]) == 64
    card = json.loads(run.card.read_text())
    said = " ".join(card["statements"])
    assert "backbone began with the weights in encoder.npz" in said
    assert "only its head learned" in said
    assert str(tmp_path) not in json.dumps(card)


def test_weights_that_do_not_fit_are_named_before_anything_is_read(
    small_data, small_network, tmp_path
):
    file = tmp_path / "other.npz"
    np.savez(file, **{"conv9/kernel": np.zeros((3, 3), np.float32)})
    config = replace(CONFIG, pretrained=str(file))
    with pytest.raises(WeightsError, match=r"other\.npz does not fit the network small"):
        train(config, small_data, tmp_path / "run")
    with pytest.raises(WeightsError, match=r"There is no file .*no\.npz"):
        train(replace(CONFIG, pretrained=str(tmp_path / "no.npz")), small_data, tmp_path / "run")
    with pytest.raises(WeightsError, match="KOP has no encoder of the network small"):
        train(replace(CONFIG, pretrained="knees"), small_data, tmp_path / "run")
    # So the same call with the right file finds its folder free.
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"freeze": "backbone"}, "has learned nothing"),
        ({"freeze": "conv1"}, "has learned nothing"),
        ({"head_epochs": 1}, "has learned nothing"),
        ({"freeze": "backbone", "pretrained": "imagenet",
          "augmentation": feeding.Augmentation()}, "Switch augmentation off"),
        ({"head_epochs": 3, "pretrained": "imagenet"}, "fewer than the run has"),
        ({"head_epochs": 1, "freeze": "backbone", "pretrained": "imagenet"}, "in every epoch"),
        ({"backbone_rate": 0.0}, "freeze it"),
        ({"backbone_rate": 2.0}, "at most 1"),
        ({"pretrained": ""}, "Name the weights"),
        ({"pretrained": 3}, "cannot be 3"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(settings, said):
    with pytest.raises(RunError, match=said):
        replace(CONFIG, **settings)


def test_an_older_record_has_no_transfer(small_data, small_network, tmp_path):
    run = RunFolder(train(replace(CONFIG, epochs=1), small_data, tmp_path / "run"))
    record = run.read_record()
    for name in ("pretrained", "freeze", "head_epochs", "backbone_rate"):
        del record["config"][name]
    assert TrainingConfig.from_config(record["config"]) == replace(CONFIG, epochs=1)


def test_features_are_taken_after_what_neither_learns_nor_is_random(small_network):
    model = networks.build("small", size=64)
    features, head = transfer.cut(model, "small")
    assert features.output_shape == (None, 8)
    pictures = np.random.default_rng(0).normal(size=(3, 64, 64, 3)).astype(np.float32)
    through = head.predict_on_batch(features.predict_on_batch(pictures))
    np.testing.assert_allclose(through, model.predict_on_batch(pictures), atol=1e-6)


def test_the_estimate_counts_features_once(small_network):
    from kop_core.training.estimating import DataFacts, Measurement, estimate

    measured = Measurement(0.001, 0.0001, 0.0, 10.0, 0, 0, 0, feature_seconds=0.5)
    config = replace(CONFIG, pretrained="imagenet", freeze="backbone", epochs=100)
    data = DataFacts(training=100, validation=20, test=30)
    found = estimate(config, data, measured).seconds
    features = 0.5 * (100 + 20) + 2 * 0.5 * 30
    assert found == pytest.approx(10 + features, abs=3)


def test_moved_data_and_a_head(small_data, weights, tmp_path):
    """A run that was cut in its second stage goes on where the pictures are now."""
    config = replace(CONFIG, pretrained=str(weights), head_epochs=1, epochs=2)
    with pytest.raises(Interrupted):
        train(config, small_data, tmp_path / "cut", kill_in(2))
    shutil.move(small_data, tmp_path / "moved")
    assert RunFolder(resume(tmp_path / "cut", data_folder=tmp_path / "moved")).card.is_file()
