"""Confusion matrices to click: figures of a matrix, of a difference, of the paper's.

A cell of a heat map cannot be chosen in Streamlit; a marker can. So each cell has one over
it that nobody sees, which carries the cell's row and column and its sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from kop_core import wording
from kop_core.classes import CLASSES, by_name
from kop_core.evaluation import matrix_words
from kop_core.evaluation.intervals import Estimate
from kop_core.evaluation.matrix import UNCALLED, Difference, Matrix
from kop_core.evaluation.published import Figure9
from kop_core.figures.evaluation import loudness
from kop_core.figures.style import CLEAR

COUNTS, ROWS, COLUMNS = "counts", "rows", "columns"
SHOWN = (COUNTS, ROWS, COLUMNS)
_SIZE = len(CLASSES)
_ILL, _WELL = _SIZE - 1, 0
# Grey for what is right, vermilion for mistakes; see-through, for light and dark.
_QUIET_TO_LOUD = (
    (0, "rgba(110,125,135,0.9)"), (0.5, "rgba(110,125,135,0.06)"),
    (0.5, "rgba(213,94,0,0.05)"), (1, "rgba(213,94,0,0.62)"),
)  # fmt: skip
# Worse, no difference that is beyond chance, better.
_WORSE_TO_BETTER = (
    (0, "rgba(213,94,0,0.6)"), (0.5, "rgba(110,125,135,0.08)"), (1, "rgba(0,158,115,0.55)")
)  # fmt: skip
# Names in two lines, for figures that stand beside each other.
_FOLDED = {"osteopenia": "Osteo-<br>penia", "osteoporosis": "Osteo-<br>porosis"}
COMPACT = 400
_CHOSEN = "#2E8FAE"  # is seen on light and on dark


def confusion(
    found: Matrix,
    shown: str = COUNTS,
    chosen: tuple[int, int] | None = None,
    height: int = 480,
) -> go.Figure:
    """Return a confusion matrix, rows labelled, columns called; the loudest matters most.

    Args:
        found: the matrix.
        shown: what is largest in a cell: ``"counts"``, or shares of ``"rows"`` or
            ``"columns"``.
        chosen: row and column of the cell that is outlined.
        height: of the figure, in pixels.
    """

    def text(i: int, j: int) -> str:
        count = f"{int(found.counts[i, j]):,}"
        share = (found.of_columns if shown == COLUMNS else found.of_rows)[i][j]
        missed = (i, j) == (_ILL, _WELL) and found.counts[i, j]
        if shown == COUNTS:
            said = "<br><i>missed</i>" if missed else ""
            return f"<b>{count}</b><br>{_percent(share)}{said}"
        what = "<i>missed</i>" if missed else "img."
        return f"<b>{_percent(share)}</b><br>{_interval(share)}<br>{count} {what}"

    def fill(i: int, j: int) -> float:
        share = found.of_rows[i][j].value
        if j == UNCALLED:
            return -0.3 * (share or 0)
        loud = loudness(i, j, share)
        return -loud if i == j else loud

    figure = _cells(
        found.rule.columns, text, fill, lambda i, j: matrix_words.cell(found, i, j),
        _QUIET_TO_LOUD, height,
        [f"{_name(c.name, height)}<br>{int(n):,}"
         for c, n in zip(CLASSES, found.counts.sum(axis=1))],
        [f"{_name(name, height)}<br>{int(n):,}"
         for name, n in zip(found.rule.columns, found.counts.sum(axis=0))],
    )  # fmt: skip
    _outline(figure, (_ILL, _WELL), by_name("osteoporosis").colour, 2.5)  # never by colour alone
    if chosen is not None:
        _outline(figure, chosen, _CHOSEN, 4)
    return figure


def difference(
    found: Difference,
    shown: str = COUNTS,
    chosen: tuple[int, int] | None = None,
    height: int = 480,
) -> go.Figure:
    """Return one model's matrix less another's: filled where it is beyond chance.

    Args:
        found: the difference.
        shown: as in :func:`confusion`; with ``"counts"`` the points are of the row.
        chosen: row and column of the cell that is outlined.
        height: of the figure, in pixels.
    """
    table = found.of_columns if shown == COLUMNS else found.of_rows
    of = "column" if shown == COLUMNS else "row"

    def text(i: int, j: int) -> str:
        points = matrix_words.points(table[i][j])
        value, _, rest = points.partition(" ")
        count = f"{int(found.counts[i, j]):+d}".replace("-", "−").replace("+0", "0")
        if shown == COUNTS:
            return f"<b>{count}</b><br>{value} pp<br>{rest}"
        return f"<b>{value} pp</b><br>{rest}<br>{count} img."

    def fill(i: int, j: int) -> float:
        if not matrix_words.apart(table[i][j]) or j == UNCALLED:
            return 0.0
        better = (table[i][j].value > 0) == (i == j)
        return 1.0 if better else -1.0

    def sentence(i: int, j: int) -> str:
        beyond = "beyond chance" if matrix_words.apart(table[i][j]) else "not beyond chance"
        name = found.rule.columns[j]
        return (
            f"Labelled {CLASSES[i].name}, called {matrix_words.called(name)}: "
            f"{matrix_words.points(table[i][j])} percentage points of the {of}, {beyond}."
        )

    figure = _cells(
        found.rule.columns, text, fill, sentence, _WORSE_TO_BETTER, height,
        # As many lines as in the matrices that it stands beside.
        [_name(c.name, height) for c in CLASSES],
        [f"{_name(n, height)}<br>\u00a0" for n in found.rule.columns],
        # Intervals with signs are longer than anything in the matrices.
        text_size=10 if height < COMPACT and len(found.rule.columns) > _SIZE else None,
    )  # fmt: skip
    if chosen is not None:
        _outline(figure, chosen, _CHOSEN, 4)
    return figure


def published(found: Figure9, height: int = COMPACT) -> go.Figure:
    """Return the paper's matrix: numbers where Table 2 determines them, else ranges."""
    rows = found.fixed.true

    def text(i: int, j: int) -> str:
        low, high = int(found.low[i, j]), int(found.high[i, j])
        said = matrix_words.span(low, high)
        if low != high:
            return f"<i>{said}</i>"
        return f"<b>{said}</b><br>{wording.percent(low / rows[i])}"

    def fill(i: int, j: int) -> float:
        middle = (found.low[i, j] + found.high[i, j]) / 2 / rows[i]
        loud = loudness(i, j, float(middle))
        return -loud if i == j else loud

    def sentence(i: int, j: int) -> str:
        low, high = int(found.low[i, j]), int(found.high[i, j])
        whose = f"labelled {CLASSES[i].name}, called {CLASSES[j].name}"
        if low == high:
            return f"{low:,} {whose}: follows from Table 2."
        return f"{low:,} to {high:,} {whose}: Table 2 does not determine it."

    return _cells(
        [c.name for c in CLASSES], text, fill, sentence, _QUIET_TO_LOUD, height,
        [f"{c.label}<br>{n:,}" for c, n in zip(CLASSES, rows)],
        [f"{c.label}<br>{n:,}" for c, n in zip(CLASSES, found.fixed.predicted)],
    )  # fmt: skip


