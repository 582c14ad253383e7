"""The Train page in a real browser: from a folder to a published model, and what may come between.

The networks are the paper's and AlexNet, on small pictures, so that an epoch takes a second or two.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from kop_core import model_store
from kop_core.training import runs
from tests.browser.conftest import serving
from tests.browser.test_browser import settled

LONG = 180_000


@pytest.fixture(scope="module")
def knees(shared, tmp_path_factory) -> Path:
    """Eight real radiographs a class, two of each twice, and a file that is no picture."""
    folder = tmp_path_factory.mktemp("training") / "my knees"
    once: dict[str, str] = {}
    for row in csv.DictReader((shared / "mendeley" / "radiographs.csv").open()):
        once.setdefault(row["radiograph"], row["file"])
    for name in ("normal", "osteopenia", "osteoporosis"):
        (folder / name).mkdir(parents=True)
        for file in [f for f in sorted(once.values()) if f.startswith(f"{name}/")][:8]:
            shutil.copy(shared / "mendeley" / file, folder / name)
        for path in sorted((folder / name).iterdir())[:2]:
            shutil.copy(path, path.with_name(f"copy of {path.name}"))
    (folder / "normal" / "broken <i>.png").write_bytes(b"\x89PNG\r\n\x1a\n cut short")
    return folder


def look_at(page: Page, data: Path) -> None:
    page.goto("/train?new=1")
    page.get_by_label("Folder of class folders").fill(str(data))
    page.get_by_role("button", name="Look at the data").click()
    page.get_by_text("radiographs in").first.wait_for(timeout=LONG)
    settled(page)


def fill(page: Page, label: str, value: object) -> None:
    box = page.get_by_label(label, exact=True)
    box.fill(str(value))
    box.press("Tab")
    settled(page)
    expect(box).to_have_value(str(value))


def start(page: Page, data: Path, epochs: int, title: str) -> str:
    """Set up and start a run as a person would; return its id."""
    look_at(page, data)
    fill(page, "Input size, pixels", 128)
    fill(page, "Batch", 8)
    fill(page, "Epochs", epochs)
    fill(page, "Name of the run", title)
    page.get_by_role("button", name=re.compile("Start training|Add to the queue")).click()
    page.wait_for_url(re.compile(r"run=[\w.-]+"), timeout=LONG)
    return re.search(r"run=([\w.-]+)", page.url)[1]


def button(page, name: str):
    """Return a button of the page by its words; before them stands the name of its icon.

    Streamlit's own bar has a Stop of its own while the page is being drawn.
    """
    return page.get_by_test_id("stMain").get_by_role("button", name=re.compile(rf"(^|\s){name}$"))


def badge(page: Page, word: str) -> None:
    """Wait until a run's page says its state."""
    expect(page.get_by_test_id("stMain").get_by_text(word).first).to_be_visible(timeout=LONG)


def no_error(page: Page) -> None:
    expect(page.get_by_test_id("stException")).to_have_count(0)


def until(run_id: str, root: Path, holds: Callable[[runs.Run], bool]) -> runs.Run:
    end = time.monotonic() + LONG / 1000
    while not holds(run := runs.get(run_id, root)):
        assert time.monotonic() < end, (run, run.log.read_text()[-2000:])
        time.sleep(0.1)
    return run


def answer(page: Page, first: str, also: str) -> None:
    """Press a button that asks once more, and then the one in its dialog."""
    button(page, first).click()
    page.get_by_role("dialog").get_by_role("button", name=also).click()


