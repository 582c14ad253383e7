"""What Keras and TensorFlow are told before they are imported."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

from kop_core import backend, child_process, networks


def test_it_is_told_where_the_environment_does_not_say_otherwise(monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "3")
    backend.settle()
    assert os.environ["KERAS_BACKEND"] == "tensorflow"
    assert os.environ["TF_NUM_INTEROP_THREADS"] == "3"


def test_every_process_of_kop_is_told(monkeypatch):
    for name in backend.SETTINGS:
        monkeypatch.delenv(name, raising=False)
    assert backend.SETTINGS.items() <= child_process.environment().items()
    told = "import os, runpy, sys\nsys.argv = ['kop_core', '--version']\n"
    for run in ("runpy.run_module('kop_core', run_name='__main__')", "runpy.run_path('app.py')"):
        command = f"{told}try:\n    {run}\nfinally:\n    print(dict(os.environ))"
        ended = subprocess.run(
            [sys.executable, "-c", command],
            capture_output=True, text=True, cwd=child_process.CODE,
        )  # fmt: skip
        for name, value in backend.SETTINGS.items():
            assert f"{name!r}: {value!r}" in ended.stdout, ended.stderr


def test_a_step_has_the_same_gradients_whenever_it_is_taken():
    import keras
    import tensorflow as tf

    model = networks.build("efficientnet_lite0", size=128, view="joints", dropout=0.0)
    pictures = np.random.default_rng(1).random((16, *model.input_shape[1:]), np.float32)
    targets = tf.one_hot(np.arange(16) % 3, 3)
    weights = [variable.value for variable in model.trainable_variables]

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            said = model(pictures, training=True)
            loss = tf.reduce_mean(keras.losses.categorical_crossentropy(targets, said))
        return tape.gradient(loss, weights)

    first, *others = ([g.numpy() for g in gradients()] for _ in range(7))
    for other in others:
        assert all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
