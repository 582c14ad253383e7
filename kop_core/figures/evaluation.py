"""Figures of what was measured: pure functions of an evaluation, its curves and its bins.

Backgrounds are transparent and fills translucent, so that the page's own text colour reads
on them in light and in dark. Each class has its colour, its line and its marker.
"""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from kop_core import wording
from kop_core.classes import CLASSES, by_name
from kop_core.evaluation import words
from kop_core.evaluation.calibration import Bin
from kop_core.evaluation.curves import Curve
from kop_core.evaluation.intervals import Estimate
from kop_core.evaluation.metrics import Evaluation
from kop_core.figures.style import CLEAR, GRID, GUIDE, PERCENT

_LINES = {"healthy": "solid", "osteopenia": "dash", "osteoporosis": "dot"}
_MARKERS = {"healthy": "circle", "osteopenia": "square", "osteoporosis": "diamond"}
_BEFORE, _AFTER = "#7A8B94", "#009E73"  # no colour of a class

# How much each mistake matters, rows true, columns called: osteoporosis called healthy most,
# then any bone loss called less than it is, then calling too much. See `loudness`.
_HARM = ((0.0, 0.3, 0.3), (0.5, 0.0, 0.3), (1.0, 0.5, 0.0))


def loudness(true: int, called: int, share: float | None) -> float:
    """Return how strongly a cell of a confusion matrix is filled, between 0 and 1.

    The harm of a mistake counts first and its share of the row second, so that
    osteoporosis called healthy is always the loudest mistake there is. A right cell is
    quiet, an empty one blank.
    """
    if not share:
        return 0.0
    if true == called:
        return 0.25 * share
    return _HARM[true][called] * (0.6 + 0.4 * share)


def confusion(evaluation: Evaluation, height: int = 430) -> go.Figure:
    """Return the confusion matrix, rows true, columns called: counts with shares of the row."""
    labels = [c.label for c in CLASSES]
    figure = go.Figure(
        go.Heatmap(
            z=[[_signed_loudness(evaluation, i, j) for j in range(len(CLASSES))]
               for i in range(len(CLASSES))],
            x=labels,
            y=labels,
            text=[[_cell_text(evaluation, i, j) for j in range(len(CLASSES))]
                  for i in range(len(CLASSES))],
            customdata=[[_cell_sentence(evaluation, i, j) for j in range(len(CLASSES))]
                        for i in range(len(CLASSES))],
            texttemplate="%{text}",
            textfont_size=14,
            hovertemplate="%{customdata}<extra></extra>",
            # Grey for what is right, vermilion for mistakes; see-through, for light and dark.
            colorscale=[[0, "rgba(110,125,135,0.9)"], [0.5, "rgba(110,125,135,0)"],
                        [0.5, "rgba(213,94,0,0)"], [1, "rgba(213,94,0,0.62)"]],
            zmin=-1,
            zmax=1,
            showscale=False,
            xgap=3,
            ygap=3,
        )
    )  # fmt: skip
    porosis, healthy = len(CLASSES) - 1, 0
    figure.add_shape(  # never by colour alone
        type="rect", x0=healthy - 0.49, x1=healthy + 0.49, y0=porosis - 0.49, y1=porosis + 0.49,
        line={"color": by_name("osteoporosis").colour, "width": 2.5},
    )  # fmt: skip
    figure.update_xaxes(
        title_text="Called by the model", side="top", showgrid=False, fixedrange=True
    )
    figure.update_yaxes(
        title_text="Labelled", autorange="reversed", showgrid=False, fixedrange=True,
        ticksuffix="  ",
    )  # fmt: skip
    return _dressed(figure, height, top=60, left=10)


def _signed_loudness(evaluation: Evaluation, true: int, called: int) -> float:
    loud = loudness(true, called, evaluation.shares[true][called].value)
    return -loud if true == called else loud


def _cell_text(evaluation: Evaluation, true: int, called: int) -> str:
    count = evaluation.confusion[true][called]
    found = evaluation.shares[true][called]
    missed = "<br><i>missed</i>" if (true, called) == (len(CLASSES) - 1, 0) and count else ""
    return f"<b>{count:,}</b><br>{_share(found)}{missed}"


def _share(found: Estimate) -> str:
    return "no images" if found.value is None else wording.percent(found.value)


def _cell_sentence(evaluation: Evaluation, true: int, called: int) -> str:
    row = int(evaluation.confusion[true].sum())
    if not row:
        return f"No image is labelled {CLASSES[true].name}."
    count, found = int(evaluation.confusion[true][called]), evaluation.shares[true][called]
    return (
        f"Of {row:,} images labelled {CLASSES[true].name},<br>{count:,} were called "
        f"{CLASSES[called].name}: {words.share(found)}."
    )


