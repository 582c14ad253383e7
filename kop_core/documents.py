"""What the pages in ``docs/`` that commands write have in common: tables in Markdown, and SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from kop_core.errors import KopError

# Okabe and Ito's colours, told apart by the colour-blind too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLE = {
    "svg.hashsalt": "kop",  # the same figures give the same file
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_PANEL = (4.6, 3.5)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown, and an empty one."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
    yield ""


def anchor(heading: str) -> str:
    """Return what a heading is called in a link, as GitHub does it."""
    kept = "".join(c for c in heading.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def style() -> AbstractContextManager:
    """Return the style that figures are drawn in, for a ``with``.

    Raises:
        KopError: if matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise KopError(
            "The figures need matplotlib, which is not installed: pip install matplotlib"
        ) from error
    return matplotlib.rc_context(_STYLE)


def panels(count: int, sharey: bool = False) -> tuple[Any, list[Any]]:
    """Return an empty figure with panels side by side.

    Args:
        count: of panels.
        sharey: whether they have one vertical axis.

    Returns:
        matplotlib's ``Figure``, and its ``Axes``.

    Raises:
        KopError: if matplotlib is not installed.
    """
    with style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(_PANEL[0] * count, _PANEL[1]), layout="constrained")
        axes = figure.subplots(1, count, squeeze=False, sharey=sharey)
    return figure, list(axes[0])


def save(figure: Any, path: Path) -> None:
    """Write a figure as SVG, the same for the same figure."""
    with style():
        # On white: the page may be read in a dark theme.
        figure.savefig(path, format="svg", facecolor="white", metadata={"Date": None})