def test_from_a_folder_to_a_published_model(page, knees, runs_folder, served_models, tmp_path):
    for left in ("first-of-mine", "from-elsewhere"):  # by a try that did not come to its end
        shutil.rmtree(served_models / left, ignore_errors=True)
    look_at(page, knees)
    expect(page.get_by_text("my knees: 24 radiographs in 30 files.").first).to_be_visible()
    expect(page.get_by_text("1 file could not be read and was left out.").first).to_be_visible()
    expect(page.locator(".kop-altered img")).to_have_count(24)  # 6 originals, each altered thrice
    page.get_by_role("button", name="The paper's settings").click()
    settled(page)
    expect(page.get_by_text("of the test images have a copy in training").first).to_be_visible()
    page.get_by_role("button", name="KOP's recommendation").click()
    settled(page)
    run_id = start(page, knees, 4, "My first run")

    until(run_id, runs_folder, lambda r: r.epoch >= 1)
    expect(page.get_by_text(re.compile(r"Epoch \d of 4")).first).to_be_visible(timeout=LONG)
    page.reload()
    colleague = page.context.new_page()
    colleague.goto(page.url)
    for one in (page, colleague):
        expect(one.get_by_role("heading", name="My first run").first).to_be_visible(timeout=LONG)
        expect(one.get_by_text("How good", exact=True).first).to_be_visible(timeout=LONG)
        no_error(one)
    colleague.close()
    settled(page)

    run = runs.get(run_id, runs_folder)
    assert (run.state, run.epoch) == ("finished", 4) and ".jpg" not in run.log.read_text()
    expect(page.locator(".kop-verdict").first).to_contain_text("95 % CI")
    expect(page.get_by_text("by radiograph", exact=True).first).to_be_visible()
    expect(page.locator(".kop-worst figure").first).to_be_visible()
    page.get_by_role("button", name="Show what the network looked at").click()
    expect(page.get_by_text("Right: Grad-CAM").first).to_be_visible(timeout=LONG)
    settled(page)
    publish(page, "second", "There is a model called second already")
    publish(page, "first-of-mine")
    expect(page.get_by_text("Published as first-of-mine").first).to_be_visible()
    assert model_store.get("first-of-mine", served_models).title == "My first run"
    page.get_by_role("link", name="Classify X-rays with it").click()
    model = page.get_by_role("combobox", name="Model")
    expect(model).to_have_value("My first run", timeout=LONG)
    no_error(page)
    out_and_in_again(page, run_id, served_models, tmp_path)


def publish(page: Page, name: str, refused: str = "") -> None:
    fill(page, "Name", name)
    button(page, "Publish").click()
    settled(page)
    if refused:
        expect(page.get_by_role("alert").filter(has_text=refused).first).to_be_visible()


def out_and_in_again(page: Page, run_id: str, models: Path, place: Path) -> None:
    """Take a run's model out as a zip and as ONNX, and bring the zip in under another name."""
    page.goto(f"/train?run={run_id}")
    expect(page.get_by_text("Model folder (ZIP)").first).to_be_visible(timeout=LONG)
    settled(page)
    with page.expect_download() as taken:
        button(page, "Download").first.click()
    bundle = place / "bundle.zip"
    taken.value.save_as(bundle)
    page.get_by_role("button", name="Make it").first.click()
    expect(page.get_by_text("probabilities differ from those of Keras by").first).to_be_visible(
        timeout=LONG
    )
    page.get_by_role("button", name="All runs").click()
    page.get_by_text("Bring a model from another KOP").click()
    page.get_by_test_id("stFileUploaderDropzone").locator("input").set_input_files(bundle)
    expect(page.get_by_label("Name that it gets here", exact=True).first).to_have_value("bundle")
    settled(page)
    fill(page, "Name that it gets here", "from-elsewhere")
    page.get_by_role("button", name="Bring it in").click()
    expect(page.get_by_text("My first run is here as from-elsewhere").first).to_be_visible(
        timeout=LONG
    )
    card = model_store.get("from-elsewhere", models).card
    assert card["imported"]["id"] and "Brought in on" in card["statements"][-1]
    broken = place / "no model.zip"
    broken.write_bytes(bundle.read_bytes()[:5000])
    page.get_by_test_id("stFileUploaderDropzone").locator("input").set_input_files(broken)
    expect(page.get_by_text("no model.zip").first).to_be_visible()
    settled(page)
    fill(page, "Name that it gets here", "broken")
    page.get_by_role("button", name="Bring it in").click()
    expect(page.get_by_role("alert").filter(has_text="zip").first).to_be_visible(timeout=LONG)
    no_error(page)


