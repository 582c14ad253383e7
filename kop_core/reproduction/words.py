"""Figures in words, as the page of a reproduction has them: with one decimal."""

from __future__ import annotations

from kop_core.evaluation import Estimate


def one_decimal(share: float | None) -> str:
    """Return a share in per cent with one decimal; this page compares with 90.25 %."""
    return "not defined" if share is None else f"{100 * share:.1f} %"


def with_interval(estimate: Estimate) -> str:
    """Return a share with its 95 % interval."""
    if estimate.value is None:
        return "not defined"
    low, high = (f"{100 * v:.1f}" for v in (estimate.low, estimate.high))
    return f"{one_decimal(estimate.value)} (95 % CI {low}–{high})"


def signed(share: float) -> str:
    """Return a difference of shares in points, with its sign."""
    return f"{100 * share:+.1f}".replace("-", "\u2212")


def points(difference: Estimate) -> str:
    """Return a difference of shares in points, with its 95 % interval."""
    low, high = signed(difference.low), signed(difference.high)
    return f"{signed(difference.value)} points (95 % CI {low} to {high})"
