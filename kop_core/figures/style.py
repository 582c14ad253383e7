"""What the figures share: greys that read in light and in dark, axes of shares, one button."""

from __future__ import annotations

from typing import Any

GRID = "rgba(128,128,128,0.22)"
GUIDE = "rgba(128,128,128,0.9)"
CLEAR = "rgba(0,0,0,0)"
PERCENT = {
    "tickvals": [0, 0.25, 0.5, 0.75, 1],
    "ticktext": ["0 %", "25 %", "50 %", "75 %", "100 %"],
}


def chart_config(name: str) -> dict[str, Any]:
    """Return what goes to Plotly beside a figure: one button, to download it.

    Args:
        name: of the file, without its ending.
    """
    return {
        "displaylogo": False,
        "modeBarButtons": [["toImage"]],
        "toImageButtonOptions": {"format": "svg", "filename": name},
    }
