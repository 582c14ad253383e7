"""Ratios within one run, and whether what is to be reached was."""

from __future__ import annotations

from collections.abc import Mapping


def ratio(name: str, medians: Mapping[str, float], way: str, bound: float) -> dict:
    """Return a ratio, what is to be reached, and whether it was.

    Args:
        name: two ways, ``"one / other"``.
        medians: seconds of each way.
        way: ``"at most"`` or ``"at least"``.
        bound: what is to be reached.
    """
    over, under = name.split(" / ")
    value = medians[over] / medians[under]
    reached = value <= bound if way == "at most" else value >= bound
    return {"value": round(value, 2), "to reach": f"{way} {bound:g}", "reached": reached}
