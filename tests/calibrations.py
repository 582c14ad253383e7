"""What cards keep of a temperature, as ``kop_core.training.finishing.calibrate`` gives it."""

from __future__ import annotations

from typing import Any


def kept(temperature: float | None = 2.0, helps: bool = True, **values) -> dict[str, Any]:
    """Return what a card keeps of a temperature; without one, why there is none."""

    def figure(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.125, "high": value + 0.125}

    losses = {"before": figure(0.875), "after": figure(0.625), "change": figure(-0.25)}
    if not helps:
        losses |= {"after": figure(0.8125), "change": figure(-0.0625)}
    found = {
        "method": "temperature",
        "temperature": temperature,
        "reason": None
        if temperature
        else "The test part shows 30 radiographs; so none was fitted.",
        "fitted_on": {"images": 141, "radiographs": 69},
        "judged_on": {"images": 142, "radiographs": 68},
        "log_loss": losses if temperature else None,
        "at_limit": False,
        "helps": helps,
    }
    return {**found, **values}
