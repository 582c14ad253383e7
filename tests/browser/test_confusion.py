"""The confusion page in a real browser: click a cell, see its X-rays, mark one, come back."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, Page, expect

from kop_core.evaluation import Predictions
from kop_core.evaluation.cells import Cell, cases
from tests.browser.conftest import serving
from tests.browser.test_browser import choose, settled

CASES = '.kop-case img[alt^="Radiograph"]'


def window(chromium: Browser, address: str, width: int = 1440, height: int = 900) -> Page:
    context = chromium.new_context(
        viewport={"width": width, "height": height}, base_url=address, color_scheme="dark"
    )
    page = context.new_page()
    page.set_default_timeout(60_000)
    return page


def opened(page: Page, address: str, folder) -> None:
    page.goto(address)
    page.get_by_test_id("stPlotlyChart").first.wait_for()
    settled(page)
    page.get_by_role("textbox", name="Folder of paper1947").fill(str(folder))
    page.get_by_role("button", name="Look there").click()
    page.locator(CASES).first.wait_for()
    settled(page)


def click(page: Page, true: int, column: int, columns: int = 3) -> None:
    """Click a cell away from its middle: all of it must answer."""
    box = page.get_by_test_id("stPlotlyChart").first.locator(".nsewdrag").first.bounding_box()
    page.mouse.click(
        box["x"] + box["width"] * (column + 0.2) / columns,
        box["y"] + box["height"] * (true + 0.8) / 3,
    )
    settled(page)


def shows(page: Page, files: list[str]) -> None:
    """Wait until the X-rays of those files are shown, in that order, and no others."""
    pictures = page.locator(CASES)
    expect(pictures).to_have_count(len(files))
    for place, file in enumerate(files):
        expect(pictures.nth(place)).to_have_attribute("alt", f"Radiograph {file}")


def expected(shipped, true: str, called: str) -> list[str]:
    table = Predictions.read(shipped.folder / "predictions.csv")
    return [c.file for c in cases(table, Cell(true, called))][:6]


def test_a_cell_is_clicked_moved_marked_and_found_again(
    chromium, served_models, runs_folder, cache, tmp_path, shared, shipped, monkeypatch
):
    monkeypatch.setenv("KOP_MARKS", str(tmp_path / "marks"))
    data = shared / "paper1947"
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    with serving(served_models, runs_folder, cache, tmp_path / "first") as address:
        page = window(chromium, address)
        opened(page, "/confusion", data)
        click(page, 2, 0)
        expect(page).to_have_url(re.compile("cell=osteoporosis-healthy"))
        shows(page, expected(shipped, "osteoporosis", "healthy"))
        click(page, 0, 2)
        shows(page, expected(shipped, "healthy", "osteoporosis"))
        assert str(data) not in page.url

        page.get_by_role("button", name=re.compile(r"\bMark\b")).first.click()
        page.get_by_role("textbox", name="Note").fill("A second look <b>please</b>")
        page.get_by_role("button", name="Unsure", exact=True).click()
        expect(page.get_by_text("Marked unsure").first).to_be_visible()

        choose(page, "What is called", "Abstain below")
        before = page.get_by_text(re.compile(r"^Images whose highest score")).inner_text()
        page.get_by_role("slider").first.focus()
        for _ in range(15):
            page.keyboard.press("ArrowRight")
        expect(page.get_by_text("below 65 %").first).to_be_visible()
        assert page.get_by_text(re.compile("^Images whose highest score")).inner_text() != before
        expect(page).to_have_url(re.compile(r"rule=abstain&level=65|level=65"))
        click(page, 0, 3, columns=4)
        expect(page).to_have_url(re.compile("cell=healthy-uncalled"))
        page.context.close()

    with serving(served_models, runs_folder, cache, tmp_path / "second") as address:
        page = window(chromium, address, 1024, 768)
        # Another model of the same data, the cell in the address, no picture named yet.
        page.goto("/confusion?model=second&cell=healthy-osteoporosis")
        expect(page.get_by_text("Marked unsure").first).to_be_visible()
        expect(page.get_by_text("A second look <b>please</b>").first).to_be_visible()
        assert page.locator(CASES).count() == 0
        settled(page)
        wide = page.evaluate(
            "Math.max(...[document.documentElement, document.querySelector('[data-testid=stMain]')]"
            ".map(e => e.scrollWidth - e.clientWidth))"
        )
        assert wide <= 0
        page.context.close()
