"""The network of Ali, Ibrahim and Altamer (2025), row by row as in its Table 1.

The table's "Flatten 4609" is a misprint for 3 · 3 · 512 = 4608: only that gives the
printed 15,610,499 parameters. Each convolution is followed by its rectifier and then by
batch normalisation. Dropout rates are not stated in the paper; 0.5 is what public
notebooks with the same table use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

# (filters, kernel, stride, padding, side of the max-pooling after it or 0)
CONVOLUTIONS = (
    (128, 8, 3, "valid", 0),
    (256, 5, 1, "same", 3),
    (256, 3, 1, "same", 0),
    (256, 1, 1, "same", 0),
    (256, 1, 1, "same", 0),
    (512, 3, 1, "same", 2),
    (512, 3, 1, "same", 0),
    (512, 3, 1, "same", 2),
    (512, 3, 1, "same", 2),
)


def build(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classes: int = 3,
    dropout: float = 0.5,
    batch_norm_momentum: float = 0.99,
) -> keras.Model:
    """Build the paper's network with fresh weights.

    Args:
        input_shape: (height, width, channels); the paper's is (224, 224, 3).
        classes: number of outputs.
        dropout: share of the units of both hidden dense layers left out in training.
        batch_norm_momentum: how slowly batch normalisation's moving averages follow.

    Returns:
        A flat Functional model from (batch, height, width, channels) to float32
        probabilities (batch, classes).
    """
    import keras
    from keras import layers

    inputs = keras.Input(input_shape, name="radiograph")
    x = inputs
    for i, (filters, kernel, stride, padding, pool) in enumerate(CONVOLUTIONS, start=1):
        x = layers.Conv2D(filters, kernel, stride, padding, activation="relu", name=f"conv{i}")(x)
        x = layers.BatchNormalization(momentum=batch_norm_momentum, name=f"norm{i}")(x)
        if pool:
            x = layers.MaxPooling2D(pool, name=f"pool{i}")(x)
    x = layers.Flatten(name="flatten")(x)
    for i in (1, 2):
        x = layers.Dense(1024, activation="relu", name=f"dense{i}")(x)
        x = layers.Dropout(dropout, name=f"dropout{i}")(x)
    outputs = layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(x)
    return keras.Model(inputs, outputs, name="paper")
