"""A training on one or both of two logical processors, as a process of its own.

``python -m tests.training.mirrored_process '["FOLDER", "DATA", "NETWORK", REPLICAS]'``
"""

from __future__ import annotations

import json
import sys

from kop_core.networks import registry
from kop_core.training import TrainingConfig, train
from tests.conftest import make_small_network

EPOCHS = 3


def build(input_shape, classes, normalised, dropout):
    import keras
    from keras import layers

    inputs = keras.Input(input_shape, name="radiograph")
    x = layers.Conv2D(4, 8, 8, activation="relu", name="conv9")(inputs)
    if normalised:
        x = layers.BatchNormalization(momentum=0.9, name="norm")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    return keras.Model(inputs, layers.Dense(classes, activation="softmax", name="out")(x))


def main() -> None:
    import tensorflow as tf

    folder, data, kind, replicas = json.loads(sys.argv[1])
    processor = tf.config.list_physical_devices("CPU")[0]
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(processor, two)
    options = {"normalised": kind != "plain", "dropout": 0.5 if kind == "dropped" else 0.0}
    made = make_small_network()
    network = registry.Network(
        made.name, made.title, build, made.preparation, made.explain_layer, options, "none"
    )
    registry._NETWORKS[network.name] = network
    config = TrainingConfig(
        network=network.name, epochs=EPOCHS, seed=3, batch_size=8, learning_rate=0.05,
        options={}, precision="float32", class_weights="balanced", replicas=replicas,
    )  # fmt: skip
    train(config, data, folder)


if __name__ == "__main__":
    main()
