"""Which software, and which graphics card, a result depends on."""

from __future__ import annotations

import platform
from importlib import metadata

import kop_core
from kop_core import devices


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that a result depends on."""
    found = {"python": platform.python_version(), "kop": kop_core.__version__}
    for package in ("keras", "tensorflow", "jax", "torch", "numpy", "pillow"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def at_work() -> dict[str, str]:
    """Return :func:`versions` and what computes, which starts the deep-learning library.

    Returns:
        The versions, ``backend`` for the library that computes for Keras, and ``gpu`` for
        the graphics card that it computes on, if there is one.
    """
    gpu = devices.first_gpu()
    return {**versions(), "backend": devices.backend(), **({"gpu": gpu.name} if gpu else {})}
