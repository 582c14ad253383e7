"""EfficientNetV2-B0.

M. Tan, Q. V. Le, EfficientNetV2: Smaller Models and Faster Training, ICML 2021, as in
``keras.applications``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kop_core.networks import parts

if TYPE_CHECKING:
    import keras

# Of the last block's branch, in keras.applications; of earlier ones proportionally less.
_DROPPED = 0.2


def build(
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classes: int = 3,
    dropout: float = 0.2,
    stochastic_depth: float = _DROPPED,
    batch_norm_momentum: float = 0.9,
) -> keras.Model:
    """Build EfficientNetV2-B0 with fresh weights.

    Args:
        input_shape: (height, width, channels).
        classes: number of outputs.
        dropout: share of the averaged features left out in training.
        stochastic_depth: how often the last block is left out for a picture in training;
            earlier ones proportionally more seldom.
        batch_norm_momentum: how slowly batch normalisation's moving averages follow.

    Returns:
        A flat Functional model from (batch, height, width, channels) in [-1, 1] to
        float32 probabilities (batch, classes).
    """
    import keras
    from keras import layers

    inputs = keras.Input(input_shape, name="radiograph")
    base = keras.applications.EfficientNetV2B0(
        include_top=False,
        weights=None,
        input_tensor=parts.standardised(inputs),
        include_preprocessing=False,
    )
    for layer in base.layers:
        if isinstance(layer, layers.Dropout):
            layer.rate *= stochastic_depth / _DROPPED
    outputs = parts.pooled_head(base.output, classes, dropout)
    model = keras.Model(inputs, outputs, name="efficientnet_v2_b0")
    parts.set_momentum(model, batch_norm_momentum)
    return model
