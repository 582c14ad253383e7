"""Evaluation, from ``predictions.csv`` alone. Nothing here imports a deep-learning library."""

from kop_core.evaluation.calibration import apply_temperature
from kop_core.evaluation.intervals import Estimate
from kop_core.evaluation.metrics import Evaluation, evaluate
from kop_core.evaluation.predictions import Predictions
from kop_core.evaluation.reporting import Report, report

__all__ = [
    "Estimate",
    "Evaluation",
    "Predictions",
    "Report",
    "apply_temperature",
    "evaluate",
    "report",
]
