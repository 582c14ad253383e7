"""Which arithmetic the machine does fastest without losing the result."""

from __future__ import annotations

from pathlib import Path

_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}


def best_precision(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return ``"mixed_bfloat16"`` where the processor has the instructions, else ``"float32"``."""
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:
        return "float32"
    for line in text.splitlines():
        if line.lower().startswith(("flags", "features")):
            return "mixed_bfloat16" if _BFLOAT16_FLAGS & set(line.split()) else "float32"
    return "float32"
