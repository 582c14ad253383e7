"""Networks by name. Importing this imports no deep-learning library; building does."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kop_core.classes import CLASS_NAMES
from kop_core.errors import RunError, UnknownNetwork
from kop_core.networks import efficientnet_lite, paper
from kop_core.radiographs.preparation import PREPARATIONS, Preparation, at_side

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Network:
    """One architecture.

    Attributes:
        name: its name in commands, cards and pages.
        title: its name in a sentence.
        builder: called with ``classes`` and the options of :attr:`options`.
        preparation: name of the preparation of pixels that it is trained with.
        explain_layer: layer whose output maps of influence are drawn from. All paths
            from input to output go through it.
        options: what may be set when it is built, with the defaults.
        reference: where it was published, and whose count of parameters is
            :attr:`reference_parameters`.
        sizes: smallest and largest side of the input, in pixels, that it can be built for.
        why: what stands against a side outside them, as part of a sentence.
        reference_parameters: how many parameters its publication, or the implementation
            that is named beside it, has.
        reference_classes: the number of classes with which it has them.
        counted: what the reference counts: ``"all"``, or ``"trainable"`` if it leaves out
            the moving averages of batch normalisation, as PyTorch does.
        reference_options: options with which it is the published one.
        backbone_layer: layer whose output are the features that the head starts from;
            :attr:`explain_layer` if empty. All paths from input to output go through it.
        weights: ``"imagenet"`` if there are weights that were trained on it.
    """

    name: str
    title: str
    builder: Callable[..., keras.Model]
    preparation: str
    explain_layer: str
    options: dict[str, Any]
    reference: str
    sizes: tuple[int, int] = (32, 512)
    why: str = ""
    reference_parameters: int = 0
    reference_classes: int = len(CLASS_NAMES)
    counted: str = "all"
    reference_options: dict[str, Any] = field(default_factory=dict)
    backbone_layer: str = ""
    weights: str | None = None

    @property
    def input(self) -> Preparation:
        """The preparation of pixels that it is trained with."""
        return PREPARATIONS[self.preparation]

    def input_of(self, size: int | None) -> Preparation:
        """Return its preparation to another side, in pixels; ``None`` for its own."""
        return self.input if size is None else at_side(self.input, size)

    def wrong_size(self, size: int) -> str | None:
        """Return why it cannot be built for a side in pixels, or ``None`` if it can."""
        smallest, largest = self.sizes
        if smallest <= size <= largest:
            return None
        why = f": {self.why}" if self.why else ""
        return (
            f"The network {self.name} takes pictures of {smallest} to {largest} pixels a side, "
            f"not {size}{why}."
        )


_NETWORKS = {
    n.name: n
    for n in (
        Network(
            name="paper",
            title="Nine convolutions (Ali et al. 2025)",
            builder=paper.build,
            preparation="stretch224",
            explain_layer="conv9",
            options={"dropout": 0.5, "batch_norm_momentum": 0.99},
            reference="O. K. M. Ali, A. K. Ibrahim, B. R. Altamer, A convolution neural network "
            "model for knee osteoporosis classification using X-ray images, 2025, Table 1",
            # Beyond 292 its first dense layer is larger than a model that can be published.
            sizes=(128, 292),
            why="below, its poolings leave nothing of them; above, its dense layers outgrow "
            "what a model's file may hold",
            reference_parameters=15_610_499,
            backbone_layer="pool9",
        ),
        Network(
            name="efficientnet_lite0",
            title="EfficientNet-Lite0",
            builder=efficientnet_lite.build,
            preparation="stretch224",
            explain_layer="head_relu",
            options={"dropout": 0.2, "batch_norm_momentum": 0.99},
            reference="M. Tan, Q. V. Le, EfficientNet, ICML 2019, without what small processors do "
            "slowly: github.com/tensorflow/tpu, models/official/efficientnet/lite (4.7 million "
            "parameters; to the last one as in timm's tf_efficientnet_lite0)",
            reference_parameters=4_652_008,
            reference_classes=1000,
            counted="trainable",
            weights="imagenet",
        ),
    )
}


def names() -> tuple[str, ...]:
    """Return the names of all registered networks."""
    return tuple(_NETWORKS)


def get(name: str) -> Network:
    """Return the network called ``name``.

    Raises:
        UnknownNetwork: if there is none; the message lists those there are.
    """
    try:
        return _NETWORKS[name]
    except KeyError:
        raise UnknownNetwork(
            f"There is no network called {name!r}. Known: {', '.join(_NETWORKS)}."
        ) from None


def build(
    name: str,
    *,
    precision: str = "float32",
    size: int | None = None,
    classes: int = len(CLASS_NAMES),
    **options: Any,
) -> keras.Model:
    """Build a network with fresh weights, one output a class.

    Args:
        name: a registered name.
        size: side of the input in pixels; ``None`` for the network's own.
        precision: a Keras dtype policy, such as ``"float32"`` or ``"mixed_bfloat16"``.
            Inputs and probabilities are float32 under each.
        classes: number of outputs; another one than KOP's only to compare with what was
            published.
        options: changes to the network's :attr:`Network.options`.

    Raises:
        UnknownNetwork: if there is none of that name.
        RunError: for a size that the network cannot take.
        TypeError: for an option that the network does not have.
    """
    network = get(name)
    problem = network.wrong_size(size) if size is not None else None
    if problem:
        raise RunError(problem)
    unknown = set(options) - set(network.options)
    if unknown:
        raise TypeError(f"The network {name!r} has no option {', '.join(sorted(unknown))}.")
    with _dtype_policy(precision):
        return network.builder(
            input_shape=network.input_of(size).shape,
            classes=classes,
            **{**network.options, **options},
        )


def load(name: str, options: dict[str, Any], path: Path, size: int | None = None) -> keras.Model:
    """Build a network in float32 and read its numbers from a ``model.keras``.

    The file's own description of layers is not read, so nothing in it can run; weights in
    half precision become float32. ``size`` is as in :func:`build`.

    Raises:
        UnknownNetwork: if there is none of that name.
        Exception: whatever Keras raises if the file does not fit the network.
    """
    model = build(name, size=size, **options)
    with warnings.catch_warnings():
        # Keras only warns of layers that it finds no weights for, and leaves them random.
        warnings.simplefilter("error", UserWarning)
        model.load_weights(path)
    return model


def split(model: keras.Model, name: str) -> tuple[keras.Model, keras.Model]:
    """Divide a network into what sees and what decides; both share its layers.

    Args:
        model: the network, as :func:`build` built it.
        name: its registered name.

    Returns:
        The backbone, from pictures to features, and the head, from features to
        probabilities.
    """
    import keras

    network = get(name)
    features = model.get_layer(network.backbone_layer or network.explain_layer).output
    return keras.Model(model.inputs[0], features), keras.Model(features, model.outputs[0])


@contextmanager
def _dtype_policy(precision: str) -> Iterator[None]:
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def counts(model: keras.Model) -> dict[str, int]:
    """Return how many parameters a model has: in all, trainable and not."""
    trainable = sum(math.prod(v.shape) for v in model.trainable_weights)
    total = model.count_params()
    return {"parameters": total, "trainable": trainable, "non_trainable": total - trainable}
