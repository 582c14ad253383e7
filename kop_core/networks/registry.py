"""Networks by name. Importing this imports no deep-learning library; building does."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kop_core.classes import CLASS_NAMES
from kop_core.errors import RunError, UnknownNetwork
from kop_core.networks.catalogue import NETWORKS
from kop_core.networks.network import Network

if TYPE_CHECKING:
    import keras


_NETWORKS = {n.name: n for n in NETWORKS}


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
    view: str = "whole",
    classes: int = len(CLASS_NAMES),
    **options: Any,
) -> keras.Model:
    """Build a network with fresh weights, one output a class.

    Args:
        name: a registered name.
        size: side of the input in pixels; ``None`` for the network's own.
        view: what of a picture it is shown, which decides how wide its input is; one of
            :data:`kop_core.radiographs.preparation.VIEWS`.
        precision: a Keras dtype policy, such as ``"float32"`` or ``"mixed_bfloat16"``.
            Inputs and probabilities are float32 under each.
        classes: number of outputs; another one than KOP's only to compare with what was
            published.
        options: changes to the network's :attr:`Network.options`.

    Raises:
        UnknownNetwork: if there is none of that name.
        RunError: for a size or the value of an option that the network cannot take.
        TypeError: for an option that the network does not have.
    """
    network = get(name)
    problem = network.wrong_size(size) if size is not None else None
    unknown = set(options) - set(network.options)
    if unknown:
        raise TypeError(f"The network {name!r} has no option {', '.join(sorted(unknown))}.")
    problem = problem or network.wrong_options(options)
    if problem:
        raise RunError(problem)
    with _dtype_policy(precision):
        return network.builder(
            input_shape=network.input_of(size, view).shape,
            classes=classes,
            **{**network.options, **options},
        )


def load(
    name: str, options: dict[str, Any], path: Path, size: int | None = None, view: str = "whole"
) -> keras.Model:
    """Build a network in float32 and read its numbers from a ``model.keras``.

    The file's own description of layers is not read, so nothing in it can run; weights in
    half precision become float32. ``size`` and ``view`` are as in :func:`build`.

    Raises:
        UnknownNetwork: if there is none of that name.
        Exception: whatever Keras raises if the file does not fit the network.
    """
    model = build(name, size=size, view=view, **options)
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


def published_counts(name: str) -> dict[str, int]:
    """Return :func:`counts` of a network as it was published, with as many classes.

    It is built for this, in half precision: the largest takes 0.3 GB while it lasts.

    Raises:
        UnknownNetwork: if there is none of that name.
    """
    network = get(name)
    built = build(
        name,
        precision="float16",
        classes=network.reference_classes,
        **network.reference_options,
    )
    return counts(built)
