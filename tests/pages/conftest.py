"""What the tests of pages share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def quick_pages():
    """Streamlit collects garbage after every run of a page.

    In a process in which other tests have built networks that takes seconds, each time.
    """
    from streamlit import config

    before = config.get_option("runner.postScriptGC")
    config.set_option("runner.postScriptGC", False)
    yield
    config.set_option("runner.postScriptGC", before)
