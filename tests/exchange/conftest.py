"""One small run, trained once, and the model that it becomes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kop_core import model_store
from kop_core.model_store import Model
from kop_core.networks import registry
from kop_core.training import TrainingConfig, train
from tests.conftest import make_data, write_radiographs


def build(input_shape, classes, dropout, width):
    """A network of the kinds of layer that published ones are made of."""
    import keras
    from keras import layers

    inputs = keras.Input(input_shape)
    x = layers.AveragePooling2D(4)(inputs)
    x = layers.Rescaling(0.5, offset=0.1)(x)
    x = layers.ZeroPadding2D(1)(x)
    x = layers.Conv2D(width, 3, strides=2, use_bias=False, name="conv1")(x)
    x = layers.BatchNormalization(momentum=0.5)(x)
    x = layers.ReLU(max_value=6)(x)
    y = layers.DepthwiseConv2D(3, padding="same")(x)
    y = layers.Activation("swish")(y)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
    gate = layers.Conv2D(width, 1, activation="sigmoid")(gate)
    x = layers.Add()([x, layers.Multiply()([y, gate])])
    x = layers.Concatenate()([x, layers.MaxPooling2D(3, strides=1, padding="same")(x)])
    x = layers.SeparableConv2D(8, 3, padding="same", activation="elu")(x)
    x = layers.MaxPooling2D(4)(x)
    x = layers.Flatten()(x)
    x = layers.Dropout(dropout)(x)
    outputs = layers.Dense(classes, activation="softmax", dtype="float32")(x)
    return keras.Model(inputs, outputs, name="many")


NETWORK = registry.Network(
    name="many",
    title="Many kinds of layer",
    builder=build,
    preparation="stretch224",
    explain_layer="conv1",
    options={"dropout": 0.1, "width": 6},
    reference="none",
)


@pytest.fixture(scope="package")
def data(tmp_path_factory) -> Path:
    return write_radiographs(make_data(tmp_path_factory.mktemp("exchange") / "data", 12))


@pytest.fixture(scope="package")
def trained(data, tmp_path_factory) -> Iterator[Path]:
    """The folder of a finished run of a network that is registered meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry._NETWORKS, "many", NETWORK)
        config = TrainingConfig(network="many", epochs=2, seed=3, batch_size=8, options={},
                                learning_rate=0.01, precision="float32")  # fmt: skip
        yield train(config, data, tmp_path_factory.mktemp("runs") / "run-1")


@pytest.fixture
def run_folder(trained, tmp_path) -> Path:
    """A copy of the run that a test may break."""
    return Path(shutil.copytree(trained, tmp_path / "runs" / "run-1"))


@pytest.fixture
def model(run_folder) -> Model:
    return model_store.open_model(run_folder)
