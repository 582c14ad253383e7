"""Which arithmetic the machine does fastest without losing the result."""

from __future__ import annotations

from pathlib import Path

from kop_core.devices import Gpu, first_gpu

_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
_MIXED, _SINGLE = "mixed_bfloat16", "float32"


def precision_for(asked: str) -> str:
    """Return the precision that a run has: what it asks for, or where that is ``"auto"`` the best.

    This starts the deep-learning library.
    """
    return best_precision(first_gpu()) if asked == "auto" else asked


def best_precision(gpu: Gpu | None = None, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return ``"mixed_bfloat16"`` where the hardware has the instructions, else ``"float32"``.

    Args:
        gpu: the graphics card that computes; the processor, if there is none.
        cpuinfo: what the system says of the processor.
    """
    if gpu is not None:
        return _MIXED if gpu.bfloat16 else _SINGLE
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:
        return _SINGLE
    for line in text.splitlines():
        if line.lower().startswith(("flags", "features")):
            return _MIXED if _BFLOAT16_FLAGS & set(line.split()) else _SINGLE
    return _SINGLE
