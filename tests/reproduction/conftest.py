"""A whole reproduction in small: generated pictures, a tiny network, three epochs."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kop_core.reproduction import PAPER_SETTINGS, Job, plan, reproduce
from tests.conftest import make_data


def _build(input_shape, classes, batch_norm_momentum, dropout):
    import keras
    from keras import layers

    inputs = keras.Input(input_shape)
    x = layers.AveragePooling2D(16)(inputs)
    x = layers.Conv2D(6, 3, activation="relu", name="conv1")(x)
    x = layers.BatchNormalization(momentum=batch_norm_momentum)(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(dropout)(x)
    outputs = layers.Dense(classes, activation="softmax", dtype="float32")(x)
    return keras.Model(inputs, outputs)


@pytest.fixture(scope="package")
def tiny_network():
    """Register a network that trains in a moment."""
    from kop_core.networks import registry

    network = registry.Network(
        name="tiny",
        title="Tiny",
        builder=_build,
        preparation="stretch224",
        explain_layer="conv1",
        options={"batch_norm_momentum": 0.9, "dropout": 0.5},
        reference="none",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._NETWORKS, "tiny", network)
        yield network


TINY = replace(
    PAPER_SETTINGS,
    network="tiny",
    epochs=2,
    batch_size=8,
    learning_rate=0.02,
    test_share=0.3,
    precision="float32",
)


def write_radiographs(data: Path) -> None:
    """Say that two files each show one radiograph, one of them under two classes."""
    files = sorted(p.relative_to(data).as_posix() for p in data.rglob("*.png"))
    with (data / "radiographs.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(("file", "radiograph"))
        rows.writerows((file, f"R{max(place - 1, 0) // 2}") for place, file in enumerate(files))


@dataclass(frozen=True)
class Whole:
    """A finished reproduction: its data, jobs, runs, and the folder of its page."""

    data: Path
    jobs: tuple[Job, ...]
    runs: Path
    out: Path


@pytest.fixture(scope="package")
def whole(tmp_path_factory, tiny_network) -> Whole:
    """A reproduction that has finished; tests must not alter it."""
    folder = tmp_path_factory.mktemp("reproduction")
    data = make_data(folder / "knees", 12)
    write_radiographs(data)
    jobs = plan(TINY, seeds=(1, 2))
    found = Whole(data, jobs, folder / "runs", folder / "page")
    found.out.mkdir()
    reproduce(data, jobs, found.out, found.runs)
    return found
