"""EfficientNet-Lite0: EfficientNet-B0 without what small processors do slowly.

Against B0 it has no squeeze-and-excite, ReLU6 instead of swish, and a stem and a last
convolution of fixed width. Architecture: github.com/tensorflow/tpu, models/official/
efficientnet/lite; M. Tan, Q. V. Le, EfficientNet: Rethinking Model Scaling for
Convolutional Neural Networks, ICML 2019. Its ImageNet weights ship with KOP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kop_core.networks import parts

if TYPE_CHECKING:
    import keras

# (repeats, kernel, stride of the first, expansion, channels)
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_EPSILON = 1e-3


def build(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classes: int = 3,
    dropout: float = 0.2,
    batch_norm_momentum: float = 0.99,
) -> keras.Model:
    """Build EfficientNet-Lite0 with fresh weights.

    Args:
        input_shape: (height, width, channels).
        classes: number of outputs.
        dropout: share of the averaged features left out in training.
        batch_norm_momentum: how slowly batch normalisation's moving averages follow.

    Returns:
        A flat Functional model from (batch, height, width, channels) in [-1, 1], as its
        weights want it, to float32 probabilities (batch, classes).
    """
    import keras
    from keras import layers

    inputs = keras.Input(input_shape, name="radiograph")
    x = layers.Conv2D(32, 3, 2, "same", use_bias=False, name="stem_conv")(inputs)
    x = layers.BatchNormalization(momentum=batch_norm_momentum, epsilon=_EPSILON, name="stem_bn")(x)
    x = layers.ReLU(6.0, name="stem_relu")(x)
    number = 0
    for repeats, kernel, stride, expansion, channels in STAGES:
        for i in range(repeats):
            step = stride if i == 0 else 1
            x = _block(x, f"b{number}", kernel, step, expansion, channels, batch_norm_momentum)
            number += 1
    x = layers.Conv2D(1280, 1, use_bias=False, name="head_conv")(x)
    x = layers.BatchNormalization(momentum=batch_norm_momentum, epsilon=_EPSILON, name="head_bn")(x)
    x = layers.ReLU(6.0, name="head_relu")(x)
    return keras.Model(inputs, parts.pooled_head(x, classes, dropout), name="efficientnet_lite0")


def _block(
    x: Any, name: str, kernel: int, stride: int, expansion: int, channels: int, momentum: float
) -> Any:
    """Widen, filter each channel by itself, narrow; add what came in where shapes agree."""
    from keras import layers

    def norm(x: Any, place: int) -> Any:
        layer = layers.BatchNormalization(
            momentum=momentum, epsilon=_EPSILON, name=f"{name}_bn{place}"
        )
        return layer(x)

    before, width = x, x.shape[-1]
    if expansion != 1:
        x = layers.Conv2D(width * expansion, 1, use_bias=False, name=f"{name}_expand")(x)
        x = layers.ReLU(6.0, name=f"{name}_relu0")(norm(x, 0))
    x = layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=f"{name}_dw")(x)
    x = layers.ReLU(6.0, name=f"{name}_relu1")(norm(x, 1))
    x = norm(layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project")(x), 2)
    return layers.Add(name=f"{name}_add")([x, before]) if x.shape == before.shape else x
