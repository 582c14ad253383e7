"""ConvNeXt-Tiny: a ResNet with the proportions of a vision transformer.

Z. Liu et al., A ConvNet for the 2020s, CVPR 2022. ``keras.applications`` has it with
networks inside it, in which tf-keras-vis cannot look; here its layers are side by side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kop_core.networks import parts

if TYPE_CHECKING:
    import keras

DEPTHS = (3, 3, 9, 3)
CHANNELS = (96, 192, 384, 768)
_EPSILON = 1e-6


def build(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classes: int = 3,
    dropout: float = 0.0,
    stochastic_depth: float = 0.1,
) -> keras.Model:
    """Build ConvNeXt-Tiny with fresh weights.

    Args:
        input_shape: (height, width, channels).
        classes: number of outputs.
        dropout: share of the averaged features left out in training; none in the original.
        stochastic_depth: how often the last block is left out for a picture in training;
            earlier ones proportionally more seldom.

    Returns:
        A flat Functional model from (batch, height, width, channels) in [-1, 1] to
        float32 probabilities (batch, classes).
    """
    import keras
    from keras import layers

    inputs = keras.Input(input_shape, name="radiograph")
    x, done = parts.standardised(inputs), 0
    for stage, (depth, channels) in enumerate(zip(DEPTHS, CHANNELS)):
        if stage == 0:
            x = _norm(_convolution(x, channels, 4, "stem_conv"), "stem_norm")
        else:
            x = _convolution(_norm(x, f"down{stage}_norm"), channels, 2, f"down{stage}_conv")
        for block in range(depth):
            left_out = stochastic_depth * done / (sum(DEPTHS) - 1)
            x = _block(x, f"stage{stage}_block{block}", left_out)
            done += 1
    x = layers.GlobalAveragePooling2D(name="average")(x)
    x = layers.Dropout(dropout, name="dropout")(_norm(x, "head_norm"))
    return keras.Model(inputs, parts.probabilities(x, classes), name="convnext_tiny")


def _block(x: Any, name: str, left_out: float) -> Any:
    """Filter each channel by itself, widen fourfold and narrow at every place; add."""
    from keras import layers

    before, channels = x, x.shape[-1]
    x = layers.DepthwiseConv2D(
        7, padding="same", depthwise_initializer=_start(), name=f"{name}_dw"
    )(x)
    x = _norm(x, f"{name}_norm")
    x = layers.Dense(
        4 * channels, activation="gelu", kernel_initializer=_start(), name=f"{name}_expand"
    )(x)
    x = layers.Dense(channels, kernel_initializer=_start(), name=f"{name}_project")(x)
    x = parts.layer_scale()(name=f"{name}_scale")(x)
    # One number for a whole picture: its branch is left out, or made up for.
    x = layers.Dropout(left_out, noise_shape=(None, 1, 1, 1), name=f"{name}_depth")(x)
    return layers.Add(name=f"{name}_add")([before, x])


def _convolution(x: Any, channels: int, side: int, name: str) -> Any:
    from keras import layers

    return layers.Conv2D(channels, side, side, kernel_initializer=_start(), name=name)(x)


def _norm(x: Any, name: str) -> Any:
    from keras import layers

    return layers.LayerNormalization(epsilon=_EPSILON, name=name)(x)


def _start() -> keras.initializers.Initializer:
    import keras

    return keras.initializers.TruncatedNormal(stddev=0.02)
