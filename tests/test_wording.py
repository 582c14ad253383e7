"""Words that several pages share."""

from __future__ import annotations

import pytest

from kop_core import wording


def test_what_computed_a_run_is_said():
    kept = {"python": "3.12.3", "keras": "3.15.1", "torch": "2.11.0"}
    torch = {**kept, "backend": "torch", "gpu": "NVIDIA H200"}
    assert wording.computed_with(torch) == "PyTorch 2.11.0 on NVIDIA H200"
    said = "python 3.12.3, keras 3.15.1, torch 2.11.0"
    assert wording.software(torch) == f"{said}, computed with PyTorch 2.11.0 on NVIDIA H200"
    here = {"tensorflow": "2.21.0", "jax": "0.10.2", "backend": "tensorflow"}
    assert wording.computed_with(here) == "TensorFlow 2.21.0 on the processor"
    # Runs of an older KOP.
    assert wording.computed_with({"tensorflow": "2.21.0"}) == "TensorFlow 2.21.0"
    assert wording.computed_with({"tensorflow": "2.21.0", "jax": "0.10.2"}) == "not recorded"
    assert wording.computed_with({}) == "not recorded"
    assert wording.software(kept) == said


@pytest.mark.parametrize(
    ("column", "name", "within"),
    [
        ("age", "Age", "age"),
        ("t_score", "T-score", "T-score"),
        ("Z-score", "Z-score", "Z-score"),
        ("bmi", "BMI", "BMI"),
        ("height_m", "Height (m)", "height (m)"),
        ("age years", "Age (years)", "age (years)"),
        ("m", "M", "M"),
        ("history_of_fracture", "History of fracture", "history of fracture"),
        ("DXA site", "DXA site", "DXA site"),
        ("_", "_", "_"),
    ],
)
def test_a_patient_variable_is_called_as_a_reader_would(column, name, within):
    assert wording.variable(column) == name
    assert wording.within(name) == within


def _card(low: float | None, **others) -> dict:
    value = None if low is None else 0.41
    high = None if low is None else 0.55
    figure = {"value": value, "low": low, "high": high}
    return {"evaluation": {"metrics": {"balanced_accuracy": figure}}, **others}


def test_a_model_that_guesses_is_said_to_guess_beside_every_verdict():
    (said,) = wording.cautions(_card(0.29))
    assert "cannot be told from guessing" in said
    assert "balanced accuracy is 41 % (95 % CI 29–55), where guessing has 33 %" in said
    assert wording.cautions(_card(1 / 3)) == (said.replace("29–55", "33–55"),)
    assert wording.cautions(_card(0.34)) == ()
    assert wording.cautions(_card(0.29, cautions=["A fault."])) == (said, "A fault.")
    assert wording.cautions(_card(0.34, cautions=["A fault."])) == ("A fault.",)


def test_of_a_figure_that_is_not_defined_nothing_is_said():
    assert wording.cautions(_card(None)) == ()
    assert wording.cautions({"evaluation": {"metrics": {}}, "cautions": ["A."]}) == ("A.",)
