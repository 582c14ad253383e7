"""What Keras and TensorFlow are told by the environment, before they are imported."""

from __future__ import annotations

import os

SETTINGS = {
    # TensorFlow's start-up notes are for its developers; real errors still come through.
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # Keras may have another backend on this machine.
    "KERAS_BACKEND": "tensorflow",
    # One operation at a time, each on all processors. Where several run side by side, gradients
    # that come together are summed in the order in which their memory happens to be free, and
    # no two trainings are alike to the last digit.
    "TF_NUM_INTEROP_THREADS": "1",
}


def settle() -> None:
    """Set it for this process, each where its environment does not say otherwise."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
