"""Measuring how long a run will take, behind the page: one measurement at a time.

Training never runs inside Streamlit: what measures is a process of its own
(:mod:`kop_core.training.estimating`), and a thread waits for it.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from concurrent.futures import Future, ThreadPoolExecutor

import streamlit as st

from kop_core.errors import KopError
from kop_core.training import estimating
from kop_core.training.config import TrainingConfig
from kop_core.training.estimating import Measurement

_LOG = logging.getLogger(__name__)
# Somebody who turns a number up step by step does not want each measured.
SETTLES = 1.2
_KEPT = 50


class Measuring:
    """One measurement: asked for, under way or done.

    Attributes:
        found: what was measured, or ``None``.
        error: why nothing was, in a sentence, or ``None``.
        stopped: whether it was given up because other settings were wanted.
    """

    def __init__(self, config: TrainingConfig, busy: bool) -> None:
        self.config = config
        self.busy = busy
        self.found: Measurement | None = None
        self.error: str | None = None
        self.began = time.monotonic()
        self._stop = threading.Event()
        self._future: Future[None] | None = None

    @property
    def running(self) -> bool:
        """Whether it waits or is under way."""
        return self._future is not None and not self._future.done()

    @property
    def stopped(self) -> bool:
        """Whether it was given up."""
        return self._stop.is_set()

    def start(self, worker: ThreadPoolExecutor) -> None:
        """Put it in the queue."""
        self._future = worker.submit(self._run)

    def stop(self) -> None:
        """Give it up."""
        self._stop.set()

    def _run(self) -> None:
        if self._stop.wait(SETTLES):
            return
        try:
            self.found = estimating.measure(self.config, self._stop, self.busy)
        except KopError as error:
            self.error = str(error)
        except Exception as error:
            where = "".join(traceback.format_tb(error.__traceback__))
            _LOG.error("A measurement failed (%s):\n%s", type(error).__name__, where)
            self.error = (
                f"The time could not be measured ({type(error).__name__}). Where it failed is in "
                "the terminal that runs KOP."
            )


class _Measurements:
    """What was measured and is being measured, for all sessions of a server."""

    def __init__(self) -> None:
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="kop-estimate")
        self.known: dict[str, Measuring] = {}
        self.lock = threading.Lock()


@st.cache_resource(show_spinner=False)
def _measurements() -> _Measurements:
    return _Measurements()


def known(config: TrainingConfig, busy: bool = False) -> Measuring | None:
    """Return the measurement of these settings that is done or under way, if there is one.

    What was measured while another run trained is not good enough for a free machine.
    """
    found = _measurements().known.get(estimating.key(config))
    if found is None or found.stopped or (found.busy and not busy and not found.running):
        return None
    return found


def ask(config: TrainingConfig, busy: bool = False) -> Measuring:
    """Return the measurement of these settings, begun now unless there is one. Never waits.

    Args:
        config: the settings.
        busy: whether a run is training.
    """
    all_of = _measurements()
    with all_of.lock:
        found = known(config, busy)
        if found is None:
            found = Measuring(config, busy)
            all_of.known[estimating.key(config)] = found
            while len(all_of.known) > _KEPT:
                all_of.known.pop(next(iter(all_of.known))).stop()
            found.start(all_of.worker)
    return found


def forget(config: TrainingConfig) -> None:
    """Forget a measurement that failed, so that it can be tried again."""
    found = _measurements().known.pop(estimating.key(config), None)
    if found is not None:
        found.stop()
