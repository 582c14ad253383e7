"""Transfer learning: where a network begins, what of it learns, and how fast.

A run has one or two stages. In the ``"head"`` stage the backbone is frozen, so what it says
of a picture never changes: its features are computed once, from the pictures as they are,
and only the head learns from them. In the ``"rest"`` stage everything learns that is not
frozen, the backbone at a rate of its own if one wishes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kop_core import model_store, networks
from kop_core.datasets.scanning import Item
from kop_core.errors import RunError, WeightsError
from kop_core.networks import pretrained
from kop_core.training.config import BACKBONE, TrainingConfig

if TYPE_CHECKING:
    import keras

HEAD, REST = "head", "rest"


def origin(config: TrainingConfig) -> dict[str, Any] | None:
    """Return what a run keeps of the weights that its backbone begins with.

    Returns:
        ``name``, and ``sha256`` of the file (``None`` if Keras keeps it elsewhere); ``None``
        for fresh weights.

    Raises:
        WeightsError: if there is no such file.
    """
    if config.pretrained is None:
        return None
    file = pretrained.file_of(config.network, config.pretrained)
    if file is None:
        return {"name": config.pretrained, "sha256": None}
    name = config.pretrained if config.pretrained in pretrained.NAMES else file.name
    try:
        return {"name": name, "sha256": model_store.checksum(file)}
    except OSError as error:
        raise WeightsError(
            f"There is no file of weights {file} that can be read ({error.strerror}). Choose "
            "another, or put it there."
        ) from error


def require_weights(config: TrainingConfig) -> None:
    """See, before anything is made or computed, that there are the weights to begin with.

    A file that a person named is read, and must fit the network.

    Raises:
        WeightsError: if there are none, or the file does not fit or cannot be read.
    """
    source = config.pretrained
    if source is None:
        return
    pretrained.require(config.network, source)
    if source not in pretrained.NAMES:
        model = networks.build(config.network, size=config.size, view=config.view, **config.options)
        pretrained.load(model, config.network, source)


def stage_of(config: TrainingConfig, epoch: int) -> str:
    """Return what learns in an epoch, counted from 0: ``"head"`` or ``"rest"``."""
    return HEAD if config.freeze == BACKBONE or epoch < config.head_epochs else REST


@dataclass(frozen=True, eq=False)
class Features:
    """What a frozen backbone says of pictures, in the place of
    :class:`kop_core.datasets.feeding.Pixels`.

    Attributes:
        items: the files.
        values: float32, (files, …).
        targets: float32, (files, classes), one-hot.
    """

    items: tuple[Item, ...]
    values: np.ndarray
    targets: np.ndarray

    def batch(self, index: np.ndarray, alter: Any = None) -> np.ndarray:
        """Return those of some of the files; they cannot be altered."""
        return self.values[index]


def freeze(model: keras.Model, config: TrainingConfig, stage: str) -> None:
    """Mark what of a freshly built network does not learn in a stage.

    Frozen batch normalisation uses its moving averages and leaves them as they are.

    Raises:
        RunError: if there is no layer of the name that the settings say.
    """
    if stage == HEAD:
        frozen = networks.split(model, config.network)[0].layers
    elif config.freeze is not None:
        frozen = _before(model, config.freeze, config.network)
    else:
        return
    for layer in frozen:
        layer.trainable = False


def _before(model: keras.Model, name: str, network: str) -> Sequence[keras.Layer]:
    """Return the layers that the input of a layer comes from."""
    import keras

    weighty = [layer.name for layer in model.layers if layer.weights]
    if name not in {layer.name for layer in model.layers}:
        few = [*weighty[:3], "…", *weighty[-3:]] if len(weighty) > 6 else weighty
        shown = ", ".join(few)
        raise RunError(
            f"The network {network} has no layer {name!r} to learn from on. Its layers with "
            f"weights are {shown}; python -m kop_core networks --layers {network} lists them."
        )
    layer = model.get_layer(name)
    if isinstance(layer, keras.layers.InputLayer):
        return ()
    return keras.Model(model.inputs, layer.input).layers


def cut(model: keras.Model, network: str) -> tuple[keras.Model, keras.Model]:
    """Cut a network where its head begins to learn, and share the weights.

    What the head does first without weights or chance, such as a mean over the picture, is
    left with the backbone: its results are smaller, and are computed once.

    Args:
        model: the network.
        network: its registered name.

    Returns:
        Two models: from pictures to features, and from features to probabilities.
    """
    import keras

    backbone, head = networks.split(model, network)
    chain = [x for x in head.layers if not isinstance(x, keras.layers.InputLayer)]
    begins = next(i for i, layer in enumerate(chain) if _learns(layer))
    first = chain[begins]
    features = backbone(model.inputs[0])
    for layer in chain[:begins]:
        features = layer(features)
    inputs = keras.Input(features.shape[1:], dtype=features.dtype, name="features")
    outputs = first(inputs)
    for layer in chain[begins + 1 :]:
        outputs = layer(outputs)
    return keras.Model(model.inputs, features), keras.Model(inputs, outputs)


def _learns(layer: keras.Layer) -> bool:
    return bool(layer.weights) or getattr(layer, "seed_generator", None) is not None


def make_optimizer(
    config: TrainingConfig, model: keras.Model, backbone: Sequence[keras.Layer] = ()
) -> keras.Optimizer:
    """Return the optimiser of what learns in a network, with its variables.

    Args:
        config: names it, with its rate and decay.
        model: what learns is what of it is not frozen.
        backbone: layers that learn at the backbone's rate.
    """
    import keras

    momentum = {"momentum": config.momentum, "nesterov": config.momentum > 0}
    kinds = {
        "sgd": (keras.optimizers.SGD, momentum),
        "adam": (keras.optimizers.Adam, {}),
        "adamw": (keras.optimizers.AdamW, {}),
        "rmsprop": (keras.optimizers.RMSprop, {}),
    }
    kind, settings = kinds[config.optimizer]
    learns = model.trainable_variables
    if config.backbone_rate == 1 or not backbone:
        made = kind(
            learning_rate=config.learning_rate, weight_decay=config.weight_decay, **settings
        )
    else:
        slow = {id(v) for layer in backbone for v in layer.variables}
        factors = [config.backbone_rate if id(v) in slow else 1.0 for v in learns]
        # AdamW is Adam whose decay is taken from the weights, as all decay is here.
        kind = keras.optimizers.Adam if config.optimizer == "adamw" else kind
        made = _at_rates(kind)(factors, config.weight_decay, config.learning_rate, **settings)
    made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    made.build(learns)
    return made


def _at_rates(kind: type[keras.Optimizer]) -> type[keras.Optimizer]:
    """Return an optimiser with a factor of the learning rate for each variable."""

    class AtRates(kind):
        def __init__(
            self, factors: Sequence[float], decay: float, learning_rate: float, **settings: Any
        ) -> None:
            super().__init__(learning_rate=learning_rate, **settings)
            self._factors, self._decay = tuple(factors), decay

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            rate = learning_rate * self._factors[self._get_variable_index(variable)]
            if self._decay and self._use_weight_decay(variable):
                self.assign_sub(variable, variable * self._decay * rate)
            super().update_step(gradient, variable, rate)

        def _backend_update_step(
            self, gradients: Sequence, variables: Sequence, learning_rate: Any
        ) -> None:
            at_once = _at_once(kind)
            if at_once is None:
                super()._backend_update_step(gradients, variables, learning_rate)
                return
            import torch

            for factor in dict.fromkeys(self._factors):
                pairs = [
                    (gradient, variable)
                    for gradient, variable in zip(gradients, variables)
                    if self._factors[self._get_variable_index(variable)] == factor
                ]
                rate = learning_rate * factor
                decayed = [v.value for _, v in pairs if self._use_weight_decay(v)]
                with torch.no_grad():
                    if self._decay and decayed:
                        torch._foreach_mul_(decayed, 1 - self._decay * rate)
                    at_once(self, *(list(part) for part in zip(*pairs)), rate)

    return AtRates


def _at_once(kind: type[keras.Optimizer]) -> Any:
    """Return how PyTorch takes an optimiser's step for many variables at once, if it computes.

    One after another they would take hundreds of small operations, each started alone.
    """
    import keras

    if keras.config.backend() != "torch":
        return None
    from keras.src.backend.torch.optimizers import torch_adam, torch_rmsprop, torch_sgd

    return {
        keras.optimizers.Adam: torch_adam.Adam,
        keras.optimizers.SGD: torch_sgd.SGD,
        keras.optimizers.RMSprop: torch_rmsprop.RMSprop,
    }[kind]._parallel_update_step
