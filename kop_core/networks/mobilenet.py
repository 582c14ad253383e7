"""MobileNetV2: narrow, wide in between, each channel filtered by itself.

M. Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018.
Two implementations of it are in use, with as many parameters, and weights of one do not
serve the other: torchvision's pads pictures evenly before it halves them, that of
``keras.applications`` at the right and below, and they differ in the range of the input and
in a constant of batch normalisation. Here they have different names of layers too, so that
the weights of one are never taken for the other's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kop_core.networks import parts

if TYPE_CHECKING:
    import keras

# (expansion, channels, repeats, stride of the first): the paper's Table 2.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def build(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classes: int = 3,
    variant: str = "torchvision",
    dropout: float = 0.2,
    batch_norm_momentum: float = 0.99,
) -> keras.Model:
    """Build MobileNetV2 with fresh weights.

    Args:
        input_shape: (height, width, channels).
        classes: number of outputs.
        variant: ``"torchvision"`` or ``"keras"``: whose weights it can take.
        dropout: share of the averaged features left out in training.
        batch_norm_momentum: how slowly batch normalisation's moving averages follow.

    Returns:
        A flat Functional model from (batch, height, width, channels) in [-1, 1] to
        float32 probabilities (batch, classes).
    """
    import keras

    inputs = keras.Input(input_shape, name="radiograph")
    if variant == "keras":
        base = keras.applications.MobileNetV2(
            include_top=False, weights=None, input_tensor=inputs, input_shape=input_shape
        )
        features = base.output
    else:
        features = _features(parts.standardised(inputs))
    outputs = parts.pooled_head(features, classes, dropout)
    model = keras.Model(inputs, outputs, name="mobilenet_v2")
    parts.set_momentum(model, batch_norm_momentum)
    return model


def _features(x: Any) -> Any:
    from keras import layers

    x = _padded(x, 2, "f0_pad")
    x = layers.Conv2D(32, 3, 2, use_bias=False, name="f0_conv")(x)
    x = layers.ReLU(6.0, name="f0_relu")(_norm(x, "f0_bn"))
    number = 1
    for expansion, channels, repeats, stride in STAGES:
        for i in range(repeats):
            x = _block(x, f"f{number}", expansion, channels, stride if i == 0 else 1)
            number += 1
    x = _norm(layers.Conv2D(1280, 1, use_bias=False, name="f18_conv")(x), "f18_bn")
    return layers.ReLU(6.0, name="out_relu")(x)


def _block(x: Any, name: str, expansion: int, channels: int, stride: int) -> Any:
    """Widen, filter each channel by itself, narrow; add what came in where shapes agree."""
    from keras import layers

    before, width = x, x.shape[-1]
    if expansion != 1:
        x = layers.Conv2D(width * expansion, 1, use_bias=False, name=f"{name}_expand")(x)
        x = layers.ReLU(6.0, name=f"{name}_relu_e")(_norm(x, f"{name}_bn_e"))
    x = _padded(x, stride, f"{name}_pad")
    padding = "same" if stride == 1 else "valid"
    x = layers.DepthwiseConv2D(3, stride, padding, use_bias=False, name=f"{name}_dw")(x)
    x = layers.ReLU(6.0, name=f"{name}_relu_d")(_norm(x, f"{name}_bn_d"))
    x = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project")(x)
    x = _norm(x, f"{name}_bn_p")
    return layers.Add(name=f"{name}_add")([x, before]) if x.shape == before.shape else x


def _padded(x: Any, stride: int, name: str) -> Any:
    """Pad evenly where a stride of 2 would let Keras pad at the right and below."""
    from keras import layers

    return x if stride == 1 else layers.ZeroPadding2D(1, name=name)(x)


def _norm(x: Any, name: str) -> Any:
    from keras import layers

    return layers.BatchNormalization(epsilon=1e-5, name=name)(x)
