"""Figures of the Classify page: bars of the classes, pictures that zoom together."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from kop_core import overlay, wording
from kop_core.classes import CLASSES
from kop_core.prediction import Prediction

# What Streamlit hands to Plotly beside a figure: only the buttons that serve.
PICTURE_CONFIG = {
    "displaylogo": False,
    "scrollZoom": True,
    "displayModeBar": True,
    "modeBarButtons": [["zoomIn2d", "zoomOut2d", "pan2d", "zoom2d", "resetScale2d"]],
}


def probability_bars(prediction: Prediction) -> go.Figure:
    """Return one bar a class, in the order of the classes, healthy on top."""
    what = "probability" if prediction.calibrated else "score"
    values = [prediction.probabilities[c.name] for c in CLASSES]
    figure = go.Figure(
        go.Bar(
            x=values,
            y=[c.label for c in CLASSES],
            orientation="h",
            marker_color=[c.colour for c in CLASSES],
            text=[wording.percent(v) for v in values],
            textposition="outside",
            cliponaxis=False,
            customdata=[wording.percent(v) for v in values],
            hovertemplate=f"%{{y}}: {what} %{{customdata}}.<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", ticksuffix="  ", fixedrange=True)
    figure.update_xaxes(
        range=[0, 1.16], tickvals=[0, 0.5, 1], ticktext=["0 %", "50 %", "100 %"], fixedrange=True
    )
    figure.update_layout(height=168, margin={"l": 0, "r": 0, "t": 4, "b": 22}, bargap=0.35)
    return figure


def pictures(
    shown: Sequence[np.ndarray], titles: Sequence[str], colour_bar: bool, height: int
) -> go.Figure:
    """Return pictures side by side that zoom and pan together.

    Args:
        shown: uint8 pictures of one size, (h, w) or (h, w, 3).
        titles: a title each; none is drawn over a single picture.
        colour_bar: whether to show what the colours of a map of influence mean.
        height: of the figure, in pixels.
    """
    tall, wide = shown[0].shape[:2]
    many = len(shown) > 1
    figure = make_subplots(
        1,
        len(shown),
        shared_xaxes="all",
        shared_yaxes="all",
        horizontal_spacing=0.01,
        subplot_titles=titles if many else None,
    )
    for place, picture in enumerate(shown, start=1):
        source = "data:image/png;base64," + base64.b64encode(overlay.to_png(picture)).decode()
        figure.add_layout_image(
            source=source,
            x=0,
            y=0,
            sizex=wide,
            sizey=tall,
            sizing="stretch",
            layer="below",
            xref="x",
            yref="y",
            row=1,
            col=place,
        )
        # Plotly draws axes only where there is a trace.
        figure.add_trace(
            go.Scatter(
                x=[0, wide],
                y=[0, tall],
                mode="markers",
                marker_opacity=0,
                hoverinfo="skip",
                showlegend=False,
            ),
            row=1,
            col=place,
        )
    figure.update_xaxes(visible=False, range=[0, wide], constrain="domain")
    figure.update_yaxes(visible=False, range=[tall, 0], constrain="domain", constraintoward="top")
    for place in range(1, len(shown) + 1):
        figure.update_yaxes(scaleanchor="x" if place == 1 else f"x{place}", row=1, col=place)
    if colour_bar:
        figure.add_trace(_colour_bar())
    figure.update_layout(
        height=height,
        margin={"l": 0, "r": 0, "t": 26 if many else 0, "b": 0},
        dragmode="pan",
        plot_bgcolor="rgba(0,0,0,0)",
        uirevision="picture",  # zoom stays while sliders move
    )
    return figure


def _colour_bar() -> go.Scatter:
    return go.Scatter(
        x=[None],
        y=[None],
        mode="markers",
        hoverinfo="skip",
        showlegend=False,
        marker={
            "color": [0, 1],
            "cmin": 0,
            "cmax": 1,
            "colorscale": [list(stop) for stop in overlay.colour_stops()],
            "showscale": True,
            "colorbar": {
                "title": {"text": "Influence", "side": "right"},
                "tickvals": [0, 1],
                "ticktext": ["none", "most"],
                "thickness": 10,
                "len": 0.5,
                "x": 1.0,
                "xpad": 6,
            },
        },
    )
