"""The paper's Figures 7, 8 and 9 of our runs, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kop_core import documents
from kop_core.classes import CLASSES
from kop_core.evaluation import published
from kop_core.reproduction import look_up
from kop_core.reproduction.results import Arm


def accuracy_by_epoch(arms: Sequence[Arm], path: Path) -> None:
    """Draw Figure 7: accuracy by epoch, a panel for each kind of split, a colour for each run."""
    _curves(arms, path, "accuracy", "Accuracy", published.ACCURACY)


def loss_by_epoch(arms: Sequence[Arm], path: Path) -> None:
    """Draw Figure 8: loss by epoch, a panel for each kind of split, a colour for each run."""
    _curves(arms, path, "loss", "Loss (cross-entropy)", None)


def _curves(
    arms: Sequence[Arm], path: Path, column: str, title: str, printed: float | None
) -> None:
    figure, panels = documents.panels(len(arms), sharey=True)
    for axes, arm in zip(panels, arms):
        for place, run in enumerate(arm.finished):
            rows = arm.history(run)
            epochs = [row["epoch"] for row in rows]
            colour = documents.COLOURS[place % len(documents.COLOURS)]
            label = arm.run_title(run)
            axes.plot(epochs, [row[f"val_{column}"] for row in rows], color=colour, label=label)
            axes.plot(epochs, [row[column] for row in rows], ":", color=colour)
        if printed is not None and arm.split == "random":
            axes.axhline(printed, color="#666666", linewidth=0.8, linestyle="--")
            axes.annotate(
                f"paper, last epoch: {100 * printed:.2f} %",
                (0.02, printed),
                (0, 3),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                color="#444444",
                fontsize=8,
            )
        if column == "accuracy":
            _look_up_lines(axes, arm)
        axes.set_title(arm.heading, fontsize=9)
        axes.set_xlabel("Epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.plot([], [], ":", color="#444444", label="training part")
        axes.plot([], [], "-", color="#444444", label="test part")
        # Below the curves: five folds leave no room among them.
        axes.legend(
            frameon=False, fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.16)
        )
    panels[0].set_ylabel(title)
    if column == "accuracy":
        panels[0].set_ylim(0, 1)
        panels[0].yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    else:
        panels[0].set_ylim(0, _top(arms))
    documents.save(figure, path)


def _look_up_lines(axes: Any, arm: Arm) -> None:
    """Draw what a look-up scores on the split of each run, in the colour of the run."""
    beside = {one.run["name"]: one.look_up.value for one in look_up.beside(arm)}
    for place, run in enumerate(arm.finished):
        if run["name"] in beside:
            colour = documents.COLOURS[place % len(documents.COLOURS)]
            axes.axhline(beside[run["name"]], color=colour, linewidth=1, linestyle="-.")
    if beside:
        axes.plot([], [], "-.", color="#444444", linewidth=1, label="look-up, learns nothing")


def _top(arms: Sequence[Arm]) -> float:
    """Return the end of the loss axis: a first epoch that leaps must not flatten the rest."""
    values = [
        row[name]
        for arm in arms
        for run in arm.finished
        for row in arm.history(run)
        for name in ("loss", "val_loss")
    ]
    return 1.05 * min(max(values), 3 * float(np.percentile(values, 75)))


def confusion_matrices(arms: Sequence[Arm], path: Path) -> None:
    """Draw Figure 9: the confusion matrices, the paper's as far as its Table 2 fixes it."""
    figure, panels = documents.panels(len(arms) + 1)
    low, high = _paper_cells()
    words = [[f"{a}" if a == b else f"{a}–{b}" for a, b in zip(*rows)] for rows in zip(low, high)]
    _matrix(panels[0], (low + high) / 2, words, "paper, random split\n(follows from its Table 2)")
    for axes, arm in zip(panels[1:], arms):
        counts = arm.evaluation.confusion
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        words = [
            [f"{n}\n{100 * share:.0f} %" for n, share in zip(*rows)] for rows in zip(counts, shares)
        ]
        runs = len(arm.finished)
        of = "1 run" if runs == 1 else f"{runs} runs together"
        _matrix(axes, counts, words, f"{arm.heading}\n({of})")
    documents.save(figure, path)


def _paper_cells() -> tuple[np.ndarray, np.ndarray]:
    matrices = np.array(published.confusions(*published.margins()))
    return matrices.min(axis=0), matrices.max(axis=0)


def _matrix(axes: Any, counts: np.ndarray, words: list[list[str]], title: str) -> None:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.25)
    for row in range(len(CLASSES)):
        for column in range(len(CLASSES)):
            colour = "white" if shares[row, column] > 0.7 else "black"
            axes.text(column, row, words[row][column], ha="center", va="center", color=colour)
    names = [c.name for c in CLASSES]
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names, rotation=90, va="center")
    axes.set_xlabel("Called")
    axes.set_ylabel("Labelled")
    axes.set_title(title, fontsize=9)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