def roc(curves: Sequence[Curve], evaluation: Evaluation, height: int = 400) -> go.Figure:
    """Return the ROC curve of each class against the rest, with its area in the legend."""
    figure = go.Figure()
    for curve in curves:
        told = [
            f"{_from(t)}, {wording.percent(y)} of {curve.class_name} is found<br>and "
            f"{wording.percent(x)} of the rest is wrongly called so."
            for x, y, t in zip(curve.x, curve.y, curve.thresholds)
        ]
        area = words.number(evaluation.metrics[f"roc_auc_{curve.class_name}"])
        figure.add_trace(_line(curve, told, f"AUC {area}"))
    figure.add_trace(_guide([0, 1], [0, 1], "Chance"))
    figure.update_xaxes(title_text="Wrongly called, of the rest (1 − specificity)")
    figure.update_yaxes(title_text="Found (sensitivity)")
    return _unit_square(figure, height)


def precision_recall(
    curves: Sequence[Curve], evaluation: Evaluation, height: int = 400
) -> go.Figure:
    """Return the precision-recall curve of each class, with what calling at random would give."""
    figure = go.Figure()
    for curve in curves:
        told = [
            f"{_from(t)}, {wording.percent(x)} of {curve.class_name} is found<br>and "
            f"{wording.percent(y)} of what is called so is so."
            for x, y, t in zip(curve.x, curve.y, curve.thresholds)
        ]
        found = words.number(evaluation.metrics[f"average_precision_{curve.class_name}"])
        figure.add_trace(_line(curve, told, f"AP {found}"))
    figure.add_trace(_guide([None], [None], "Called at random"))
    for curve in curves:
        level = _guide([0, 1], [curve.prevalence] * 2, "Chance")
        level.update(line_color=by_name(curve.class_name).colour, line_width=1, showlegend=False)
        level.update(
            hoverinfo="text",
            text=f"{wording.percent(curve.prevalence)} of the images are labelled "
            f"{curve.class_name}:<br>the precision of calling at random.",
        )
        figure.add_trace(level)
    figure.update_xaxes(title_text="Found (recall)")
    figure.update_yaxes(title_text="Right among those called (precision)")
    return _unit_square(figure, height)


def _from(threshold: float) -> str:
    if threshold != threshold:
        return "With none called"
    return f"From a score of {wording.level(threshold)} on"


def _line(curve: Curve, told: list[str], figure: str) -> go.Scatter:
    c = by_name(curve.class_name)
    return go.Scatter(
        x=curve.x,
        y=curve.y,
        mode="lines",
        line={"color": c.colour, "width": 2.5, "dash": _LINES[c.name], "shape": "linear"},
        name=f"{c.label}: {figure}",
        text=told,
        hovertemplate="%{text}<extra></extra>",
    )


def _guide(x: Sequence[float], y: Sequence[float], name: str) -> go.Scatter:
    return go.Scatter(
        x=x,
        y=y,
        mode="lines",
        line={"color": GUIDE, "width": 1.5, "dash": "longdash"},
        name=name,
        hoverinfo="skip",
    )


def reliability(series: Sequence[tuple[str, Sequence[Bin]]], height: int = 400) -> go.Figure:
    """Return a reliability diagram: how often the class called was right, by its score.

    Args:
        series: a name and bins each, at most two: as it is, and after temperature scaling.
        height: of the figure, in pixels.
    """
    figure = make_subplots(2, 1, shared_xaxes=True, row_heights=[0.78, 0.22], vertical_spacing=0.05)
    figure.add_trace(_guide([0, 1], [0, 1], "Perfectly calibrated"), 1, 1)
    looks = ((_BEFORE, "circle"), (_AFTER, "diamond"))
    for (name, bins), (colour, symbol) in zip(series, looks):
        held = [b for b in bins if b.images]
        figure.add_trace(_bins(held, name, colour, symbol), 1, 1)
        figure.add_trace(
            go.Bar(
                x=[(b.low + b.high) / 2 for b in held],
                y=[b.images for b in held],
                marker_color=colour,
                showlegend=False,
                hovertext=[_bin_sentence(b, name, len(series) > 1) for b in held],
                hovertemplate="%{hovertext}<extra></extra>",
            ),
            2,
            1,
        )
    figure.update_xaxes(range=[0, 1], fixedrange=True, gridcolor=GRID, zeroline=False, **PERCENT)
    figure.update_xaxes(title_text="Score of the class called", row=2, col=1)
    figure.update_yaxes(fixedrange=True, gridcolor=GRID, zeroline=False)
    figure.update_yaxes(
        range=[0, 1.02], title_text="Classified as labelled", row=1, col=1, **PERCENT
    )
    figure.update_yaxes(title_text="Images", nticks=3, row=2, col=1)
    figure.update_layout(barmode="group", bargap=0.1)
    return _legend_above(_dressed(figure, height))


