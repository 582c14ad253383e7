"""One step on several processors of this machine, which share every batch.

TensorFlow's ``MirroredStrategy``: each processor has the weights and a share of the batch,
gradients are summed, and so are the statistics of batch normalisation, so that the result
is that of one. The one place in training that knows a backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kop_core.errors import RunError
from kop_core.training.steps import Build


class Mirrored:
    """One step on several processors of this machine.

    Attributes:
        model: the network, its weights on each.
        optimizer: its optimiser.
    """

    def __init__(self, build: Build, replicas: int) -> None:
        """Build the network on each processor.

        Raises:
            RunError: if the machine has too few, or another backend is in use.
        """
        import keras
        import tensorflow as tf

        if keras.config.backend() != "tensorflow":
            raise RunError(
                f"Sharing batches by {replicas} processors needs TensorFlow, and Keras runs on "
                f"{keras.config.backend()} here. Set replicas to 1."
            )
        self._strategy = tf.distribute.MirroredStrategy(_devices(replicas))
        with self._strategy.scope():
            self.model, self.optimizer = build()
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True
        self._step = tf.function(self._on_all)
        self._forward = tf.function(lambda x: self.model(x, training=False))

    def train(self, inputs: Any, targets: Any, weights: np.ndarray | None) -> dict[str, float]:
        """Learn from one batch; as :meth:`OneProcessor.train`."""
        inputs, targets = np.asarray(inputs), np.asarray(targets)
        count = len(targets)
        shares = (np.ones(count) if weights is None else weights) / count
        loss, right = self._step(*self._dealt(inputs, targets, shares.astype(np.float32)))
        return {"loss": float(loss), "accuracy": float(right) / count}

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Return probabilities, (batch, classes), computed on the first processor."""
        return self._forward(inputs).numpy()

    def _dealt(self, *arrays: np.ndarray) -> list[Any]:
        """Deal the rows of arrays out, evenly as far as that goes.

        In a last batch that is smaller than the processors are many, those without a
        picture get the first one at a weight of zero.
        """
        count, replicas = len(arrays[0]), self._strategy.num_replicas_in_sync
        places = np.array_split(np.arange(count), replicas)

        def share(array: np.ndarray, replica: int) -> np.ndarray:
            if len(places[replica]):
                return array[places[replica]]
            return array[:1] * (array.ndim > 1)

        return [
            self._strategy.experimental_distribute_values_from_function(
                lambda context, array=array: share(array, context.replica_id_in_sync_group)
            )
            for array in arrays
        ]

    def _on_all(self, inputs: Any, targets: Any, shares: Any) -> tuple[Any, Any]:
        import tensorflow as tf

        losses, right = self._strategy.run(self._on_one, args=(inputs, targets, shares))
        total = tf.distribute.ReduceOp.SUM
        return (
            self._strategy.reduce(total, losses, axis=None),
            self._strategy.reduce(total, right, axis=None),
        )

    def _on_one(self, inputs: Any, targets: Any, shares: Any) -> tuple[Any, Any]:
        import keras
        import tensorflow as tf

        with tf.GradientTape() as tape:
            probabilities = self.model(inputs, training=True)
            each = keras.losses.categorical_crossentropy(targets, probabilities)
            loss = tf.reduce_sum(each * shares)  # of the whole batch: all shares make its mean
        trained = self.model.trainable_variables
        # Keras's optimiser sums the gradients over the processors.
        self.optimizer.apply(tape.gradient(loss, trained), trained)
        hits = tf.argmax(targets, axis=1) == tf.argmax(probabilities, axis=1)
        counted = tf.cast(hits & (shares > 0), tf.float32)
        return loss, tf.reduce_sum(counted)


def _devices(replicas: int) -> Sequence[str]:
    """Return as many GPUs, or where there is none, logical processors.

    Raises:
        RunError: if there are too few.
    """
    import tensorflow as tf

    kinds = {kind: tf.config.list_logical_devices(kind) for kind in ("GPU", "CPU")}
    for found in kinds.values():
        if len(found) >= replicas:
            return [device.name for device in found[:replicas]]
    number = len(kinds["GPU"])
    has = "no GPU" if not number else "1 GPU" if number == 1 else f"{number} GPUs"
    raise RunError(
        f"The run was set to share each batch by {replicas} GPUs, and this machine has {has} that "
        "TensorFlow can use. Set replicas to what there is; 1 is right for a processor."
    )
