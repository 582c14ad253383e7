"""Plotly figures, as pure functions of values. Nothing here needs a model or a browser."""

from kop_core.figures.classify import CHART_CONFIG, PICTURE_CONFIG, pictures, probability_bars

__all__ = ["CHART_CONFIG", "PICTURE_CONFIG", "pictures", "probability_bars"]
