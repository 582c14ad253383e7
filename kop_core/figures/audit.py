"""Figures of an audit: what a data set holds, how often, and what gives its classes away.

Each takes plain values of a report. Backgrounds are transparent and fills translucent, so
that the page's own text colour reads on them in light and in dark.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from kop_core import wording
from kop_core.classes import CLASS_NAMES, by_name
from kop_core.figures.style import CLEAR, GRID, GUIDE, PERCENT

if TYPE_CHECKING:
    from kop_core.datasets.audit.report import FileFacts, Leakage, Shortcut
    from kop_core.evaluation import Estimate

_GREY = "#7A8B94"  # no colour of a class
# Shades for classes that are none of ours, and markers: never colour alone.
_OTHERS = ("#7A8B94", "#009E73", "#9467BD", "#8C6D31", "#5D6D7E", "#C77CA0")
_MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")
_STRENGTHS = (
    ("identical", "Identical", "a byte-identical copy"),
    ("near", "Identical or saved anew", "a byte-identical copy or the picture saved anew"),
    ("any", "Any, parts included", "some picture of the same radiograph"),
)
_PROTOCOLS = {"random": "random split", "radiograph": "by radiograph", "patient": "by patient"}


def class_label(name: str) -> str:
    """Return a class's name as it begins a sentence; a folder's own name stays as it is."""
    return by_name(name).label if name in CLASS_NAMES else name or "No class"


def _label(name: str) -> str:
    """Return a class's name for a figure. Plotly reads marks, and folders are called anything."""
    return html.escape(class_label(name), quote=False)


def class_colour(name: str, others: Sequence[str]) -> str:
    """Return a class's colour; one that is none of ours has the shade of its place."""
    if name in CLASS_NAMES:
        return by_name(name).colour
    return _OTHERS[sorted(others).index(name) % len(_OTHERS)] if name in others else _GREY


def counts(by_file: Mapping[str, int], by_radiograph: Mapping[str, int]) -> go.Figure:
    """Return bars of each class: its files, and the radiographs that they show.

    Args:
        by_file: files of each class.
        by_radiograph: radiographs of each class; one that is filed under several classes
            counts in each.
    """
    names = [n for n in by_file if by_file[n] or n in CLASS_NAMES]
    figure = go.Figure()
    for title, found in (("files", by_file), ("radiographs", by_radiograph)):
        for name in names:
            value, colour = found.get(name, 0), class_colour(name, _others(names))
            figure.add_bar(
                name=title,
                offsetgroup=title,
                y=[_label(name)],
                x=[value],
                orientation="h",
                # Files are hollow, radiographs solid. No patterns: inside Streamlit, where the
                # address of the page changes, browsers lose them.
                marker={
                    "color": _translucent(colour) if title == "files" else colour,
                    "line": {"color": colour, "width": 1.5},
                },
                text=[_counted(value, title)],
                textposition="outside",
                cliponaxis=False,
                customdata=[f"{_label(name)}: {_counted(value, title)}."],
                hovertemplate="%{customdata}<extra></extra>",
            )
    top = max([*by_file.values(), 1])
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(range=[0, 1.28 * top], showticklabels=False, showgrid=False)
    figure.update_yaxes(showgrid=False)
    return _drawn(figure, height=40 + 66 * len(names), legend=False)


def _counted(value: int, what: str) -> str:
    return f"{value:,} {what if value != 1 else what.removesuffix('s')}"


