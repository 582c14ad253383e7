"""AlexNet, in the form of 2014 that torchvision has: one column, 64 to 256 channels.

A. Krizhevsky, I. Sutskever, G. E. Hinton, ImageNet Classification with Deep Convolutional
Neural Networks, NIPS 2012; A. Krizhevsky, One weird trick for parallelizing convolutional
neural networks, arXiv:1404.5997, 2014.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kop_core.networks import parts

if TYPE_CHECKING:
    import keras

# (channels, kernel, stride, padding, whether max-pooling follows)
CONVOLUTIONS = (
    (64, 11, 4, 2, True),
    (192, 5, 1, 2, True),
    (384, 3, 1, 1, False),
    (256, 3, 1, 1, False),
    (256, 3, 1, 1, True),
)


def build(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classes: int = 3,
    head: str = "pooled",
    dropout: float = 0.5,
) -> keras.Model:
    """Build AlexNet with fresh weights.

    Args:
        input_shape: (height, width, channels).
        classes: number of outputs.
        head: ``"original"`` with its two dense layers of 4,096 units, 58.6 of its 61.1
            million parameters, or ``"pooled"``: averaged features and one dense layer.
            With the original head a model's file has 114 MB, more than can be published.
        dropout: share of units left out in training, by the head.

    Returns:
        A flat Functional model from (batch, height, width, channels) in [-1, 1] to
        float32 probabilities (batch, classes).
    """
    import keras
    from keras import layers

    inputs = keras.Input(input_shape, name="radiograph")
    x = parts.standardised(inputs)
    for i, (channels, kernel, stride, padding, pooled) in enumerate(CONVOLUTIONS, start=1):
        x = layers.ZeroPadding2D(padding, name=f"pad{i}")(x)
        x = layers.Conv2D(
            channels, kernel, stride, activation="relu", kernel_initializer=parts.HE,
            name=f"conv{i}",
        )(x)  # fmt: skip
        if pooled:
            x = layers.MaxPooling2D(3, 2, name=f"pool{i}")(x)
    if head == "original":
        outputs = parts.dense_head(x, classes, dropout, dropped_first=True)
    else:
        outputs = parts.pooled_head(x, classes, dropout)
    return keras.Model(inputs, outputs, name="alexnet")
