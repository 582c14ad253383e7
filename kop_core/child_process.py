"""What a process that KOP starts of its own code begins with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

CODE = Path(__file__).resolve().parent.parent
# TensorFlow's notes are for its developers; Keras may have another backend on this machine.
_UNLESS_SAID = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}


def environment(
    settled: Mapping[str, str] | None = None, unless_said: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment of a process that runs ``python -m kop_core`` or a module of it.

    This code is found first, from whatever folder KOP was started.

    Args:
        settled: what holds in any case.
        unless_said: what holds where the environment of this process says nothing.
    """
    paths = [str(CODE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **_UNLESS_SAID,
        **(unless_said or {}),
        **os.environ,
        **(settled or {}),
        "PYTHONPATH": os.pathsep.join(paths),
    }