def _name(name: str, height: int) -> str:
    folded = _FOLDED.get(name) if height < COMPACT else None
    return folded or matrix_words.heading(name)


_Cell = Callable[[int, int], str]


def _cells(
    columns: Sequence[str],
    text: _Cell,
    fill: Callable[[int, int], float],
    sentence: _Cell,
    colours: Sequence[tuple[float, str]],
    height: int,
    row_names: Sequence[str],
    column_names: Sequence[str],
    text_size: int | None = None,
) -> go.Figure:
    """Return square cells with their texts, and a marker over each that can be clicked."""
    across, down = range(len(columns)), range(_SIZE)
    text_size = text_size or (15 if height > COMPACT else 12 if len(columns) > _SIZE else 13)
    places = [(i, j) for i in down for j in across]
    figure = go.Figure(
        go.Heatmap(
            z=[[fill(i, j) for j in across] for i in down],
            x=list(across),
            y=list(down),
            text=[[text(i, j) for j in across] for i in down],
            texttemplate="%{text}",
            textfont_size=text_size,
            hoverinfo="skip",
            colorscale=[list(stop) for stop in colours],
            zmin=-1,
            zmax=1,
            showscale=False,
            xgap=3,
            ygap=3,
        )
    )
    unseen = {"opacity": 0.0}
    figure.add_trace(
        go.Scatter(
            x=[j for _, j in places],
            y=[i for i, _ in places],
            mode="markers",
            marker={"symbol": "square", "size": height / 6, "color": "#888888", "opacity": 0.0},
            selected={"marker": unseen},
            unselected={"marker": unseen},
            customdata=[[i, j] for i, j in places],
            hovertext=[_folded(sentence(i, j)) for i, j in places],
            hovertemplate="%{hovertext}<extra></extra>",
            showlegend=False,
        )
    )
    figure.update_xaxes(
        title_text="Called by the model", side="top", tickvals=list(across),
        ticktext=list(column_names), range=[-0.5, len(columns) - 0.5], constrain="domain",
        constraintoward="left",
    )  # fmt: skip
    figure.update_yaxes(
        title_text="Labelled", tickvals=list(down), ticktext=list(row_names),
        range=[_SIZE - 0.5, -0.5], scaleanchor="x", constrain="domain", constraintoward="top",
        ticksuffix=" ",
    )  # fmt: skip
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(
            showgrid=False, zeroline=False, fixedrange=True, automargin=True, title_font_size=13,
            ticks="", tickangle=0,
        )  # fmt: skip
    figure.update_layout(
        height=height,
        margin={"l": 4, "r": 4, "t": 58, "b": 4},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        hovermode="closest",
        hoverdistance=-1,  # the whole of a cell answers, however large it is drawn
        dragmode=False,
        font_size=13,
    )
    return figure


def _outline(figure: go.Figure, cell: tuple[int, int], colour: str, width: float) -> None:
    i, j = cell
    figure.add_shape(
        type="rect", x0=j - 0.49, x1=j + 0.49, y0=i - 0.49, y1=i + 0.49,
        line={"color": colour, "width": width},
    )  # fmt: skip


def _percent(found: Estimate) -> str:
    return "–" if found.value is None else wording.percent(found.value)


def _interval(found: Estimate) -> str:
    return "" if found.low is None else f"{100 * found.low:.0f}–{100 * found.high:.0f}"


def _folded(sentence: str, width: int = 46) -> str:
    """Return a sentence in lines, for Plotly's hover."""
    import textwrap

    return "<br>".join(textwrap.wrap(sentence, width))
