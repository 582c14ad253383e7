"""Words that several pages share."""

from __future__ import annotations

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
