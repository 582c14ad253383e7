"""What a clinician does: upload, look, change, download; with broken files among the good."""

from __future__ import annotations

import csv
import io
import re
import zipfile

import pytest
from playwright.sync_api import Page, expect


def upload(page: Page, files: list) -> None:
    page.locator("input[type=file]").set_input_files(files)


def settled(page: Page) -> None:
    """Wait until nothing is running any more."""
    page.wait_for_timeout(400)
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0, timeout=60_000)


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_role("combobox", name=label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()
    settled(page)


def chart_of_picture(page: Page) -> str:
    charts = page.get_by_test_id("stPlotlyChart")
    for place in range(charts.count()):
        images = charts.nth(place).locator("image")
        if images.count():
            last = images.last
            return last.get_attribute("href") or last.get_attribute("xlink:href") or ""
    return ""


def table_as_csv(page: Page, button: str) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    text = download.value.path().read_text(encoding="utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def test_an_address_inside_the_app_opens_on_a_fresh_server(page, shipped):
    page.goto("/classify?model=second")
    expect(page.get_by_role("heading", name="Classify knee X-rays").first).to_be_visible()
    expect(page.get_by_role("combobox", name="Model").first).to_have_value("Second model")
    expect(page.get_by_role("link", name="Home").first).to_be_visible()
    expect(page).to_have_url(re.compile(r"[?&]model=second(&|$)"))


def test_from_the_home_page_to_a_verdict(page, full_size, shipped):
    page.goto("/")
    expect(page.get_by_text("KOP is not a medical device").first).to_be_visible()
    page.get_by_role("link", name="Classify X-rays").click()
    expect(page.get_by_text("Drop one radiograph or many").first).to_be_visible()
    upload(page, [full_size[0]])
    verdict = page.locator(".kop-verdict")
    verdict.wait_for()
    assert any(word in verdict.inner_text() for word in ("most likely", "undecided"))
    settled(page)
    bars = page.get_by_test_id("stPlotlyChart").filter(has_text="Osteopenia")
    expect(bars).to_contain_text("Healthy")
    expect(page.get_by_text("copies in training").first).to_be_visible()
    expect(page.get_by_text("It is not the outline of a lesion").first).to_be_visible()
    assert chart_of_picture(page).startswith("data:image/png;base64,")

    rows = table_as_csv(page, "Scores (CSV)")
    assert [r["file"] for r in rows] == [full_size[0].name]
    assert sum(float(rows[0][f"p_{n}"]) for n in ("healthy", "osteopenia", "osteoporosis")) == (
        pytest.approx(1, abs=1e-5)
    )
    assert rows[0]["model"] == shipped.id

    with page.expect_download() as download:
        page.get_by_role("button", name="Overlay (PNG)").click()
    assert download.value.suggested_filename.startswith(full_size[0].stem)
    assert download.value.path().read_bytes().startswith(b"\x89PNG")


def test_method_class_view_grey_scale_and_key(page, full_size):
    page.goto("/classify")
    upload(page, [full_size[0]])
    page.locator(".kop-verdict").wait_for()
    settled(page)
    seen = [chart_of_picture(page)]

    def changed() -> None:
        settled(page)
        for _ in range(40):
            now = chart_of_picture(page)
            if now and now not in seen:
                seen.append(now)
                return
            page.wait_for_timeout(250)
        raise AssertionError("the picture did not change")

    choose(page, "Class to explain", "Healthy")
    expect(page.get_by_text("what the network looked at for healthy").first).to_be_visible()
    seen.append(chart_of_picture(page))
    choose(page, "Class to explain", "Osteoporosis")
    expect(page.get_by_text("what the network looked at for osteoporosis").first).to_be_visible()
    assert chart_of_picture(page) != seen[-1]
    seen.append(chart_of_picture(page))
    for method in ("LayerCAM", "Grad-CAM++", "Saliency"):
        choose(page, "Method", method)
        changed()
        expect(page.get_by_text(f"{method}: what the network looked at").first).to_be_visible()
    slider = page.get_by_role("slider", name="Overlay strength")
    slider.focus()
    slider.press("ArrowLeft")
    changed()
    page.get_by_text("Grey scale").click()
    page.get_by_text("Invert", exact=True).click()
    changed()
    page.keyboard.press("Escape")
    page.get_by_text("Both", exact=True).click()
    settled(page)
    expect(page.get_by_text("Radiograph", exact=True).first).to_be_visible()
    page.get_by_text("Overlay", exact=True).first.click()
    settled(page)
    page.get_by_role("heading", name="Classify knee X-rays").click()
    page.keyboard.press("o")
    expect(page.get_by_text("It is not the outline of a lesion")).to_have_count(0)


def broken(tmp_path) -> list:
    text, cut, archive, empty, bomb = (
        tmp_path / n for n in ("notes.png", "cut.jpg", "scans.zip", "empty.dcm", "huge.png")
    )
    from tests.radiographs.test_reading import JPEG, png_declaring, zipped

    text.write_text("Dear colleague")
    cut.write_bytes(JPEG[:3000])
    archive.write_bytes(zipped())
    empty.touch()
    bomb.write_bytes(png_declaring(30000, 30000))
    return [text, cut, archive, empty, bomb]


def test_a_batch_with_broken_files(page, full_size, shared, tmp_path):
    page.goto("/classify")
    knees = [*full_size[:3], shared / "dicom" / "knee_dx_1.dcm"]
    others = [*broken(tmp_path), shared / "dicom" / "chest_1.dcm"]
    upload(page, [*knees, *others])
    expect(page.get_by_text("4 of 10 classified.").first).to_be_visible()
    settled(page)
    for said in (
        "notes.png: this is text, not a picture",
        "cut.jpg: the picture breaks off before its end",
        "scans.zip: this is a zip archive",
        "empty.dcm: the file is empty",
        "huge.png: the picture declares",
        "chest_1.dcm: the file's header says that it shows CHEST",
    ):
        expect(page.get_by_test_id("stAlert").get_by_text(said).first).to_be_visible()
    expect(page.get_by_text("Traceback")).to_have_count(0)

    rows = table_as_csv(page, "Download the table (CSV)")
    assert [r["file"] for r in rows] == [p.name for p in [*knees, *others]]
    assert [bool(r["error"]) for r in rows] == [False] * 4 + [True] * 6
    for row in rows[:4]:
        assert row["class"] in ("healthy", "osteopenia", "osteoporosis")

    with page.expect_download() as download:
        page.get_by_role("button", name="Download all overlays (ZIP)").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        *overlays, said = archive.namelist()
        assert 1 <= len(overlays) <= 4  # none where nothing speaks for the class
        assert archive.read(overlays[0]).startswith(b"\x89PNG")
        assert (
            said == "not_made.txt" and "empty.dcm: the file is empty" in archive.read(said).decode()
        )

    # The second row opens the second picture.
    table = page.get_by_test_id("stDataFrame").first
    table.click(position={"x": 16, "y": 35 + 38 + 19})
    settled(page)
    expect(page.get_by_text(knees[1].name, exact=True).last).to_be_visible()


def test_changing_the_model_and_reading_its_card(page, full_size, shipped):
    page.goto("/classify")
    upload(page, [full_size[4]])
    page.locator(".kop-verdict").wait_for()
    expect(page.get_by_text(f"{shipped.title}, version").first).to_be_visible()
    choose(page, "Model", "Second model")
    page.locator(".kop-verdict").wait_for()
    expect(page.get_by_text("Second model, version").first).to_be_visible()
    expect(page).to_have_url(re.compile(r"[?&]model=second(&|$)"))
    page.get_by_role("button", name="Card").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("The split was random, file by file").first).to_be_visible()
    expect(dialog.get_by_text("same radiograph in training").first).to_be_visible()


@pytest.mark.parametrize(("scheme", "colour"), [("light", (255, 255, 255)), ("dark", (16, 23, 26))])
def test_words_on_the_primary_colour_are_read(page, scheme, colour):
    page.emulate_media(color_scheme=scheme)
    page.goto("/data")
    colour = "rgb({}, {}, {})".format(*colour)
    button = page.get_by_role("button", name="Audit the folder")
    expect(button).to_have_css("color", colour)
    # Dialogs stand beside the app, and take it from the document.
    expect(page.locator(":root")).to_have_css("color-scheme", scheme)
    # One that cannot be pressed has no ground of that colour.
    button.evaluate("button => { button.disabled = true }")
    expect(button).not_to_have_css("color", colour)
    page.goto("/compare")
    tag = page.get_by_test_id("stMultiSelect").get_by_title("Accuracy", exact=True)
    expect(tag).to_have_css("color", colour)


@pytest.mark.parametrize(("width", "height", "scheme"), [(1440, 900, "light"), (1024, 768, "dark")])
def test_nothing_scrolls_sideways(chromium, server, full_size, tmp_path, width, height, scheme):
    context = chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, base_url=server
    )
    page = context.new_page()
    for address in ("/", "/models", "/classify"):
        page.goto(address)
        page.get_by_role("heading").first.wait_for(timeout=60_000)
        if address == "/classify":
            upload(page, full_size[:2])
            page.locator(".kop-verdict").wait_for(timeout=60_000)
        settled(page)
        wide = page.evaluate(
            "Math.max(...[document.documentElement, document.querySelector('[data-testid=stMain]')]"
            ".map(e => e.scrollWidth - e.clientWidth))"
        )
        assert wide <= 0, f"{address} is {wide} pixels too wide"
        # What split a figure is from is read to its end.
        badges = page.locator(".stMarkdownBadge")
        assert badges.count()
        clipped = badges.evaluate_all("all => all.filter(e => e.scrollWidth > e.clientWidth + 1)")
        assert not clipped, f"{address} has a badge that is cut off"
    context.close()
