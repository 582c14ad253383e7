"""Figures of several models in one: pure functions of what was measured of each.

A model has a colour, a line and a marker, which are never those of a class, and the same in
every figure. Its name in a figure is its key, which is short and there only once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from kop_core import wording
from kop_core.evaluation import words
from kop_core.evaluation.curves import Curve, precision_recall_curves, roc_curves
from kop_core.figures.evaluation import _dressed, _from, _guide, _legend_above, _unit_square
from kop_core.figures.style import GRID, PERCENT
from kop_core.figures.training import TEST, _top, number, watched_part

if TYPE_CHECKING:
    from kop_core.evaluation.compared import Entry

# Each reads on light and on dark (3 : 1 or more), none is a class's, and the first four are told
# apart by colour-blind readers; beyond that the line and the marker tell.
COLOURS = ("#009E73", "#BC5F9A", "#7A8B94", "#8A63D2", "#8F8A1E", "#1B93B0")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "star")
# More intervals than these would hide each other; the sentences under the pointer have them.
_MOST_BARS = 3
_LINE = 21


@dataclass(frozen=True)
class Look:
    """How a model is drawn.

    Attributes:
        colour: of its line and its markers.
        dash: of its line.
        marker: of its points.
    """

    colour: str
    dash: str
    marker: str


def look(place: int) -> Look:
    """Return how the model at a place is drawn; no two of the first 36 are alike."""
    turn = place + place // len(COLOURS)
    return Look(
        COLOURS[place % len(COLOURS)], DASHES[turn % len(DASHES)], MARKERS[turn % len(MARKERS)]
    )


def roc(entries: Sequence[Entry], class_name: str, height: int = 380) -> go.Figure:
    """Return the ROC curve of one class against the rest, a line a model.

    Args:
        entries: the models, with their areas in the legend.
        class_name: the class.
        height: without the legend, in pixels.
    """
    figure = go.Figure()
    for place, entry in enumerate(entries):
        curve = _of_class(roc_curves(entry.predictions), class_name)
        told = "{} of {} is found<br>and {} of the rest is wrongly called so."
        area = words.number(entry.evaluation.metrics[f"roc_auc_{class_name}"])
        _add(figure, place, entry, curve, told, f"AUC {area}", found_first=False)
    figure.add_trace(_guide([0, 1], [0, 1], "Chance"))
    figure.update_xaxes(title_text="Wrongly called, of the rest (1 − specificity)")
    figure.update_yaxes(title_text="Found (sensitivity)")
    return _fitted(_unit_square(figure, height), len(entries))


def precision_recall(entries: Sequence[Entry], class_name: str, height: int = 380) -> go.Figure:
    """Return the precision-recall curve of one class, a line a model.

    Args:
        entries: the models, with their average precisions in the legend.
        class_name: the class.
        height: without the legend, in pixels.
    """
    figure, levels = go.Figure(), {}
    for place, entry in enumerate(entries):
        curve = _of_class(precision_recall_curves(entry.predictions), class_name)
        told = "{} of {} is found<br>and {} of what is called so is so."
        found = words.number(entry.evaluation.metrics[f"average_precision_{class_name}"])
        _add(figure, place, entry, curve, told, f"AP {found}", found_first=True)
        if curve is not None:
            levels[round(curve.prevalence, 6)] = curve.prevalence
    for number_of, level in enumerate(levels.values()):
        line = _guide([0, 1], [level] * 2, "Called at random")
        line.update(
            showlegend=not number_of,
            hoverinfo="text",
            text=f"{wording.percent(level)} of the images are labelled {class_name}:<br>the "
            "precision of calling at random.",
        )
        figure.add_trace(line)
    figure.update_xaxes(title_text="Found (recall)")
    figure.update_yaxes(title_text="Right among those called (precision)")
    return _fitted(_unit_square(figure, height), len(entries))


def _of_class(curves: Sequence[Curve], class_name: str) -> Curve | None:
    return next((curve for curve in curves if curve.class_name == class_name), None)


def _add(
    figure: go.Figure,
    place: int,
    entry: Entry,
    curve: Curve | None,
    told: str,
    area: str,
    found_first: bool,
) -> None:
    if curve is None:  # the class has no image in its test part
        return
    drawn = look(place)
    shares = zip(curve.x, curve.y) if found_first else zip(curve.y, curve.x)
    said = [
        f"{entry.key}. {_from(t)},<br>"
        + told.format(wording.percent(one), curve.class_name, wording.percent(other))
        for (one, other), t in zip(shares, curve.thresholds)
    ]
    figure.add_trace(
        go.Scatter(
            x=curve.x,
            y=curve.y,
            mode="lines",
            line={"color": drawn.colour, "width": 2.5, "dash": drawn.dash},
            name=f"{entry.key}: {area}",
            text=said,
            hovertemplate="%{text}<extra></extra>",
        )
    )


def reliability(entries: Sequence[Entry], height: int = 380) -> go.Figure:
    """Return how often the class called was right, by its score, a line a model.

    Args:
        entries: the models.
        height: without the legend, in pixels.
    """
    figure = go.Figure(_guide([0, 1], [0, 1], "Perfectly calibrated"))
    for place, entry in enumerate(entries):
        drawn, held = look(place), [b for b in entry.measured.bins if b.images]
        bars = {
            "type": "data",
            "symmetric": False,
            "array": [b.right.high - b.right.value for b in held],
            "arrayminus": [b.right.value - b.right.low for b in held],
            "thickness": 1.2,
            "width": 3,
        }
        figure.add_trace(
            go.Scatter(
                # A little apart, so that intervals of one score do not hide each other.
                x=[b.confidence + 0.006 * (place - (len(entries) - 1) / 2) for b in held],
                y=[b.right.value for b in held],
                error_y=bars if len(entries) <= _MOST_BARS else None,
                mode="lines+markers",
                line={"color": drawn.colour, "width": 1.5, "dash": drawn.dash},
                marker={"color": drawn.colour, "size": 9, "symbol": drawn.marker},
                name=entry.key,
                hovertext=[
                    f"{entry.key}. Called with a score of {wording.percent(b.low)} to "
                    f"{wording.percent(b.high)}:<br>{b.images:,} images of {b.radiographs:,} "
                    f"radiographs, mean score {wording.percent(b.confidence)};<br>classified as "
                    f"labelled: {words.share(b.right)}."
                    for b in held
                ],
                hovertemplate="%{hovertext}<extra></extra>",
            )
        )
    figure.update_xaxes(title_text="Score of the class called")
    figure.update_yaxes(title_text="Classified as labelled")
    return _fitted(_unit_square(figure, height), len(entries))


_LEARNING = {
    "val_accuracy": ("Accuracy, watched part", "{:.1%} of the {} are classified as labelled."),
    "val_loss": ("Loss (cross-entropy), watched part", "loss {:.3f} on the {}."),
    "accuracy": ("Accuracy, training part", "{:.1%} of the {} are classified as labelled."),
    "loss": ("Loss (cross-entropy), training part", "loss {:.3f} on the {}."),
}


def learning(entries: Sequence[Entry], column: str, height: int = 320) -> go.Figure:
    """Return one column of the models' histories by epoch, a line a model.

    Args:
        entries: the models; one without a history is not drawn.
        column: ``"accuracy"``, ``"loss"``, or what was watched: ``"val_accuracy"``,
            ``"val_loss"``.
        height: without the legend, in pixels.
    """
    title, told = _LEARNING[column]
    figure, values, longest = go.Figure(), [], 1.0
    for place, entry in enumerate(entries):
        points = [
            (row["epoch"], value)
            for row in entry.history
            if (value := number(row.get(column))) is not None
        ]
        if not points:
            continue
        part = watched_part(entry.validation_share)
        where = ("test pictures" if part == TEST else "validation pictures") if (
            column.startswith("val_")) else "training pictures"  # fmt: skip
        drawn = look(place)
        values += [value for _, value in points]
        longest = max(longest, *(epoch for epoch, _ in points))
        figure.add_trace(
            go.Scatter(
                x=[epoch for epoch, _ in points],
                y=[value for _, value in points],
                mode="lines+markers",
                line={"color": drawn.colour, "width": 2, "dash": drawn.dash},
                marker={"color": drawn.colour, "size": 6, "symbol": drawn.marker},
                name=f"{entry.key}: {where}",
                hovertext=[
                    f"{entry.key}, epoch {epoch:g}:<br>{told.format(value, where)}"
                    for epoch, value in points
                ],
                hovertemplate="%{hovertext}<extra></extra>",
            )
        )
    figure.update_xaxes(
        title_text="Epoch", range=[0.5, longest + 0.5], fixedrange=True, gridcolor=GRID,
        zeroline=False, nticks=11,
    )  # fmt: skip
    figure.update_yaxes(title_text=title, fixedrange=True, gridcolor=GRID, zeroline=False)
    if column.endswith("accuracy"):
        figure.update_yaxes(range=[0, 1.02], **PERCENT)
    else:
        figure.update_yaxes(range=[0, _top(values)])
    return _fitted(_legend_above(_dressed(figure, height)), len(entries))


def _fitted(figure: go.Figure, lines: int) -> go.Figure:
    """Make room for a legend above: a line a model, so that long names are not cut."""
    top = _LINE * (lines + 1) + 8
    figure.update_layout(
        height=figure.layout.height + top,
        margin_t=top,
        legend={"orientation": "v", "x": 0, "xanchor": "left", "entrywidthmode": "pixels"},
    )
    return figure
