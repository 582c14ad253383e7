"""What a process that KOP starts of its own code begins with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from kop_core import backend

CODE = Path(__file__).resolve().parent.parent


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
        **backend.SETTINGS,
        **(unless_said or {}),
        **os.environ,
        **(settled or {}),
        "PYTHONPATH": os.pathsep.join(paths),
    }
