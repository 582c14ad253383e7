"""ResNet-18 and ResNet-50: each block adds to what it was given.

K. He, X. Zhang, S. Ren, J. Sun, Deep Residual Learning for Image Recognition, CVPR 2016.
ResNet-18 is as in torchvision, ResNet-50 as in ``keras.applications``, which differ: Keras
has biases in its convolutions and halves the picture in the first of a block's three.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kop_core.networks import parts

if TYPE_CHECKING:
    import keras


def build18(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classes: int = 3,
    dropout: float = 0.0,
    batch_norm_momentum: float = 0.9,
) -> keras.Model:
    """Build ResNet-18 with fresh weights.

    Args:
        input_shape: (height, width, channels).
        classes: number of outputs.
        dropout: share of the averaged features left out in training; none in the original.
        batch_norm_momentum: how slowly batch normalisation's moving averages follow.

    Returns:
        A flat Functional model from (batch, height, width, channels) in [-1, 1] to
        float32 probabilities (batch, classes).
    """
    import keras
    from keras import layers

    inputs = keras.Input(input_shape, name="radiograph")
    x = _convolution(parts.standardised(inputs), 64, 7, 2, "conv1", batch_norm_momentum)
    x = layers.ReLU(name="conv1_relu")(x)
    # What is padded is not negative, so zeros are as good as the smallest number.
    x = layers.MaxPooling2D(3, 2, name="pool1")(layers.ZeroPadding2D(1, name="pool1_pad")(x))
    for stage, channels in enumerate((64, 128, 256, 512), start=2):
        for block in (1, 2):
            stride = 2 if stage > 2 and block == 1 else 1
            x = _block(x, channels, stride, f"conv{stage}_block{block}", batch_norm_momentum)
    return keras.Model(inputs, parts.pooled_head(x, classes, dropout), name="resnet18")


def _convolution(
    x: Any, channels: int, kernel: int, stride: int, name: str, momentum: float
) -> Any:
    from keras import layers

    if kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    x = layers.Conv2D(
        channels, kernel, stride, use_bias=False, kernel_initializer=parts.HE,
        name=f"{name}_conv",
    )(x)  # fmt: skip
    return layers.BatchNormalization(momentum=momentum, epsilon=1e-5, name=f"{name}_bn")(x)


def _block(x: Any, channels: int, stride: int, name: str, momentum: float) -> Any:
    from keras import layers

    before = x
    if stride != 1 or x.shape[-1] != channels:
        before = _convolution(x, channels, 1, stride, f"{name}_0", momentum)
    x = layers.ReLU(name=f"{name}_1_relu")(
        _convolution(x, channels, 3, stride, f"{name}_1", momentum)
    )
    x = _convolution(x, channels, 3, 1, f"{name}_2", momentum)
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([before, x]))


def build50(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classes: int = 3,
    dropout: float = 0.0,
    batch_norm_momentum: float = 0.99,
) -> keras.Model:
    """Build ResNet-50 with fresh weights; arguments and result as :func:`build18`."""
    import keras

    inputs = keras.Input(input_shape, name="radiograph")
    base = keras.applications.ResNet50(
        include_top=False, weights=None, input_tensor=parts.standardised(inputs)
    )
    outputs = parts.pooled_head(base.output, classes, dropout)
    model = keras.Model(inputs, outputs, name="resnet50")
    parts.set_momentum(model, batch_norm_momentum)
    return model
