"""GoogLeNet, the first Inception network, as the Caffe replication has it.

C. Szegedy et al., Going Deeper with Convolutions, CVPR 2015, Table 1 and Figure 3;
github.com/BVLC/caffe, models/bvlc_googlenet. Its two auxiliary classifiers serve only its
training on ImageNet and are left out, as they are wherever it is used. (torchvision's
network of this name has 3×3 where the paper has 5×5 convolutions, and batch normalisation.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kop_core.networks import parts

if TYPE_CHECKING:
    import keras

# Table 1: 1×1, 3×3 reduce, 3×3, 5×5 reduce, 5×5, after pooling; None is max-pooling.
INCEPTIONS = (
    ("3a", 64, 96, 128, 16, 32, 32),
    ("3b", 128, 128, 192, 32, 96, 64),
    None,
    ("4a", 192, 96, 208, 16, 48, 64),
    ("4b", 160, 112, 224, 24, 64, 64),
    ("4c", 128, 128, 256, 24, 64, 64),
    ("4d", 112, 144, 288, 32, 64, 64),
    ("4e", 256, 160, 320, 32, 128, 128),
    None,
    ("5a", 256, 160, 320, 32, 128, 128),
    ("5b", 384, 192, 384, 48, 128, 128),
)


def build(
    input_shape: tuple[int, int, int] = (224, 224, 3), classes: int = 3, dropout: float = 0.4
) -> keras.Model:
    """Build GoogLeNet with fresh weights.

    Args:
        input_shape: (height, width, channels).
        classes: number of outputs.
        dropout: share of the averaged features left out in training.

    Returns:
        A flat Functional model from (batch, height, width, channels) in [-1, 1] to
        float32 probabilities (batch, classes).
    """
    import keras
    from keras import layers

    norm = parts.response_norm()
    inputs = keras.Input(input_shape, name="radiograph")
    x = _convolution(parts.standardised(inputs), 64, 7, "conv1", stride=2)
    x = norm(name="norm1")(layers.MaxPooling2D(3, 2, "same", name="pool1")(x))
    x = _convolution(x, 64, 1, "conv2_reduce")
    x = norm(name="norm2")(_convolution(x, 192, 3, "conv2"))
    x = layers.MaxPooling2D(3, 2, "same", name="pool2")(x)
    pools = 2
    for widths in INCEPTIONS:
        if widths is None:
            pools += 1
            x = layers.MaxPooling2D(3, 2, "same", name=f"pool{pools}")(x)
        else:
            x = _inception(x, *widths)
    return keras.Model(inputs, parts.pooled_head(x, classes, dropout), name="googlenet")


def _convolution(x: Any, channels: int, kernel: int, name: str, stride: int = 1) -> Any:
    from keras import layers

    return layers.Conv2D(
        channels, kernel, stride, "same", activation="relu", kernel_initializer=parts.HE,
        name=name,
    )(x)  # fmt: skip


def _inception(
    x: Any, name: str, one: int, reduce3: int, three: int, reduce5: int, five: int, pooled: int
) -> Any:
    """Look at three scales at once, and at the largest values around, side by side."""
    from keras import layers

    name = f"inception_{name}"
    branches = [
        _convolution(x, one, 1, f"{name}_1x1"),
        _convolution(_convolution(x, reduce3, 1, f"{name}_3x3_reduce"), three, 3, f"{name}_3x3"),
        _convolution(_convolution(x, reduce5, 1, f"{name}_5x5_reduce"), five, 5, f"{name}_5x5"),
        _convolution(
            layers.MaxPooling2D(3, 1, "same", name=f"{name}_pool")(x), pooled, 1,
            f"{name}_pool_proj",
        ),
    ]  # fmt: skip
    return layers.Concatenate(name=f"{name}_output")(branches)
