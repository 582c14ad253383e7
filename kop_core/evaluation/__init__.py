"""Evaluation, from ``predictions.csv`` alone. Nothing here imports a deep-learning library."""

from kop_core.evaluation.metrics import Estimate, Evaluation, evaluate
from kop_core.evaluation.predictions import Predictions

__all__ = ["Estimate", "Evaluation", "Predictions", "evaluate"]
