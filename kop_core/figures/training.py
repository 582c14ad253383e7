"""Figures of a run as it learns: the paper's Figures 7 and 8, and what stands below them.

Each takes the rows of ``history.csv``, one an epoch. Backgrounds are transparent, so that
the page's own text colour reads on them in light and in dark. The axes span the whole run
from the start, so that a chart grows and does not jump.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from kop_core.figures.style import CLEAR, GRID, PERCENT

# No colours of a class; apart in lightness too, and told apart by line and marker.
_TRAINING, _WATCHED = "#7A8B94", "#009E73"

VALIDATION = "validation"
TEST = "test part, as in the paper"

Row = Mapping[str, Any]


def watched_part(validation_share: float) -> str:
    """Return what is looked at after every epoch: a validation part, or the test part.

    Args:
        validation_share: share of the training part that is set aside; 0 for none.
    """
    return VALIDATION if validation_share > 0 else TEST


def accuracy(
    rows: Sequence[Row], epochs: int, watched: str, kept: int | None = None, height: int = 280
) -> go.Figure:
    """Return accuracy by epoch, training and the part watched: the paper's Figure 7.

    Args:
        rows: of the history, with ``epoch``, ``accuracy`` and ``val_accuracy``.
        epochs: of the whole run.
        watched: what ``val_`` was measured on: :data:`VALIDATION` or :data:`TEST`.
        kept: the epoch whose weights are kept, to be marked; ``None`` for no mark.
        height: in pixels.
    """
    figure = go.Figure()
    figure.add_trace(_line(rows, "accuracy", "Training", _share_of("training pictures")))
    figure.add_trace(
        _line(rows, "val_accuracy", f"Watched part: {watched}", _share_of(_pictures(watched)))
    )
    _mark(figure, rows, "val_accuracy", kept)
    figure.update_yaxes(range=[0, 1.02], title_text="Accuracy", **PERCENT)
    return _dressed(figure, epochs, height)


def loss(
    rows: Sequence[Row], epochs: int, watched: str, kept: int | None = None, height: int = 280
) -> go.Figure:
    """Return the loss by epoch, training and the part watched: the paper's Figure 8.

    Args:
        rows: of the history, with ``epoch``, ``loss`` and ``val_loss``.
        epochs: of the whole run.
        watched: what ``val_`` was measured on.
        kept: the epoch whose weights are kept, to be marked; ``None`` for no mark.
        height: in pixels.
    """
    figure = go.Figure()
    figure.add_trace(_line(rows, "loss", "Training", _value("Loss on the training pictures")))
    told = _value(f"Loss on the {_pictures(watched)}")
    figure.add_trace(_line(rows, "val_loss", f"Watched part: {watched}", told))
    _mark(figure, rows, "val_loss", kept)
    values = [
        v for row in rows for k in ("loss", "val_loss") if (v := number(row.get(k))) is not None
    ]
    figure.update_yaxes(range=[0, _top(values)], title_text="Loss (cross-entropy)")
    return _dressed(figure, epochs, height)


def learning_rate(rows: Sequence[Row], epochs: int, height: int = 170) -> go.Figure:
    """Return the learning rate at the end of each epoch.

    Args:
        rows: of the history, with ``epoch`` and ``learning_rate``.
        epochs: of the whole run.
        height: in pixels.
    """
    figure = go.Figure()
    told = _value("Learning rate at the end of the epoch", "{:.2g}")
    figure.add_trace(_line(rows, "learning_rate", "Learning rate", told, _TRAINING))
    figure.update_traces(line_dash="solid", showlegend=False)
    figure.update_yaxes(
        rangemode="tozero",
        title_text="Learning rate",
        tickformat="~g",
        nticks=4,
        exponentformat="e",
    )
    return _dressed(figure, epochs, height)


def macro_f1(rows: Sequence[Row], epochs: int, watched: str, height: int = 170) -> go.Figure:
    """Return the mean F1 of the three classes on the part watched, by epoch.

    Args:
        rows: of the history, with ``epoch`` and ``val_macro_f1``; rows without it are
            passed over, as in histories of older versions.
        epochs: of the whole run.
        watched: what it was measured on.
        height: in pixels.
    """
    figure = go.Figure()
    told = _value(f"Macro F1 on the {_pictures(watched)}", "{:.2f}")
    figure.add_trace(_line(rows, "val_macro_f1", f"Watched part: {watched}", told))
    figure.update_traces(showlegend=False)
    figure.update_yaxes(
        range=[0, 1.02], title_text="Macro F1", tickvals=[0, 0.25, 0.5, 0.75, 1],
        ticktext=["0", "", "0.5", "", "1"],
    )  # fmt: skip
    return _dressed(figure, epochs, height)


def number(value: Any) -> float | None:
    """Return a number that can be drawn, or ``None``: a history may have been altered."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number of hundreds of digits
        return None


