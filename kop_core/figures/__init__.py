"""Plotly figures, as pure functions of values. Nothing here needs a model or a browser."""

from kop_core.figures.classify import PICTURE_CONFIG, pictures, probability_bars
from kop_core.figures.style import chart_config

__all__ = ["PICTURE_CONFIG", "chart_config", "pictures", "probability_bars"]
