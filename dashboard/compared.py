"""What the compare page measures, kept so that it opens at once the next time.

Everything is keyed by the content of the predictions: other predictions, other figures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import streamlit as st

from dashboard import loading
from kop_core import timing
from kop_core.errors import KopError
from kop_core.evaluation import Predictions, compared, comparison
from kop_core.evaluation.compared import METRICS, Compared, Entry, Measured
from kop_core.evaluation.comparison import Difference
from kop_core.model_store import Model
from kop_core.timing import Speed


def read(models: Sequence[Model]) -> tuple[list[Entry], list[tuple[str, str]]]:
    """Return the models measured, and those that cannot be compared with the reason."""
    entries, failed = compared.read(models, _measured)
    speeds = _speeds()
    return [replace(e, speed=speeds.get(_version(e.model))) for e in entries], failed


def compare(
    entries: Sequence[Entry],
    figures: Sequence[str],
    with_ensemble: bool,
    failed: Sequence[tuple[str, str]],
) -> Compared:
    """Return models side by side; see :func:`kop_core.evaluation.compared.compare`."""
    return compared.compare(entries, figures, with_ensemble, failed, _measured, _differences)


def _digest(predictions: Predictions) -> str:
    digest = hashlib.sha256()
    for column in (predictions.files, predictions.radiographs):
        digest.update("\0".join(column).encode() + b"\n")
    for numbers in (predictions.true.astype("i8"), predictions.probabilities):
        digest.update(numbers.tobytes())
    return digest.hexdigest()


def _measured(predictions: Predictions) -> Measured:
    return _measured_of(_digest(predictions), predictions)


@st.cache_data(max_entries=64, show_spinner=False)
def _measured_of(digest: str, _predictions: Predictions) -> Measured:
    return compared.measure(_predictions)


def _differences(
    tables: Sequence[Predictions], figures: Sequence[str]
) -> dict[tuple[int, int], dict[str, Difference]]:
    """Return the tests of some figures; all figures are tested at once, and each pair once."""
    found = {}
    for one, other in combinations(range(len(tables)), 2):
        pair = (tables[one], tables[other])
        by_name = _difference(tuple(_digest(table) for table in pair), pair)
        found[one, other] = {name: by_name[name] for name in figures}
    return found


@st.cache_data(max_entries=256, show_spinner=False)
def _difference(
    digests: tuple[str, ...], _pair: tuple[Predictions, Predictions]
) -> dict[str, Difference]:
    return comparison.differences(_pair, METRICS)[0, 1]


# Speed: measured when it is asked for, and kept as long as this dashboard runs.


@st.cache_resource(show_spinner=False)
def _speeds() -> dict[tuple[str, str], Speed]:
    return {}


def _version(model: Model) -> tuple[str, str]:
    return str(model.folder), model.version


def measure_speed(entries: Sequence[Entry]) -> list[str]:
    """Measure the models that were not measured yet; TensorFlow is started for it.

    Returns:
        Sentences on those that could not be measured.
    """
    wrong = []
    missing = [e for e in entries if not e.members and e.speed is None]
    bar = st.progress(0.0)
    for done, entry in enumerate(missing):
        bar.progress(done / len(missing), f"Model {done + 1} of {len(missing)}: loading, measuring")
        try:
            classifier = loading.start_loading(entry.model).result()
            _speeds()[_version(entry.model)] = timing.measure(classifier)
        except (KopError, OSError) as error:
            wrong.append(f"{entry.label}: its speed was not measured. {error}")
    bar.empty()
    return wrong
