"""Pieces that several networks share.

Radiographs come in as [-1, 1] (:mod:`kop_core.radiographs.preparation`). Where ImageNet
weights were trained with another range, a fixed layer at the front gives them theirs; it
has no parameters, so a network is never fed the wrong range, whatever its weights.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

# Of the pictures of ImageNet, red, green, blue, with white as 1: torchvision's.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# What networks start from whose rectifiers are not followed by a normalisation.
HE = "he_uniform"


def standardised(inputs: Any) -> Any:
    """Take pictures in [-1, 1] to what torchvision's weights want: (x − mean) / std."""
    from keras import layers

    scale = [0.5 / s for s in IMAGENET_STD]
    offset = [(0.5 - m) / s for m, s in zip(IMAGENET_MEAN, IMAGENET_STD)]
    return layers.Rescaling(scale, offset, dtype="float32", name="input_range")(inputs)


def pooled_head(features: Any, classes: int, dropout: float) -> Any:
    """Return float32 probabilities of feature maps: averaged over the picture, one layer."""
    from keras import layers

    x = layers.GlobalAveragePooling2D(name="average")(features)
    x = layers.Dropout(dropout, name="dropout")(x)
    return probabilities(x, classes)


def dense_head(features: Any, classes: int, dropout: float, dropped_first: bool) -> Any:
    """Return float32 probabilities of feature maps by two dense layers of 4,096 units.

    Args:
        features: shape (batch, height, width, channels).
        classes: number of outputs.
        dropout: share of units left out in training.
        dropped_first: whether units are left out before each of the two layers, as
            torchvision's AlexNet does it, or after it.
    """
    from keras import layers

    x = layers.Flatten(name="flatten")(features)
    for i in (1, 2):
        if dropped_first:
            x = layers.Dropout(dropout, name=f"dropout{i}")(x)
        x = layers.Dense(4096, activation="relu", kernel_initializer=HE, name=f"fc{i}")(x)
        if not dropped_first:
            x = layers.Dropout(dropout, name=f"dropout{i}")(x)
    return probabilities(x, classes)


def probabilities(x: Any, classes: int) -> Any:
    """Return the last layer's output: float32 under every precision."""
    from keras import layers

    return layers.Dense(classes, activation="softmax", dtype="float32", name="probabilities")(x)


def set_momentum(model: keras.Model, momentum: float) -> None:
    """Set how slowly the moving averages of every batch normalisation follow."""
    from keras import layers

    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = momentum


@functools.cache
def response_norm() -> type[keras.Layer]:
    """Return the layer of local response normalisation, which Keras does not have.

    Each value is divided by (1 + α · mean of the squares of it and its neighbours, two
    channels either way)^0.75, with α = 1e-4: A. Krizhevsky, I. Sutskever, G. E. Hinton,
    NIPS 2012, section 3.3, as Caffe computes it. It has no parameters.
    """
    import keras
    from keras import ops

    @keras.saving.register_keras_serializable("kop")
    class ResponseNormalization(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            channels = inputs.shape[-1]
            # Squares and powers near 1 need more digits than half precision has.
            x = ops.cast(inputs, "float32")
            padded = ops.pad(ops.square(x), ((0, 0), (0, 0), (0, 0), (2, 2)))
            near = sum(padded[..., i : i + channels] for i in range(5))
            return ops.cast(x * ops.power(1.0 + (1e-4 / 5) * near, -0.75), inputs.dtype)

        def compute_output_shape(self, input_shape: tuple) -> tuple:
            return input_shape

    return ResponseNormalization


@functools.cache
def layer_scale() -> type[keras.Layer]:
    """Return the layer that multiplies each channel by a learned number, 1e-6 at first.

    H. Touvron et al., Going deeper with Image Transformers, ICCV 2021, section 2.
    """
    import keras

    @keras.saving.register_keras_serializable("kop")
    class LayerScale(keras.layers.Layer):
        def build(self, input_shape: tuple) -> None:
            start = keras.initializers.Constant(1e-6)
            self.gamma = self.add_weight(shape=(input_shape[-1],), initializer=start, name="gamma")

        def call(self, inputs: Any) -> Any:
            return inputs * self.gamma

        def compute_output_shape(self, input_shape: tuple) -> tuple:
            return input_shape

    return LayerScale
