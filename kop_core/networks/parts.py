"""Pieces that several networks share.

Radiographs come in as [-1, 1] (:mod:`kop_core.radiographs.preparation`). Where ImageNet
weights were trained with another range, a fixed layer at the front gives them theirs; it
has no parameters, so a network is never fed the wrong range, whatever its weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

# Of the pictures of ImageNet, red, green, blue, with white as 1: torchvision's.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def standardised(inputs: Any) -> Any:
    """Take pictures in [-1, 1] to what torchvision's weights want: (x − mean) / std."""
    from keras import layers

    scale = [0.5 / s for s in IMAGENET_STD]
    offset = [(0.5 - m) / s for m, s in zip(IMAGENET_MEAN, IMAGENET_STD)]
    return layers.Rescaling(scale, offset, dtype="float32", name="input_range")(inputs)


def classifier(features: Any, classes: int, dropout: float) -> Any:
    """Return float32 probabilities of feature maps: averaged over the picture, one layer."""
    from keras import layers

    x = layers.GlobalAveragePooling2D(name="average")(features)
    x = layers.Dropout(dropout, name="dropout")(x)
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
