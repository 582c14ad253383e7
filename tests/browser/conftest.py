"""A real server and a real browser: Playwright for Python driving Debian's Chromium."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT, missing

# Without these Chromium looks up hosts of its maker's, again and again.
CHROMIUM_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Try a browser's test once more if it fails, and say so in the summary.

    Two browsers, two servers and their trainings share two processors: a page may then be
    drawn in another order than ever before, or later than any patience.
    """
    here = Path(__file__).resolve().parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def chromium() -> Iterator:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        missing("needs Chromium (on Debian: apt install chromium)")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def served_models(tmp_path_factory, shipped) -> Path:
    """Two models: the one that is shipped, and a copy under another name."""
    from kop_core import model_store

    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(shipped.folder, folder / shipped.id)
    model_store.publish(shipped.folder, "second", folder, title="Second model")
    model_store.make_default(shipped.id, folder)
    return folder


@pytest.fixture(scope="session")
def runs_folder(tmp_path_factory) -> Iterator[Path]:
    """Where the dashboard keeps its runs; what is at work there ends with the tests."""
    folder = tmp_path_factory.mktemp("runs")
    yield folder
    from kop_core.training import runs

    for run in runs.list_runs(folder):
        if run.alive and run.progress["pid"]:
            os.kill(run.progress["pid"], signal.SIGKILL)


@pytest.fixture(scope="session")
def server(served_models, runs_folder, cache, tmp_path_factory) -> Iterator[str]:
    """The address of a dashboard started as a user would start it."""
    with serving(served_models, runs_folder, cache, tmp_path_factory.mktemp("server")) as address:
        yield address


@contextmanager
def serving(models: Path, runs_folder: Path, cache: Path, place: Path) -> Iterator[str]:
    """Run a dashboard; nothing that it logs may be a traceback."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    log = place / "log"
    folders = {"KOP_MODELS": models, "KOP_RUNS": runs_folder, "KOP_CACHE": cache}
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port),
             "--server.headless", "true"],
            cwd=ROOT, stdout=stream, stderr=stream,
            env={**os.environ, **{name: str(folder) for name, folder in folders.items()}},
        )  # fmt: skip
    address = f"http://localhost:{port}"
    try:
        _wait(address, process, log)
        yield address
    finally:
        process.terminate()
        process.wait(10)
    assert "Traceback" not in log.read_text(), log.read_text()[-3000:]


def _wait(address: str, process: subprocess.Popen, log: Path) -> None:
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=2)
            return
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.5)
    raise AssertionError(f"the server did not answer: {log.read_text()}")


@pytest.fixture
def page(chromium, server):
    """A window of 1440 × 900 that notes every request to another machine."""
    context = chromium.new_context(
        viewport={"width": 1440, "height": 900}, accept_downloads=True, base_url=server
    )
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    elsewhere: list[str] = []
    opened.on("request", lambda r: None if r.url.startswith((server, "data:", "blob:"))
              else elsewhere.append(r.url))  # fmt: skip
    yield opened
    assert not elsewhere, f"the page asked other machines: {elsewhere}"
    context.close()
