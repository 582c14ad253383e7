"""The networks beside one another, as SVG."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kop_core import documents
from kop_core.benchmarking.results import Arm

_ROW = 0.36
_CHANCE = 0.5
_LINE = 38  # characters above a panel


def areas(arms: Sequence[Arm], titles: Mapping[str, str], path: Path) -> None:
    """Draw the macro AUC of every network with its interval, a panel for each kind of split.

    Args:
        arms: the kinds of split.
        titles: of the networks, by name, in the order in which they are drawn.
        path: the file.
    """
    figure, panels = documents.panels(len(arms), sharey=True)
    with documents.style():
        figure.set_figheight(1.8 + _ROW * len(titles))
        for axes, arm in zip(panels, arms):
            for place, name in enumerate(titles):
                if name in arm.networks:
                    _row(axes, place, arm, name)
            axes.axvline(_CHANCE, color="#666666", linewidth=0.8, linestyle="--")
            axes.set_xlim(0, 1)
            axes.set_title(textwrap.fill(arm.badge, _LINE), fontsize=9)
            axes.set_xlabel("Macro AUC, 95 % interval\n(dashed: chance)")
        panels[0].set_yticks(range(len(titles)), list(titles.values()))
        panels[0].set_ylim(len(titles) - 0.5, -0.5)
    documents.save(figure, path)


def _row(axes: Any, place: int, arm: Arm, name: str) -> None:
    found = arm.figures(name)["macro_roc_auc"]
    mean = found.mean
    if mean.value is None:
        return
    axes.plot([mean.low, mean.high], [place, place], color=documents.COLOURS[0], linewidth=2)
    axes.plot(mean.value, place, "o", color=documents.COLOURS[0])
    if found.range:
        each = [value for value in found.each if value is not None]
        axes.plot(each, [place + 0.2] * len(each), "|", color="#666666", markersize=5)
