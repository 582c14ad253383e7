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
