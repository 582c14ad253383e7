"""Threads for the work of an audit, that stop when the audit is stopped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


def workers() -> int:
    """Return how many threads work at a time: one a core, eight at most."""
    return min(8, os.cpu_count() or 1)


@contextmanager
def pool() -> Iterator[ThreadPoolExecutor]:
    """Yield a pool of threads; if the work is stopped, what has not begun is dropped."""
    threads = ThreadPoolExecutor(workers())
    try:
        yield threads
    finally:
        threads.shutdown(wait=True, cancel_futures=True)
