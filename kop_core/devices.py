"""What computes for Keras: the backend, and a graphics card if it has one."""

from __future__ import annotations

from dataclasses import dataclass

# NVIDIA's cards multiply bfloat16 in hardware from this compute capability on.
_BFLOAT16_FROM = (8, 0)


@dataclass(frozen=True)
class Gpu:
    """A graphics card.

    Attributes:
        name: what its maker calls it.
        bfloat16: whether it computes with these in hardware.
    """

    name: str
    bfloat16: bool


def backend() -> str:
    """Return the library that computes for Keras, such as ``"tensorflow"``; this imports Keras."""
    import keras

    return keras.config.backend()


def first_gpu() -> Gpu | None:
    """Return the first graphics card that the backend computes on; this starts the backend."""
    found = {"tensorflow": _of_tensorflow, "jax": _of_jax, "torch": _of_torch}[backend()]()
    if found is None:
        return None
    name, capability = found
    return Gpu(name, capability >= _BFLOAT16_FROM)


def _of_tensorflow() -> tuple[str, tuple[int, ...]] | None:
    import tensorflow as tf

    cards = tf.config.list_physical_devices("GPU")
    if not cards:
        return None
    details = tf.config.experimental.get_device_details(cards[0])
    return details.get("device_name", "GPU"), tuple(details.get("compute_capability", ()))


def _of_jax() -> tuple[str, tuple[int, ...]] | None:
    import jax

    card = jax.devices()[0]
    if card.platform != "gpu":
        return None
    # Of another maker's card it is no number.
    parts = str(getattr(card, "compute_capability", "")).split(".")
    capability = tuple(int(part) for part in parts) if all(map(str.isdigit, parts)) else ()
    return card.device_kind, capability


def _of_torch() -> tuple[str, tuple[int, ...]] | None:
    import torch
    from keras.src.backend.torch.core import get_device

    kind = get_device().split(":")[0]
    if kind == "cuda":
        return torch.cuda.get_device_name(0), torch.cuda.get_device_capability(0)
    return None if kind == "cpu" else (kind.upper(), ())
