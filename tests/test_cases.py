"""The working list of the classify page: previews, tables, names."""

from __future__ import annotations

import csv
import io
import zipfile

import numpy as np
import pytest

from kop_core import cases, figures, overlay, wording
from kop_core.cases import Case
from kop_core.errors import ModelError
from kop_core.explanation import Influence
from kop_core.prediction import Prediction
from kop_core.radiographs import Radiograph


def radiograph(height=300, width=200, **values) -> Radiograph:
    pixels = np.tile(np.linspace(0, 1, width, dtype=np.float32), (height, 1))
    return Radiograph(pixels, "knee.png", "PNG", 8, "", **values)


def influence(evidence=True) -> Influence:
    heat = np.zeros((224, 224), np.float32)
    if evidence:
        heat[100:120, 100:120] = 1
    return Influence("gradcam", "healthy", heat, evidence, (6, 6))


def test_examine_keeps_a_preview_and_the_facts(classifier, shared):
    path = shared / "dicom" / "knee_dx_1.dcm"
    case = cases.examine(path.read_bytes(), path.name, classifier)
    assert case.error is None and case.prediction is not None
    assert max(case.preview.pixels.shape) == 1024 and case.size == (1625, 1970)
    facts = dict(case.facts())
    assert facts["Size"] == "1,625 × 1,970 pixels"
    assert (
        facts["Body part"] == "Knee"
        and facts["Pixel spacing, at the detector"] == "0.148 × 0.148 mm"
    )
    assert case.thumbnail.startswith(b"\x89PNG")


def test_examine_holds_the_reason_of_a_file_that_is_none(classifier, shared):
    case = cases.examine(b"text", "a.png", classifier)
    assert case.prediction is None and case.error.startswith("a.png: this is text")
    chest = shared / "dicom" / "chest_1.dcm"
    case = cases.examine(chest.read_bytes(), chest.name, classifier)
    assert "CHEST" in case.error and case.preview is not None


def test_the_table_survives_spreadsheets(classifier, full_size):
    good = cases.examine(full_size[0].read_bytes(), "=cmd()|x.png", classifier)
    bad = cases.examine(b"", "-1.png", classifier)
    rows = list(csv.DictReader(io.StringIO(cases.to_csv([good, bad]))))
    assert rows[0]["file"] == "'=cmd()|x.png" and rows[1]["file"] == "'-1.png"
    assert rows[0]["class"] == good.prediction.class_name and rows[0]["error"] == ""
    assert rows[1]["class"] == "" and "empty" in rows[1]["error"]


def test_overlay_names_are_distinct_and_stay_in_their_folder():
    taken: set[str] = set()
    names = [
        cases.overlay_name(f, "healthy", "gradcam", taken) for f in ("a.png", "a.jpg", "../A.dcm")
    ]
    assert names == [
        "a_healthy_gradcam.png",
        "a_healthy_gradcam_2.png",
        "A_healthy_gradcam_3.png",
    ]


def test_overlay_names_from_windows_and_of_any_length():
    assert cases.overlay_name("..\\..\\evil.png", "healthy", "gradcam", set()) == (
        "evil_healthy_gradcam.png"
    )
    long = cases.overlay_name("é" * 240 + ".png", "osteoporosis", "gradcam++", set())
    assert len(long.encode()) < 255


def test_overlays_in_one_archive_with_what_was_not_made():
    def case(name: str, **more) -> Case:
        prediction = Prediction(name, {"healthy": 1.0}, "m", "1", calibrated=False)
        return Case(
            name, name, radiograph(), None, (300, 200), **{"prediction": prediction, **more}
        )

    batch = [case("a.png"), case("a.dcm"), case("clear.png"), case("gone.png"),
             case("empty.png", prediction=None, error="empty.png: the file is empty.")]  # fmt: skip

    def explain(place: int) -> Influence:
        if place == 3:
            raise ModelError("The model was deleted.")
        return influence(evidence=place < 2)

    with zipfile.ZipFile(io.BytesIO(cases.zip_overlays(batch, explain, "gradcam"))) as archive:
        names = archive.namelist()
        assert names == ["a_healthy_gradcam.png", "a_healthy_gradcam_2.png", cases.NOT_MADE]
        assert archive.read(names[0]).startswith(b"\x89PNG")
        said = archive.read(cases.NOT_MADE).decode().splitlines()
    assert said == [
        "No overlay of:",
        "clear.png: Nothing in the picture speaks for healthy by this method.",
        "gone.png: The model was deleted.",
        "empty.png: the file is empty.",
    ]
    with zipfile.ZipFile(io.BytesIO(cases.zip_overlays(batch[:1], explain, "gradcam"))) as archive:
        assert archive.namelist() == ["a_healthy_gradcam.png"]


def test_render_window_and_inversion():
    plain = overlay.render(radiograph())
    assert plain.dtype == np.uint8 and plain[0, 0] == 0 and plain[0, -1] == 255
    np.testing.assert_array_equal(overlay.render(radiograph(), invert=True), 255 - plain)
    windowed = overlay.render(radiograph(), window=(0.4, 0.6))
    assert windowed[0, 70] == 0 and windowed[0, 130] == 255
    assert overlay.render(radiograph(3000, 1500), max_side=1000).shape == (1000, 500)


def test_the_overlay_leaves_the_picture_clear_where_nothing_speaks():
    grey = overlay.render(radiograph())
    laid = overlay.blend(grey, influence(), 0.7)
    assert laid.shape == (300, 200, 3)
    np.testing.assert_array_equal(laid[:60], np.repeat(grey[:60, :, None], 3, axis=2))
    assert np.abs(laid[147, 98].astype(int) - int(grey[147, 98])).max() > 60
    for quiet in (overlay.blend(grey, influence(), 0.0), overlay.blend(grey, influence(False))):
        np.testing.assert_array_equal(quiet, np.repeat(grey[..., None], 3, axis=2))


def test_figures_are_drawn_of_values_alone(classifier, full_size):
    case = cases.examine(full_size[0].read_bytes(), "a.png", classifier)
    bars = figures.probability_bars(case.prediction)
    assert list(bars.data[0].y) == ["Healthy", "Osteopenia", "Osteoporosis"]
    assert list(bars.data[0].marker.color) == ["#0072B2", "#E69F00", "#D55E00"]
    assert sum(bars.data[0].x) == pytest.approx(1)
    grey = overlay.render(radiograph())
    pair = figures.pictures([grey, overlay.blend(grey, influence())], ["a", "b"], True, 400)
    assert len(pair.layout.images) == 2 and pair.layout.uirevision
    assert len(figures.pictures([grey], ["a"], False, 400).layout.images) == 1


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.004, "under 1 %"), (0.996, "over 99 %"), (0.5, "50 %"), (1, "100 %"), (0, "0 %"),
     (None, "unknown")],
)  # fmt: skip
def test_percent_is_never_rounded_to_certainty(share, said):
    assert wording.percent(share) == said


def test_badges():
    copied = {"protocol": "random", "same_radiograph_share": 0.81}
    assert wording.split_badge(copied) == (
        "random split, 81 % of test images have copies in training",
        True,
    )
    bytes_only = {"protocol": "random", "same_radiograph_share": None, "identical_share": 0.3}
    assert "byte-identical copies" in wording.split_badge(bytes_only)[0]
    assert wording.split_badge({"protocol": "radiograph"}) == ("by radiograph", False)


def test_durations():
    assert [wording.duration(s) for s in (4, 90, 3600, 5000)] == [
        "4 s", "2 min", "1 h 00 min", "1 h 23 min",
    ]  # fmt: skip
