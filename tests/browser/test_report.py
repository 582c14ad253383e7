"""The model report in a real browser: read, choose, download, open what was downloaded."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_browser import choose, settled


def opened(page: Page, address: str = "/report") -> None:
    page.goto(address)
    page.get_by_text("Sets that should hold the label").wait_for(timeout=60_000)
    settled(page)


def test_a_report_is_read_and_its_choices_change_it(page, shipped):
    opened(page)
    expect(page.locator(".kop-verdict").first).to_contain_text("Accuracy 90")
    expect(page.get_by_text("copies in training").first).to_be_visible()
    expect(page.get_by_text("Do not expect this of a new patient").first).to_be_visible()
    expect(page.get_by_test_id("stPlotlyChart")).to_have_count(6)
    page.get_by_role("radio", name="95 %").first.click()
    expect(page.get_by_text("To find 95")).to_have_count(2)
    page.get_by_role("radio", name="80 %").last.click()
    expect(page.get_by_text("hold the label in 80").first).to_be_visible()
    expect(page.get_by_text("Traceback")).to_have_count(0)


def test_a_cell_says_what_it_counts(page):
    opened(page)
    chart = page.get_by_test_id("stPlotlyChart").nth(1)
    chart.scroll_into_view_if_needed()
    said = chart.locator(".hoverlayer")
    for _ in range(20):  # the page may still be moving while it is drawn
        box = chart.locator(".nsewdrag").first.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 6 - 4, box["y"] + box["height"] * 5 / 6)
        page.mouse.move(box["x"] + box["width"] / 6, box["y"] + box["height"] * 5 / 6, steps=4)
        page.wait_for_timeout(300)
        if said.text_content():
            break
        chart.scroll_into_view_if_needed()
    expect(said).to_contain_text("images labelled osteoporosis")


def test_the_model_is_kept_in_the_address(page):
    opened(page, "/report?model=second")
    expect(page.get_by_role("combobox", name="Model").first).to_have_value("Second model")
    choose(page, "Model", "Nine convolutions, paper's protocol (random split)")
    expect(page).to_have_url(re.compile(r"[?&]model=paper-random(&|$)"))


def test_a_model_on_the_home_page_leads_to_its_report(page):
    page.goto("/")
    # The link's name begins with that of its icon; the menu's ends in "report".
    page.get_by_role("link", name=re.compile(r"\bReport$")).last.click()
    page.get_by_text("Sets that should hold the label").wait_for(timeout=60_000)
    expect(page.get_by_role("combobox", name="Model").first).to_have_value("Second model")
    expect(page).to_have_url(re.compile(r"[?&]model=second(&|$)"))


def test_the_card_opens(page):
    opened(page)
    page.get_by_text("of 44 items are known").click()
    expect(page.get_by_text("Not on the card: 2. Structured summary.").first).to_be_visible()


def test_the_downloads_open(page, chromium, tmp_path, shipped):
    opened(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Figures (JSON)").click()
    figures = json.loads(download.value.path().read_text(encoding="utf-8"))
    assert figures["confusion"] == shipped.card["evaluation"]["confusion"]
    with page.expect_download() as download:
        page.get_by_role("button", name="Report (HTML)").click()
    file = tmp_path / download.value.suggested_filename
    download.value.save_as(file)

    context = chromium.new_context(viewport={"width": 1024, "height": 768}, offline=True)
    sent = context.new_page()
    asked, complaints = [], []
    sent.on("request", lambda r: asked.append(r.url))
    sent.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    sent.on("pageerror", lambda e: complaints.append(str(e)))
    sent.goto(file.as_uri())
    expect(sent.get_by_role("heading", level=1).first).to_have_text(shipped.title)
    expect(sent.locator(".js-plotly-plot .main-svg").first).to_be_visible()
    assert sent.locator(".js-plotly-plot").count() == 6
    sent.wait_for_timeout(500)
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
    assert not complaints
    wide = sent.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert wide <= 0
    context.close()


@pytest.mark.parametrize(("width", "height", "scheme"), [(1440, 900, "light"), (1024, 768, "dark")])
def test_nothing_scrolls_sideways(chromium, server, width, height, scheme):
    context = chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, base_url=server
    )
    page = context.new_page()
    opened(page)
    wide = page.evaluate(
        "Math.max(...[document.documentElement, document.querySelector('[data-testid=stMain]')]"
        ".map(e => e.scrollWidth - e.clientWidth))"
    )
    assert wide <= 0
    context.close()
