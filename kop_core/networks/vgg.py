"""VGG-16 and VGG-19: nothing but 3×3 convolutions and poolings.

K. Simonyan, A. Zisserman, Very Deep Convolutional Networks for Large-Scale Image
Recognition, ICLR 2015, Table 1, configurations D and E.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from kop_core.networks import parts

if TYPE_CHECKING:
    import keras

CHANNELS = (64, 128, 256, 512, 512)
# Convolutions before each of the five poolings.
REPEATS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def _build(
    depth: int,
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classes: int = 3,
    head: str = "pooled",
    dropout: float = 0.5,
) -> keras.Model:
    """Build a VGG with fresh weights; layers are named as in ``keras.applications``.

    Args:
        depth: 16 or 19, the layers with weights of the original.
        input_shape: (height, width, channels).
        classes: number of outputs.
        head: ``"original"`` with its two dense layers of 4,096 units, 119.6 million
            parameters, or ``"pooled"``: averaged features and one dense layer. With the
            original head the file of a VGG-16 has 268 MB in half precision, more than can
            be published.
        dropout: share of units left out in training, by the head.

    Returns:
        A flat Functional model from (batch, height, width, channels) in [-1, 1] to
        float32 probabilities (batch, classes).
    """
    import keras
    from keras import layers

    inputs = keras.Input(input_shape, name="radiograph")
    x = parts.standardised(inputs)
    for block, (channels, repeats) in enumerate(zip(CHANNELS, REPEATS[depth]), start=1):
        for i in range(1, repeats + 1):
            x = layers.Conv2D(
                channels, 3, padding="same", activation="relu", kernel_initializer=parts.HE,
                name=f"block{block}_conv{i}",
            )(x)  # fmt: skip
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    if head == "original":
        outputs = parts.dense_head(x, classes, dropout, dropped_first=False)
    else:
        outputs = parts.pooled_head(x, classes, dropout)
    return keras.Model(inputs, outputs, name=f"vgg{depth}")


build16 = functools.partial(_build, 16)
build19 = functools.partial(_build, 19)
