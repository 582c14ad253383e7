"""Everything that is measured of one model, as one value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kop_core.evaluation.calibration import Calibration, calibration
from kop_core.evaluation.conformal import COVERAGE, PredictionSets, prediction_sets
from kop_core.evaluation.curves import Curve, precision_recall_curves, roc_curves
from kop_core.evaluation.halves import halves
from kop_core.evaluation.intervals import DRAWS
from kop_core.evaluation.metrics import Evaluation, evaluate
from kop_core.evaluation.operating import SENSITIVITIES, OperatingPoint, operating_points
from kop_core.evaluation.predictions import Predictions


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that is measured of one model on its test part.

    Attributes:
        evaluation: metrics and confusion matrix, on the whole test part.
        roc: ROC curves by class.
        precision_recall: precision-recall curves by class.
        calibration: reliability, and what temperature scaling does.
        operating_points: thresholds for target sensitivities.
        conformal: sets of classes at a target coverage.
    """

    evaluation: Evaluation
    roc: tuple[Curve, ...]
    precision_recall: tuple[Curve, ...]
    calibration: Calibration
    operating_points: tuple[OperatingPoint, ...]
    conformal: PredictionSets

    def get_config(self) -> dict[str, Any]:
        """Return it as plain values, without the points of the curves."""
        measured = self.evaluation.get_config()
        return {
            "images": measured["images"],
            "radiographs": measured["radiographs"],
            "interval": measured["interval"],
            "metrics": {name: e.get_config() for name, e in self.evaluation.metrics.items()},
            "confusion": measured["confusion"],
            "confusion_shares": [[e.value for e in row] for row in self.evaluation.shares],
            "confusion_share_intervals": [
                [[e.low, e.high] for e in row] for row in self.evaluation.shares
            ],
            "calibration": self.calibration.get_config(),
            "operating_points": [p.get_config() for p in self.operating_points],
            "conformal": self.conformal.get_config(),
        }


def report(
    predictions: Predictions,
    sensitivities: Sequence[float] = SENSITIVITIES,
    coverage: float = COVERAGE,
    draws: int = DRAWS,
    seed: int = 0,
) -> Report:
    """Measure everything: about two seconds for some hundred images.

    Args:
        predictions: the test part.
        sensitivities: targets of the operating points.
        coverage: target of the conformal sets.
        draws: how often the bootstrap draws.
        seed: of the bootstrap and of the cut in two halves.

    Raises:
        ValueError: if a target sensitivity or coverage is no share.
    """
    cut = halves(predictions, seed)
    return Report(
        evaluate(predictions, draws, seed),
        roc_curves(predictions),
        precision_recall_curves(predictions),
        calibration(predictions, draws, seed, cut),
        operating_points(predictions, sensitivities, draws, seed, cut),
        prediction_sets(predictions, coverage, draws, seed, cut),
    )
