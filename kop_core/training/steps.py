"""The compiled step on one processor: Keras's own, under any backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras

# Makes the network and its optimiser, whose variables are there.
Build = Callable[[], "tuple[keras.Model, keras.Optimizer]"]


class OneProcessor:
    """Keras's own step.

    Attributes:
        model: the network.
        optimizer: its optimiser.
    """

    def __init__(self, build: Build) -> None:
        self.model, self.optimizer = build()
        self.model.compile(self.optimizer, loss="categorical_crossentropy", metrics=["accuracy"])

    def train(self, inputs: Any, targets: Any, weights: np.ndarray | None) -> dict[str, float]:
        """Learn from one batch.

        Args:
            inputs: (batch, height, width, channels).
            targets: one-hot, (batch, classes).
            weights: of each picture in the loss, (batch,); ``None`` for 1 each.

        Returns:
            ``loss`` and ``accuracy`` of the batch.
        """
        self.model.reset_metrics()  # older Keras would go on averaging over batches
        found = self.model.train_on_batch(inputs, targets, sample_weight=weights, return_dict=True)
        return {"loss": float(found["loss"]), "accuracy": float(found["accuracy"])}

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Return probabilities, (batch, classes)."""
        return self.model.predict_on_batch(inputs)
