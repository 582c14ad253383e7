"""Loading models behind the pages: TensorFlow takes seconds, and nobody should wait for it."""

from __future__ import annotations

import gc
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING

import streamlit as st
from streamlit.runtime.scriptrunner import script_runner

from kop_core import model_store
from kop_core.errors import ModelError
from kop_core.model_store import Model

if TYPE_CHECKING:
    from kop_core.classifier import Classifier


def keep_keras() -> None:
    """Keep Streamlit from resetting Keras whenever a page has run, in anyone's session.

    It does so for scripts that build a network anew each time. Here a model may be loading or
    be exported behind another page just then, which would lose its scopes half-way, and what
    TensorFlow has compiled would be compiled again. Nothing here needs it: no page leaves
    anything behind in Keras.
    """
    script_runner._clean_problem_modules = lambda: None


@cache
def _start_tensorflow() -> None:
    """Import what loading needs, and have the collector of garbage pass it over from now on.

    Streamlit calls the collector after every run of a page. Looking through TensorFlow and
    everything else that is here to stay takes it 0.2 s, each time.
    """
    import keras  # noqa: F401
    import tensorflow  # noqa: F401

    gc.collect()
    gc.freeze()


@st.cache_resource
def _worker() -> ThreadPoolExecutor:
    """One thread for all sessions: two at once would import TensorFlow on top of each other."""
    return ThreadPoolExecutor(1, thread_name_prefix="kop-loading")


def start_loading(model: Model) -> Future[Classifier]:
    """Begin to load a model, or return the loading under way or done. Never waits.

    What went wrong is in what is returned, also where the model's folder is gone.
    """
    try:
        key = (str(model.folder), (model.folder / model_store.CARD).stat().st_mtime_ns)
    except OSError:
        gone: Future[Classifier] = Future()
        gone.set_exception(
            ModelError(
                f"The model {model.id} is no longer here: it was deleted or renamed. Choose "
                "another."
            )
        )
        return gone
    future = _loading(*key, model)
    if future.done() and future.exception() is not None:
        _loading.clear(*key, model)  # the folder may be mended by the next time
    return future


@st.cache_resource(max_entries=3, show_spinner=False)
def _loading(folder: str, changed: int, _model: Model) -> Future[Classifier]:
    return _worker().submit(_load, _model)


def _load(model: Model) -> Classifier:
    import numpy as np

    from kop_core.classifier import Classifier
    from kop_core.radiographs import Radiograph

    try:
        _start_tensorflow()
        classifier = Classifier(model)
    except ImportError as error:
        raise ModelError(
            f"TensorFlow cannot be started on this machine ({error}). Install the requirements "
            "again; processors without AVX instructions are not supported by it."
        ) from error
    # The first pass compiles: do that too before anyone asks.
    blank = Radiograph(np.zeros((64, 64), np.float32), "blank", "PNG", 8, "")
    classifier.classify(blank, explain="gradcam")
    return classifier