def group_sizes(sizes: Sequence[int]) -> go.Figure:
    """Return how many radiographs are shown by one file, by two, and so on.

    Args:
        sizes: files of each radiograph.
    """
    found = Counter(sizes)
    values = sorted(found)
    figure = go.Figure(
        go.Bar(
            x=values,
            y=[found[v] for v in values],
            marker_color=[_GREY if v == 1 else "#1F6F8B" for v in values],
            customdata=[_size_sentence(found[v], v) for v in values],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    most = max(values, default=1)
    figure.update_xaxes(
        title="Files that show one radiograph",
        range=[0.4, max(most, 3) + 0.6],
        tickmode="linear" if most <= 16 else "auto",
        dtick=1 if most <= 16 else None,
    )
    figure.update_yaxes(title="Radiographs")
    return _drawn(figure, height=260, legend=False)


def _size_sentence(radiographs: int, files: int) -> str:
    several = "1 radiograph is" if radiographs == 1 else f"{radiographs:,} radiographs are"
    return f"{several} shown by {f'{files:,} files each' if files > 1 else 'one file only'}."


def shortcuts(
    found: Sequence[Shortcut], metric: str = "Files classified as they are filed"
) -> go.Figure:
    """Return how well each shortcut does by random split and by radiograph.

    A dot is measured by random split of the files, a square by radiograph, each with its
    95 % interval; the line is what calling everything the largest class would score.
    """
    figure = go.Figure()
    rows = [s.title for s in found]
    for name, attribute, symbol, colour, offset in (
        ("Random split of the files", "random", "circle", "#B3541E", -0.16),
        ("Split by radiograph", "by_radiograph", "square", "#1F6F8B", 0.16),
    ):
        measured = [(i, getattr(s, attribute)) for i, s in enumerate(found)]
        known = [(i, e) for i, e in measured if e is not None and e.value is not None]
        figure.add_scatter(
            name=name,
            x=[e.value for _, e in known],
            y=[i + offset for i, _ in known],
            mode="markers+text",
            marker={"symbol": symbol, "size": 12, "color": colour},
            text=[wording.percent(e.value) for _, e in known],
            textposition="top center" if offset < 0 else "bottom center",
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [(e.high or e.value) - e.value for _, e in known],
                "arrayminus": [
                    e.value - (e.low if e.low is not None else e.value) for _, e in known
                ],
                "color": colour,
                "thickness": 2,
                "width": 5,
            },
            customdata=[_shortcut_sentence(rows[i], name, e) for i, e in known],
            hovertemplate="%{customdata}<extra></extra>",
        )
    for share in sorted({s.majority for s in found}):
        figure.add_vline(x=share, line={"color": GUIDE, "dash": "dash", "width": 1.5})
        figure.add_annotation(
            x=share,
            y=1.0,
            yref="paper",
            yanchor="bottom",
            showarrow=False,
            text=f"Largest class: {wording.percent(share)}",
        )
    figure.update_xaxes(title="Files classified as they are filed", range=[0, 1.04], **PERCENT)
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[_wrapped(r) for r in rows],
        range=[len(rows) - 0.45, -0.55],
        showgrid=False,
    )
    figure = _drawn(figure, height=130 + 92 * max(len(rows), 1), legend=True)
    return figure.update_layout(margin_t=26)


def _shortcut_sentence(title: str, split: str, found: Estimate) -> str:
    interval = (
        "" if found.low is None else f" (95 % CI {100 * found.low:.0f}–{100 * found.high:.0f})"
    )
    return f"{title}, {split.lower()}: {wording.percent(found.value)}{interval}."


def leakage(found: Sequence[Leakage]) -> go.Figure:
    """Return the share of the test files with a copy in training, by how close the copy is.

    Several splits of one protocol are drawn as their mean, with the range in the hover.
    """
    figure = go.Figure()
    protocols = list(dict.fromkeys(item.protocol for item in found))
    many = len(protocols) > 1
    colours = {"random": "#B3541E", "radiograph": "#1F6F8B"}
    for protocol in protocols:
        some = [item for item in found if item.protocol == protocol and item.test_files]
        shares = {n: [getattr(i, n) / i.test_files for i in some] for n, _, _ in _STRENGTHS}
        title = _PROTOCOLS.get(protocol, protocol)
        means = [float(np.mean(shares[n])) if some else 0.0 for n, _, _ in _STRENGTHS]
        figure.add_bar(
            name=title[0].upper() + title[1:],
            orientation="h",
            y=[label for _, label, _ in _STRENGTHS],
            x=means,
            marker_color=colours.get(protocol, _GREY),
            text=[wording.percent(m) + (f", {title}" if many else "") for m in means],
            textposition="outside",
            cliponaxis=False,
            customdata=[_leakage_sentence(title, words, shares[n], some)
                        for n, _, words in _STRENGTHS],
            hovertemplate="%{customdata}<extra></extra>",
        )  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(
        range=[0, 1.65],  # room for the words beside the longest bar
        tickvals=[0, 0.5, 1],
        ticktext=["0 %", "50 %", "100 %"],
        tickangle=0,
    )
    return _drawn(figure, height=100 + 66 * max(len(protocols), 1), legend=False)


