"""How fast the networks are: one picture at a time, on this machine.

Each network is called in turn with the one that all are held against, so that whatever else
the machine does falls on both, and their ratio is fair. The weights do not matter for it.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kop_core import networks
from kop_core.benchmarking.planning import REFERENCE
from kop_core.training.versions import versions

if TYPE_CHECKING:
    import keras

CALLS = 40
_WARM = 5


def covers(speed: Mapping[str, Any] | None, settings: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether every network was measured already, at the size that it is used at."""
    known = {name: found["size"] for name, found in speed["networks"].items()} if speed else {}
    return all(name in known and known[name] == its["size"] for name, its in settings.items())


def measure(
    settings: Mapping[str, Mapping[str, Any]],
    report: Callable[[int, int], None] | None = None,
    calls: int = CALLS,
) -> dict[str, Any]:
    """Return milliseconds a picture of each network, warm, one picture a call.

    Args:
        settings: of the runs of each network by the name under which it takes part, of which
            ``network``, ``size``, ``view`` and ``options`` count. They are called as they are
            served, in float32.
        report: called with networks done and in all.
        calls: of each network, after a few that do not count.

    Returns:
        ``machine``, and ``networks``: by name ``size``, the median ``milliseconds``, their
        ``quartiles``, and the ``ratio`` of the median to that of the paper's network at the
        same time (``None`` if that network is not among them).
    """
    import keras

    reference = None
    if REFERENCE in settings:
        reference = _forward(settings[REFERENCE])
    found = {}
    for place, (name, its) in enumerate(settings.items()):
        if report:
            report(place, len(settings))
        if name == REFERENCE:
            mine, theirs = _in_turn(reference, None, calls)
        else:
            mine, theirs = _in_turn(_forward(its), reference, calls)
        low, median, high = (float(v) for v in np.percentile(mine, (25, 50, 75)))
        ratio = median / float(np.median(theirs)) if theirs else None
        found[name] = {
            "size": its["size"],
            "milliseconds": round(median, 2),
            "quartiles": [round(low, 2), round(high, 2)],
            "ratio": 1.0 if name == REFERENCE else ratio and round(ratio, 3),
        }
    keras.utils.clear_session()
    return {"machine": machine(), "calls": calls, "networks": found}


def machine() -> dict[str, Any]:
    """Return what figures of speed are of: the processor, and versions of the software."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "versions": {k: v for k, v in versions().items() if k in ("python", "keras", "tensorflow")},
    }


def _processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    try:
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _forward(settings: Mapping[str, Any]) -> Callable[[], Any]:
    """Return a call of a network on one picture, ready."""
    model = networks.build(
        settings["network"], size=settings["size"], view=settings["view"], **settings["options"]
    )
    picture = np.zeros((1, *model.inputs[0].shape[1:]), np.float32)
    run = _compiled(model)
    for _ in range(_WARM):
        np.asarray(run(picture))
    return lambda: np.asarray(run(picture))


def _compiled(model: keras.Model) -> Callable[[np.ndarray], Any]:
    import keras

    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        shape = (1, *model.inputs[0].shape[1:])
        return tf.function(
            lambda inputs: model(inputs, training=False),
            input_signature=[tf.TensorSpec(shape, tf.float32)],
        )
    return model.predict_on_batch


def _in_turn(
    mine: Callable[[], Any], theirs: Callable[[], Any] | None, calls: int
) -> tuple[list[float], list[float]]:
    """Return milliseconds of calls of one network, and of another between them."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(calls):
        for call, into in zip((mine, theirs), taken):
            if call is None:
                continue
            began = time.perf_counter()
            call()
            into.append(1000 * (time.perf_counter() - began))
    return taken
