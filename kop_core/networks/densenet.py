"""DenseNet-121: each layer is given the output of all layers before it in its block.

G. Huang, Z. Liu, L. van der Maaten, K. Q. Weinberger, Densely Connected Convolutional
Networks, CVPR 2017, as in ``keras.applications``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kop_core.networks import parts

if TYPE_CHECKING:
    import keras


def build(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classes: int = 3,
    dropout: float = 0.0,
    batch_norm_momentum: float = 0.99,
) -> keras.Model:
    """Build DenseNet-121 with fresh weights.

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

    inputs = keras.Input(input_shape, name="radiograph")
    base = keras.applications.DenseNet121(
        include_top=False, weights=None, input_tensor=parts.standardised(inputs)
    )
    outputs = parts.pooled_head(base.output, classes, dropout)
    model = keras.Model(inputs, outputs, name="densenet121")
    parts.set_momentum(model, batch_norm_momentum)
    return model