def _pictures(watched: str) -> str:
    return "validation pictures" if watched == VALIDATION else "test pictures"


def _share_of(what: str) -> Any:
    return lambda v: f"{100 * v:.1f} % of the {what} are<br>classified as they are labelled."


def _value(what: str, written: str = "{:.3f}") -> Any:
    return lambda v: f"{what}: {written.format(v)}."


def _line(
    rows: Sequence[Row], column: str, name: str, told: Any, colour: str | None = None
) -> go.Scatter:
    watched = column.startswith("val_")
    points = [(r["epoch"], v) for r in rows if (v := number(r.get(column))) is not None]
    return go.Scatter(
        x=[epoch for epoch, _ in points],
        y=[value for _, value in points],
        mode="lines+markers",
        name=name,
        line={
            "color": colour or (_WATCHED if watched else _TRAINING),
            "width": 2.5 if watched else 2,
            "dash": "solid" if watched else "dot",
        },
        marker={"size": 6 if watched else 5, "symbol": "circle" if watched else "square"},
        hovertext=[f"Epoch {epoch}. {told(value)}" for epoch, value in points],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _mark(figure: go.Figure, rows: Sequence[Row], column: str, kept: int | None) -> None:
    """Put a ring around the epoch whose weights are kept."""
    value = next((number(r.get(column)) for r in rows if r["epoch"] == kept), None)
    figure.add_trace(
        go.Scatter(
            x=[kept if value is not None else None],
            y=[value],
            mode="markers",
            name="Weights kept",
            marker={
                "size": 13, "symbol": "circle-open", "color": _WATCHED, "line": {"width": 2.5}
            },
            showlegend=value is not None,
            hoverinfo="skip",
        )
    )  # fmt: skip


def _top(values: Sequence[float]) -> float:
    """Return the end of the loss axis: a first epoch that leaps must not flatten the rest."""
    if not values:
        return 1.5
    third_quarter = sorted(values)[(3 * (len(values) - 1)) // 4]
    wanted = 1.08 * min(max(values), max(3 * third_quarter, 0.1))
    step = 0.25 if wanted < 2 else 1.0
    return max(step, math.ceil(wanted / step) * step)  # in steps, so that it seldom moves


def _dressed(figure: go.Figure, epochs: int, height: int) -> go.Figure:
    figure.update_layout(
        height=height,
        margin={"l": 10, "r": 14, "t": 10, "b": 10},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        hovermode="closest",
        font_size=13,
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "title_text": ""},
        uirevision="run",
    )
    step = max(1, math.ceil(epochs / 10))
    ticks = sorted({1, *range(step, epochs + 1, step)}) if step > 1 else [*range(1, epochs + 1)]
    figure.update_xaxes(
        range=[0.5, max(epochs, 1) + 0.5], tickvals=ticks, title_text="Epoch", fixedrange=True,
        gridcolor=GRID, zeroline=False, automargin=True, title_font_size=13,
    )  # fmt: skip
    figure.update_yaxes(
        fixedrange=True, gridcolor=GRID, zeroline=False, automargin=True, title_font_size=13
    )
    return figure