def _bins(held: Sequence[Bin], name: str, colour: str, symbol: str) -> go.Scatter:
    return go.Scatter(
        x=[b.confidence for b in held],
        y=[b.right.value for b in held],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [b.right.high - b.right.value for b in held],
            "arrayminus": [b.right.value - b.right.low for b in held],
            "thickness": 1.5,
            "width": 4,
        },
        mode="markers",
        marker={"color": colour, "size": 9, "symbol": symbol},
        name=name,
        hovertext=[_bin_sentence(b, name, False) for b in held],
        hovertemplate="%{hovertext}<extra></extra>",
    )


def _bin_sentence(found: Bin, name: str, named: bool) -> str:
    said = (
        f"Called with a score of {wording.percent(found.low)} to {wording.percent(found.high)}: "
        f"{found.images:,} images of {found.radiographs:,} radiographs.<br>Mean score "
        f"{wording.percent(found.confidence)}; classified as labelled: {words.share(found.right)}."
    )
    return f"{name}. {said}" if named else said


_BY_CLASS = (
    ("Sensitivity", "recall"),
    ("Specificity", "specificity"),
    ("Precision", "precision"),
    ("F1", "f1"),
    ("ROC AUC", "roc_auc"),
    ("Average precision", "average_precision"),
)


def intervals_by_class(evaluation: Evaluation, height: int = 400) -> go.Figure:
    """Return each class's figures as points with their 95 % intervals."""
    figure = go.Figure()
    for place, c in enumerate(CLASSES):
        rows = [
            (i, label, evaluation.metrics[f"{m}_{c.name}"])
            for i, (label, m) in enumerate(_BY_CLASS)
        ]
        rows = [row for row in rows if row[2].value is not None]
        figure.add_trace(
            go.Scatter(
                x=[e.value for _, _, e in rows],
                y=[i + 0.22 * (place - 1) for i, _, _ in rows],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [e.high - e.value for _, _, e in rows],
                    "arrayminus": [e.value - e.low for _, _, e in rows],
                    "thickness": 2,
                    "width": 0,
                },
                mode="markers",
                marker={"color": c.colour, "size": 9, "symbol": _MARKERS[c.name]},
                name=c.label,
                hovertext=[f"{label} of {c.name}: {_written(label, e)}." for _, label, e in rows],
                hovertemplate="%{hovertext}<extra></extra>",
            )
        )
    figure.update_xaxes(
        range=[0, 1.01], fixedrange=True, showgrid=True, gridcolor=GRID, zeroline=False, **PERCENT
    )
    figure.update_yaxes(
        tickvals=list(range(len(_BY_CLASS))), ticktext=[label for label, _ in _BY_CLASS],
        range=[len(_BY_CLASS) - 0.5, -0.5], fixedrange=True, showgrid=False, zeroline=False,
        ticksuffix="  ",
    )  # fmt: skip
    return _legend_above(_dressed(figure, height))


def _written(label: str, found: Estimate) -> str:
    return words.number(found) if label in ("ROC AUC", "Average precision") else words.share(found)


def _unit_square(figure: go.Figure, height: int) -> go.Figure:
    axis = {"fixedrange": True, "gridcolor": GRID, "zeroline": False, **PERCENT}
    figure.update_xaxes(range=[-0.01, 1.01], **axis)
    figure.update_yaxes(range=[-0.01, 1.02], **axis)
    return _legend_above(_dressed(figure, height))


def _legend_above(figure: go.Figure) -> go.Figure:
    figure.update_layout(
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "title_text": ""},
    )
    return figure


def _dressed(figure: go.Figure, height: int, top: int = 10, left: int = 10) -> go.Figure:
    figure.update_layout(
        height=height,
        margin={"l": left, "r": 26, "t": top, "b": 10},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        hovermode="closest",
        font_size=13,
    )
    figure.update_xaxes(automargin=True, title_font_size=13)
    figure.update_yaxes(automargin=True, title_font_size=13)
    return figure
