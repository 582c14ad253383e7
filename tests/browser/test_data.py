"""The Data page in a real browser: audit, look, download, open what was downloaded."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.test_browser import settled, table_as_csv


@pytest.fixture(scope="module")
def knees(shared, tmp_path_factory) -> Path:
    """Five real knees a class; of two there are copies, one of them in another class."""
    folder = tmp_path_factory.mktemp("browser") / "my knees"
    for name in ("normal", "osteopenia", "osteoporosis"):
        (folder / name).mkdir(parents=True)
        table = csv.DictReader((shared / "mendeley" / "radiographs.csv").open())
        once: dict[str, str] = {}
        for row in table:
            once.setdefault(row["radiograph"], row["file"])
        chosen = [f for f in sorted(once.values()) if f.startswith(f"{name}/")][:5]
        for file in chosen:
            shutil.copy(shared / "mendeley" / file, folder / name)
    first, second, *_ = sorted((folder / "normal").iterdir())
    shutil.copy(first, folder / "normal" / "a copy <b>.jpg")
    with Image.open(second) as picture:
        small = picture.resize((picture.width // 2, picture.height // 2))
        small.save(folder / "osteopenia" / "filed elsewhere.png")
    (folder / "normal" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n cut short")
    shutil.copy(shared / "mendeley" / "patients.csv", folder)
    return folder


def audit(page: Page, path: Path | str) -> None:
    page.goto("/data")
    page.get_by_label("Folder of class folders").fill(str(path))
    page.get_by_role("button", name="Audit the folder").click()
    page.locator(".kop-answer").wait_for(timeout=120_000)
    settled(page)


def look_at(page: Page, view: str) -> None:
    page.get_by_role("radio", name=view, exact=True).click()
    settled(page)


def download(page: Page, name: str) -> str:
    with page.expect_download() as taken:
        page.get_by_role("button", name=name).click()
    return taken.value.path().read_text(encoding="utf-8")


def test_from_a_folder_to_what_is_in_it(page, knees):
    audit(page, knees)
    expect(page.locator(".kop-answer").first).to_have_text("15 radiographs in 17 files.")
    expect(page.get_by_text("1 file could not be read and was left out.").first).to_be_visible()
    look_at(page, "Copies")
    expect(page.get_by_text("4 of 17 files show a radiograph").first).to_be_visible()
    expect(page.locator(".kop-pictures img")).to_have_count(4)
    look_at(page, "Conflicts")
    expect(page.locator(".kop-class")).to_have_text(["Healthy", "Osteopenia"])
    for picture in page.locator(".kop-pictures img").all():
        assert picture.evaluate("i => i.complete && i.naturalWidth > 50")
    for view in ("Shortcuts and leakage", "Files", "Patients"):
        look_at(page, view)
        expect(page.get_by_test_id("stPlotlyChart").first).to_be_visible()
        expect(page.get_by_test_id("stException")).to_have_count(0)


def test_a_radiograph_has_an_address_of_its_own(page, knees):
    audit(page, knees)
    look_at(page, "Conflicts")
    page.get_by_role("button", name="See all 2").click()
    expect(page.get_by_role("button", name="Back to all").first).to_be_visible()
    settled(page)
    expect(page).to_have_url(re.compile("view=conflicts"))
    expect(page).to_have_url(re.compile("group="))
    colleague = page.context.new_page()
    colleague.goto(page.url)
    expect(colleague.get_by_role("button", name="Back to all").first).to_be_visible()
    expect(colleague.get_by_text("osteopenia/filed elsewhere.png").first).to_be_visible()
    colleague.get_by_role("button", name="Back to all").click()
    expect(colleague.get_by_text("filed under more than one class").first).to_be_visible()
    colleague.close()


def test_what_is_taken_away_opens_without_a_network(page, knees, tmp_path):
    audit(page, knees)
    page.get_by_role("button", name="Download").first.click()
    groups = {r["file"]: r["radiograph"] for r in table_as_csv(page, "Groups (CSV)")}
    assert len(groups) == 17 and len(set(groups.values())) == 15
    assert json.loads(download(page, "Report (JSON)"))["radiographs"] == 15
    parts: dict[str, set[str]] = {}
    for row in csv.DictReader(io.StringIO(download(page, "Split by radiograph (CSV)"))):
        parts.setdefault(groups[row["file"]], set()).add(row["part"])
    assert len(parts) == 15 and all(len(p) == 1 for p in parts.values())

    report = tmp_path / "report.html"
    report.write_text(download(page, "Report with pictures (HTML)"), encoding="utf-8")
    said: list[str] = []
    asked: list[str] = []
    for scheme in ("light", "dark"):
        context = page.context.browser.new_context(color_scheme=scheme, offline=True)
        opened = context.new_page()
        opened.on("console", lambda m: said.append(m.text))
        opened.on("request", lambda r: asked.append(r.url))
        opened.goto(report.as_uri())
        expect(opened.locator(".answer").first).to_have_text("15 radiographs in 17 files.")
        expect(opened.get_by_text("normal/a copy <b>.jpg").first).to_be_visible()
        expect(opened.locator(".main-svg").first).to_be_visible()
        assert opened.locator("article img").count() == 4
        wide = "document.documentElement.scrollWidth <= window.innerWidth"
        assert opened.evaluate(wide), "the report scrolls sideways"
        context.close()
    assert not said, said
    assert {u for u in asked if not u.startswith(("data:", "blob:"))} == {report.as_uri()}


def test_an_archive_is_dropped(page, knees, tmp_path):
    path = tmp_path / "packed.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(p for p in knees.rglob("*") if p.is_file()):
            archive.write(file, Path("inside") / file.relative_to(knees))
        archive.writestr("../../climbs.png", "x")
    page.goto("/data")
    page.locator("input[type=file]").set_input_files(path)
    page.get_by_role("button", name="Audit the archive").click()
    expect(page.locator(".kop-answer").first).to_have_text(
        "15 radiographs in 17 files.", timeout=120_000
    )
    expect(page.get_by_text("1 member of the archive not unpacked.").first).to_be_visible()


def test_faults_are_said_and_the_page_stays(page, tmp_path):
    page.goto("/data")
    page.get_by_label("Folder of class folders").fill(str(tmp_path / "none"))
    page.get_by_role("button", name="Audit the folder").click()
    expect(page.get_by_text("There is no folder or table").first).to_be_visible()
    (tmp_path / "bad.zip").write_bytes(b"no archive")
    page.locator("input[type=file]").set_input_files(tmp_path / "bad.zip")
    page.get_by_role("button", name="Audit the archive").click()
    expect(page.get_by_text("The file is no zip archive").first).to_be_visible()
    expect(page.get_by_label("Folder of class folders").first).to_be_visible()


@pytest.mark.parametrize(("size", "scheme"), [((1440, 900), "light"), ((1024, 768), "dark")])
def test_nothing_scrolls_sideways(page, knees, scheme, size):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": size[0], "height": size[1]})
    audit(page, knees)
    for view in ("Overview", "Copies", "Conflicts", "Shortcuts and leakage", "Files", "Patients"):
        look_at(page, view)
        main = page.get_by_test_id("stMain")
        assert main.evaluate("e => e.scrollWidth <= e.clientWidth"), view
