"""Training: what a run is set to, and the run itself."""

from kop_core.training.config import TrainingConfig
from kop_core.training.precision import best_precision
from kop_core.training.trainer import Progress, StopAsked, resume, train

__all__ = ["Progress", "StopAsked", "TrainingConfig", "best_precision", "resume", "train"]
