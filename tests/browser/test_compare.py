"""The compare page in a real browser: choose rows, share the address, download."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.altered import another
from tests.browser.conftest import serving
from tests.browser.test_browser import settled


@pytest.fixture(scope="module")
def address(tmp_path_factory, shipped, runs_folder, cache):
    """A dashboard with three models of one test part and one of other data."""
    folder = tmp_path_factory.mktemp("several")
    shutil.copytree(shipped.folder, folder / shipped.id)
    another(shipped, folder, "worse", noise=2.5, seed=1)
    another(shipped, folder, "alike", noise=0.3, seed=2)
    other = {**shipped.card["data"], "fingerprint": "0" * 64, "name": "clinic"}
    another(shipped, folder, "clinic", part=np.arange(283) < 150, data=other)
    with serving(folder, runs_folder, cache, tmp_path_factory.mktemp("server")) as found:
        yield found


def opened(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_text("As printed in Table 3").wait_for(timeout=60_000)
    settled(page)


def test_rows_are_chosen_and_the_address_says_which(chromium, address, tmp_path):
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, accept_downloads=True)
    page = context.new_page()
    opened(page, f"{address}/compare?models=alike,worse,gone")
    expect(page.get_by_text("There is no model called gone here").first).to_be_visible()
    expect(page.get_by_role("cell", name=re.compile("^alike − worse")).first).to_be_visible()
    expect(page.get_by_test_id("stPlotlyChart")).to_have_count(4)
    # The box before the second row, clinic: the table is drawn on a canvas.
    box = page.get_by_test_id("stDataFrame").first.bounding_box()
    page.mouse.click(box["x"] + 17, box["y"] + 35 + 1.5 * 38)
    settled(page)
    expect(page).to_have_url(re.compile(r"models=[^&]*clinic"))
    expect(page.get_by_text("There is no model called gone here")).to_have_count(0)
    expect(page.get_by_text("It was tested on other data (clinic)").first).to_be_visible()
    page.get_by_role("radio", name="Healthy").click()
    settled(page)
    expect(page).to_have_url(re.compile("class=healthy", re.IGNORECASE))
    with page.expect_download() as download:
        page.get_by_role("button", name="HTML").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)

    sent = context.new_page()
    complaints: list[str] = []
    sent.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    sent.on("pageerror", lambda e: complaints.append(str(e)))
    sent.goto(file.as_uri())
    expect(sent.get_by_role("heading", level=1).first).to_have_text("Models compared")
    expect(sent.locator(".js-plotly-plot .main-svg").first).to_be_visible()
    assert not complaints
    context.close()


@pytest.mark.parametrize(("width", "height", "scheme"), [(1440, 900, "light"), (1024, 768, "dark")])
def test_nothing_scrolls_sideways(chromium, address, width, height, scheme):
    context = chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, base_url=address
    )
    page = context.new_page()
    opened(page, "/compare?models=paper-random,alike,worse,clinic")
    wide = page.evaluate(
        "Math.max(...[document.documentElement, document.querySelector('[data-testid=stMain]')]"
        ".map(e => e.scrollWidth - e.clientWidth))"
    )
    assert wide <= 0
    context.close()
