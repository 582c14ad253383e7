"""The batches of an epoch, made while the network learns from those before.

Under TensorFlow by ``tf.data``: several batches are made at once on other threads and wait
in order. Elsewhere each is made when it is asked for. Both give the same batches to the
bit, because a batch depends on nothing but its number (:class:`kop_core.datasets.feeding.Epoch`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from kop_core.datasets.feeding import Epoch

# Batches that are ready and wait, beside those at work.
_READY = 2
_MOST_WORKERS = 8


def batches(epoch: Epoch, workers: int | None = None) -> Iterator[tuple[Any, Any]]:
    """Yield inputs and targets of every batch, in order, as arrays or tensors.

    Args:
        epoch: what to yield.
        workers: batches made at once; by default one a processor, within reason.
    """
    import keras

    if keras.config.backend() == "tensorflow":
        return in_background(epoch, workers)
    return one_by_one(epoch)


def one_by_one(epoch: Epoch) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield every batch as arrays, each made when it is asked for."""
    return (epoch.batch(step) for step in range(len(epoch)))


def in_background(epoch: Epoch, workers: int | None = None) -> Iterator[tuple[Any, Any]]:
    """Yield every batch as tensors, made ahead by ``tf.data``."""
    import tensorflow as tf

    failures: list[BaseException] = []
    pixels, workers = epoch.pixels, workers or min(os.cpu_count() or 1, _MOST_WORKERS)

    def make(step: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        try:
            return epoch.batch(int(step))
        except BaseException as error:
            failures.append(error)
            raise

    def shaped(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        inputs, targets = tf.numpy_function(make, [step], [tf.float32, tf.float32], stateful=False)
        return (
            tf.ensure_shape(inputs, (None, *pixels.preparation.shape)),
            tf.ensure_shape(targets, (None, pixels.targets.shape[1])),
        )

    options = tf.data.Options()
    # Threads of its own: on TensorFlow's they would stand in the way of the step at work.
    options.threading.private_threadpool_size = workers
    # Nothing is left to tune, and the end of an epoch would wait for the thread that does.
    options.autotune.enabled = False
    data = tf.data.Dataset.range(len(epoch))
    data = data.map(shaped, num_parallel_calls=workers, deterministic=True)
    try:
        yield from data.prefetch(_READY).with_options(options)
    except tf.errors.OpError:
        if failures:  # what went wrong, not how TensorFlow words it
            raise failures[0] from None
        raise