def _leakage_sentence(split: str, copy: str, shares: list[float], some: Sequence[Leakage]) -> str:
    if not some:
        return f"{split}: no test file."
    said = f"{split[0].upper()}{split[1:]}: {wording.percent(float(np.mean(shares)))} of the test "
    said += f"files have {copy} in training"
    if len(some) == 1:
        return f"{said} ({some[0].test_files:,} test files, seed {some[0].seed})."
    low, high = wording.percent(min(shares)), wording.percent(max(shares))
    return f"{said} (mean of {len(some)} splits, {low} to {high})."


def picture_sizes(files: Sequence[FileFacts]) -> go.Figure:
    """Return width against height; the larger the marker, the more files have that size."""
    figure = go.Figure()
    names = _in_order({f.true for f in files})
    found = Counter((f.true, f.width, f.height) for f in files)
    most = max(found.values(), default=1)
    for place, name in enumerate(names):
        rows = [(w, h, n) for (true, w, h), n in sorted(found.items()) if true == name]
        figure.add_scatter(
            name=_label(name),
            x=[w for w, _, _ in rows],
            y=[h for _, h, _ in rows],
            mode="markers",
            marker={
                "symbol": _MARKERS[place % len(_MARKERS)],
                "color": class_colour(name, _others(names)),
                "opacity": 0.6,
                "size": [6 + 26 * (n / most) ** 0.5 for _, _, n in rows],
                "line": {"width": 0},
            },
            customdata=[_size_of_files(_label(name), *row) for row in rows],
            hovertemplate="%{customdata}<extra></extra>",
        )
    figure.update_xaxes(title="Width, pixels", rangemode="tozero")
    figure.update_yaxes(title="Height, pixels", rangemode="tozero")
    return _drawn(figure, height=340, legend=True)


def _size_of_files(label: str, width: int, height: int, files: int) -> str:
    one = f"1 file has {width:,} × {height:,} pixels"
    return f"{label}: {one if files == 1 else one.replace('1 file has', f'{files:,} files have')}."


def spread_by_class(
    files: Sequence[FileFacts], attribute: str, title: str, unit: str = ""
) -> go.Figure:
    """Return a box a class of a fact of its files: quartiles, and the whole range.

    Args:
        files: the readable files.
        attribute: of :class:`FileFacts`, such as ``"contrast"``.
        title: what it is, for the axis.
        unit: written after the numbers.
    """
    by_class = {}
    for name in _in_order({f.true for f in files}):
        values = [getattr(f, attribute) for f in files if f.true == name]
        five = np.percentile(values, [0, 25, 50, 75, 100])
        names = ("min", "low_quartile", "median", "high_quartile", "max")
        by_class[name] = {"n": len(values), "missing": 0, **dict(zip(names, map(float, five)))}
    return _boxes(by_class, title, "files", unit)


def patient_variable(
    title: str, variable: Mapping[str, Any], counted: str = "files"
) -> go.Figure | None:
    """Return a patient variable by class: boxes of numbers, bars of categories.

    Args:
        title: the variable's.
        variable: one of ``summarise_patients(data)["variables"]``.
        counted: what was counted, ``"patients"`` or ``"files"``.

    Returns:
        The figure, or ``None`` for text, of which nothing is shown.
    """
    title = html.escape(wording.variable(title), quote=False)
    if variable["kind"] == "number":
        return _boxes(variable["by_class"], title, counted)
    if variable["kind"] == "category":
        return _shares(variable["by_class"], title, counted)
    return None


