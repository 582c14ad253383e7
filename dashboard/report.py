"""What the model report page measures, kept so that it opens at once the next time.

Everything is keyed by the checksum of the predictions: other predictions, other figures.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from kop_core import model_store
from kop_core.errors import ModelError
from kop_core.evaluation import Predictions, Report, report
from kop_core.evaluation.conformal import PredictionSets, prediction_sets
from kop_core.evaluation.operating import OperatingPoint, operating_points
from kop_core.model_store import PREDICTIONS, RESTORE, Model


def measured(model: Model) -> tuple[str, Report]:
    """Return the checksum of a model's predictions and everything that is measured of them.

    Raises:
        ModelError: if they cannot be read, were altered after the card was written, or the card
            was.
        DataSetError: if they are no table of predictions.
    """
    try:
        checksum = model_store.checksum(model.folder / PREDICTIONS)
    except OSError as error:
        raise ModelError(
            f"The predictions of {model.title} cannot be read ({error.strerror}). {RESTORE}"
        ) from error
    if checksum != model.card["checksums"][PREDICTIONS]:
        raise ModelError(
            f"The file {PREDICTIONS} of the model {model.id} was altered after the card was "
            f"written, so nothing is reported of it. {RESTORE}"
        )
    found = _report(checksum, model.folder / PREDICTIONS)
    model_store.require_figures(model, found.evaluation)
    return checksum, found


@st.cache_data(max_entries=16, show_spinner=False)
def _report(checksum: str, _path: Path) -> Report:
    return report(Predictions.read(_path))


@st.cache_data(max_entries=64, show_spinner=False)
def operating(checksum: str, wished: float, _path: Path) -> tuple[OperatingPoint, ...]:
    """Return the operating points of a target sensitivity."""
    return operating_points(Predictions.read(_path), (wished,))


@st.cache_data(max_entries=64, show_spinner=False)
def conformal(checksum: str, coverage: float, _path: Path) -> PredictionSets:
    """Return the conformal sets of a target coverage."""
    return prediction_sets(Predictions.read(_path), coverage)
