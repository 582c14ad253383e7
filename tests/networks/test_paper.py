"""The paper's Table 1, row by row."""

import keras
import numpy as np
import pytest

from kop_core import networks
from kop_core.errors import UnknownNetwork

# Layer, output shape, parameters: as printed, but for Flatten (4609 there, a misprint).
TABLE_1 = [
    ("conv1", (73, 73, 128), 24_704),
    ("norm1", (73, 73, 128), 512),
    ("conv2", (73, 73, 256), 819_456),
    ("norm2", (73, 73, 256), 1_024),
    ("pool2", (24, 24, 256), 0),
    ("conv3", (24, 24, 256), 590_080),
    ("norm3", (24, 24, 256), 1_024),
    ("conv4", (24, 24, 256), 65_792),
    ("norm4", (24, 24, 256), 1_024),
    ("conv5", (24, 24, 256), 65_792),
    ("norm5", (24, 24, 256), 1_024),
    ("conv6", (24, 24, 512), 1_180_160),
    ("norm6", (24, 24, 512), 2_048),
    ("pool6", (12, 12, 512), 0),
    ("conv7", (12, 12, 512), 2_359_808),
    ("norm7", (12, 12, 512), 2_048),
    ("conv8", (12, 12, 512), 2_359_808),
    ("norm8", (12, 12, 512), 2_048),
    ("pool8", (6, 6, 512), 0),
    ("conv9", (6, 6, 512), 2_359_808),
    ("norm9", (6, 6, 512), 2_048),
    ("pool9", (3, 3, 512), 0),
    ("flatten", (4608,), 0),
    ("dense1", (1024,), 4_719_616),
    ("dropout1", (1024,), 0),
    ("dense2", (1024,), 1_049_600),
    ("dropout2", (1024,), 0),
    ("probabilities", (3,), 3_075),
]


@pytest.fixture(scope="module")
def model():
    return networks.build("paper")


def test_every_row_of_table_1(model):
    rows = [(x.name, tuple(x.output.shape[1:]), x.count_params()) for x in model.layers[1:]]
    assert rows == TABLE_1


def test_parameters(model):
    assert networks.counts(model) == {
        "parameters": 15_610_499,
        "trainable": 15_604_099,
        "non_trainable": 6_400,
    }


def test_activations_and_input(model):
    assert model.input_shape == (None, 224, 224, 3)
    for layer in model.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
            wanted = "softmax" if layer.name == "probabilities" else "relu"
            assert layer.activation.__name__ == wanted


def test_flat_and_functional(model):
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    assert type(model).__name__ == "Functional"


def test_options_and_precision():
    model = networks.build("paper", precision="mixed_bfloat16", dropout=0.2)
    assert model.get_layer("dropout1").rate == 0.2
    assert model.get_layer("conv3").compute_dtype == "bfloat16"
    assert model.get_layer("conv3").kernel.dtype == "float32"
    outputs = model(np.zeros((1, 224, 224, 3), np.float32))
    assert keras.backend.standardize_dtype(outputs.dtype) == "float32"
    assert keras.config.dtype_policy().name == "float32"
    with pytest.raises(TypeError, match="colour"):
        networks.build("paper", colour=1)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UnknownNetwork, match="Known: paper"):
        networks.get("papre")