def test_queued_killed_resumed_stopped_and_deleted(page, knees, runs_folder):
    first = runs.create(small_run(), knees, "Long one", runs_folder).id
    runs.start(runs.get(first, runs_folder))
    until(first, runs_folder, lambda r: r.state == "running" and r.epoch >= 1)
    page.goto(f"/train?run={first}")
    badge(page, "Running")
    page.get_by_role("button", name="Use these settings again").click()
    page.get_by_role("button", name="Add to the queue").wait_for(timeout=LONG)
    fill(page, "Name of the run", "Short one")
    page.get_by_role("button", name="Add to the queue").click()
    page.wait_for_url(re.compile(r"run=(?!" + re.escape(first) + ")"), timeout=LONG)
    badge(page, "Queued")
    expect(
        page.get_by_text("It is the next to start: 1 run may train at once").first
    ).to_be_visible()
    answer(page, "Stop", "Stop it")
    badge(page, "Stopped")

    page.goto(f"/train?run={first}")
    badge(page, "Running")
    os.kill(runs.get(first, runs_folder).progress["pid"], signal.SIGKILL)
    badge(page, "Interrupted")
    kept = runs.get(first, runs_folder).epoch
    expect(
        page.get_by_text("The result will be the same as if it had not been").first
    ).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    badge(page, "Running")
    until(first, runs_folder, lambda r: r.epoch > kept)
    answer(page, "Stop", "Stop it")
    badge(page, "Stopped")
    expect(page.get_by_text("How good", exact=True).first).to_be_visible(timeout=LONG)
    run = runs.get(first, runs_folder)
    assert [row["epoch"] for row in run.history] == [*range(1, run.epoch + 1)]
    no_error(page)

    answer(page, "Delete", "Keep it")
    answer(page, "Delete", "Delete it")
    expect(page.get_by_text("Long one was deleted.").first).to_be_visible()
    assert not run.folder.exists()
    page.goto(f"/train?run={first}")
    expect(page.get_by_role("heading", name="This run is not here").first).to_be_visible()


def test_a_run_outlives_the_dashboard(chromium, knees, served_models, cache, tmp_path):
    """Restarting Streamlit: the run goes on, and the new one shows it."""
    root = tmp_path / "runs"
    context = chromium.new_context(viewport={"width": 1024, "height": 768})
    try:
        with serving(served_models, root, cache, tmp_path) as address:
            page = context.new_page()
            page.set_default_timeout(60_000)
            page.goto(f"{address}/train")
            run = runs.create(small_run(), knees, "Goes on", root)
            runs.start(run)
            until(run.id, root, lambda r: r.state == "running")
            page.goto(f"{address}/train?run={run.id}")
            badge(page, "Running")
        seen = until(run.id, root, lambda r: r.epoch >= 2)
        assert seen.state == "running"
        with serving(served_models, root, cache, tmp_path) as address:
            page.goto(f"{address}/train?run={run.id}")
            badge(page, "Running")
            page.goto(f"{address}/train")
            expect(page.get_by_test_id("stDataFrame").first).to_be_visible()
            runs.delete(runs.get(run.id, root), stop_first=True)
    finally:
        context.close()
        for run in runs.list_runs(root):
            if run.alive and run.progress["pid"]:
                os.kill(run.progress["pid"], signal.SIGKILL)


def small_run():
    """Return settings of a run that is quick, and longer than any test."""
    from dataclasses import replace

    from kop_core.training.setting_up import RECOMMENDED

    return replace(
        RECOMMENDED, network="alexnet", options={}, size=64, batch_size=8, epochs=2000,
        patience=None,
    )  # fmt: skip