def _boxes(
    by_class: Mapping[str, Mapping[str, Any]], title: str, counted: str, unit: str = ""
) -> go.Figure:
    figure = go.Figure()
    names = [n for n in by_class if by_class[n]["n"]]
    for name in names:
        found = by_class[name]
        colour = class_colour(name, _others(names))
        figure.add_box(
            name=_label(name),
            y=[_label(name)],
            orientation="h",
            q1=[found["low_quartile"]],
            median=[found["median"]],
            q3=[found["high_quartile"]],
            lowerfence=[found["min"]],
            upperfence=[found["max"]],
            marker_color=colour,
            fillcolor=_translucent(colour),
            hoverinfo="skip",
        )
        # The box's own hover gives five labels on top of one another: one sentence instead.
        figure.add_scatter(
            x=[found["median"]],
            y=[_label(name)],
            mode="markers",
            marker={"size": 30, "opacity": 0},
            showlegend=False,
            customdata=[_box_sentence(_label(name), title, found, counted, unit)],
            hovertemplate="%{customdata}<extra></extra>",
        )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(title=title + (f", {unit}" if unit else ""))
    return _drawn(figure, height=110 + 44 * len(names), legend=False)


def _box_sentence(label: str, title: str, found: Mapping[str, Any], counted: str, unit: str) -> str:
    numbers = [_short(found[k]) for k in ("median", "low_quartile", "high_quartile", "min", "max")]
    after = f" {unit}" if unit else ""
    missing = f", not known of {found['missing']:,}" if found["missing"] else ""
    return (
        f"{label}: median {wording.within(title)} {numbers[0]}{after}, half of them between "
        f"{numbers[1]} and {numbers[2]}, <br>all between {numbers[3]} and {numbers[4]} "
        f"({found['n']:,} {counted}{missing})."
    )


def _shares(by_class: Mapping[str, Mapping[str, Any]], title: str, counted: str) -> go.Figure:
    names = [n for n in by_class if by_class[n]["n"]]
    values = list(dict.fromkeys(v for n in names for v in by_class[n]["counts"]))
    figure = go.Figure()
    for name in names:
        found = by_class[name]
        shares = [found["counts"].get(v, 0) / found["n"] for v in values]
        figure.add_bar(
            name=_label(name),
            orientation="h",
            y=[html.escape(v, quote=False) for v in values],
            x=shares,
            marker_color=class_colour(name, _others(names)),
            text=[wording.percent(s) for s in shares],
            textposition="outside",
            cliponaxis=False,
            customdata=[
                f"{_label(name)}: {wording.within(title)} is {html.escape(v, quote=False)} for "
                f"{found['counts'].get(v, 0):,} of "
                f"{found['n']:,} {counted}."
                for v in values
            ],
            hovertemplate="%{customdata}<extra></extra>",
        )
    figure.update_yaxes(autorange="reversed", showgrid=False, type="category")
    figure.update_xaxes(title=f"{title}, share of the class", range=[0, 1.14], **PERCENT)
    height = 110 + 20 * len(values) * max(len(names), 1)
    return _drawn(figure, height=max(height, 180), legend=len(names) > 1)


def _in_order(names: set[str]) -> list[str]:
    return [n for n in CLASS_NAMES if n in names] + sorted(names - set(CLASS_NAMES))


def _others(names: Sequence[str]) -> list[str]:
    return [n for n in names if n not in CLASS_NAMES]


def _translucent(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.3)"


def _short(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def _wrapped(text: str, width: int = 26) -> str:
    """Break a long label into lines, between words."""
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "<br>".join(lines)


def _drawn(figure: go.Figure, height: int, legend: bool) -> go.Figure:
    """Set what all of them share: size, grid, legend below, nothing that zooms."""
    figure.update_xaxes(
        gridcolor=GRID, zerolinecolor=GRID, fixedrange=True, automargin=True, ticks=""
    )
    figure.update_yaxes(
        gridcolor=GRID, zerolinecolor=GRID, fixedrange=True, automargin=True, ticksuffix="  "
    )
    return figure.update_layout(
        height=height,
        # Below the axis and its title, however high the figure is.
        margin={"l": 0, "r": 8, "t": 8, "b": 84 if legend else 8},
        bargap=0.3,
        showlegend=legend,
        legend={"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"},
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        hoverlabel={"align": "left"},
    )
