import json

import pytest

from kop_core.classes import CLASSES
from kop_core.evaluation import Estimate
from kop_core.figures import audit as figures
from tests.datasets.reports import Shortcut, facts, leakages, shortcuts


def sentences(figure) -> list[str]:
    """What is said when a person points at something."""
    said = []
    for trace in figure.data:
        if trace.hoverinfo == "skip":
            continue
        assert trace.hovertemplate == "%{customdata}<extra></extra>"
        said += [str(text) for text in trace.customdata]
    return said


def drawn(figure) -> str:
    """The figure as the browser gets it: it must be valid JSON."""
    text = figure.to_json()
    assert json.loads(text)
    return text


def bars(figure, name):
    return {y: x for t in figure.data if t.name == name for y, x in zip(t.y, t.x)}


def test_counts_by_file_and_by_radiograph():
    by_file = {"healthy": 646, "osteopenia": 1, "osteoporosis": 0}
    figure = figures.counts(by_file, {"healthy": 94, "osteopenia": 1, "osteoporosis": 0})
    assert bars(figure, "files") == {"Healthy": 646, "Osteopenia": 1, "Osteoporosis": 0}
    assert bars(figure, "radiographs") == {"Healthy": 94, "Osteopenia": 1, "Osteoporosis": 0}
    said = sentences(figure)
    assert "Healthy: 646 files." in said and "Osteopenia: 1 radiograph." in said
    solid = [t.marker.color for t in figure.data if t.name == "radiographs"]
    assert solid == [c.colour for c in CLASSES]
    drawn(figure)


def test_classes_that_are_none_of_ours_have_other_colours_and_no_marks():
    by_file = {"healthy": 0, "osteopenia": 0, "osteoporosis": 0, "": 2, "<b>0": 3, "1": 4}
    figure = figures.counts(by_file, by_file)
    assert bars(figure, "files")["&lt;b&gt;0"] == 3 and bars(figure, "files")["No class"] == 2
    shades = {t.marker.color for t in figure.data if t.name == "radiographs"}
    assert len(shades) == 6


def test_sizes_of_groups():
    figure = figures.group_sizes([1, 1, 1, 4, 4, 9])
    (trace,) = figure.data
    assert dict(zip(trace.x, trace.y)) == {1: 3, 4: 2, 9: 1}
    assert sentences(figure) == [
        "3 radiographs are shown by one file only.",
        "2 radiographs are shown by 4 files each.",
        "1 radiograph is shown by 9 files each.",
    ]
    drawn(figures.group_sizes([]))


def test_shortcuts_with_intervals_and_the_largest_class():
    figure = figures.shortcuts(shortcuts())
    random, grouped = figure.data
    assert list(random.x) == [0.94, 0.86] and list(grouped.x) == [0.35]
    assert random.error_x.array[0] == pytest.approx(0.02)
    assert random.error_x.arrayminus[0] == pytest.approx(0.03)
    assert "The most similar picture, split by radiograph: 35 % (95 % CI 27–44)." in sentences(
        figure
    )
    assert figure.layout.shapes[0].x0 == 0.46
    assert figure.layout.annotations[0].text == "Largest class: 46 %"
    drawn(figure)


def test_shortcuts_that_are_not_defined_are_not_drawn():
    nothing = Shortcut("file_facts", "Size", None, Estimate(None, None, None), 0.5)
    figure = figures.shortcuts([nothing, Shortcut("x", "Y", Estimate(0.5, None, None), None, 0.5)])
    assert [len(t.x) for t in figure.data] == [1, 0]
    assert sentences(figure) == ["Y, random split of the files: 50 %."]
    drawn(figures.shortcuts([]))


def test_leakage_is_the_mean_of_the_splits_tried():
    figure = figures.leakage(leakages())
    assert bars(figure, "Random split") == pytest.approx(
        {"Identical": 0.3, "Identical or saved anew": 0.6, "Any, parts included": 0.95}
    )
    assert set(bars(figure, "By radiograph").values()) == {0}
    said = sentences(figure)
    assert any("30 % of the test files have a byte-identical copy" in s for s in said)
    assert any("(mean of 2 splits, 20 % to 40 %)" in s for s in said)
    assert any("(10 test files, seed 0)" in s for s in said)
    drawn(figures.leakage([]))


def test_sizes_of_pictures_are_counted_by_class():
    files = [facts(), facts(), facts("osteoporosis"), facts(width=200)]
    figure = figures.picture_sizes(files)
    assert [t.name for t in figure.data] == ["Healthy", "Osteoporosis"]
    assert len({t.marker.symbol for t in figure.data}) == 2  # never colour alone
    assert "Healthy: 2 files have 96 × 128 pixels." in sentences(figure)
    assert "Osteoporosis: 1 file has 96 × 128 pixels." in sentences(figure)


def test_spread_of_contrast():
    files = [facts(contrast=c) for c in (0.1, 0.2, 0.3)]
    figure = figures.spread_by_class(files, "contrast", "Contrast")
    box = figure.data[0]
    assert (box.lowerfence[0], box.median[0], box.upperfence[0]) == (0.1, 0.2, 0.3)
    (said,) = sentences(figure)
    assert said.startswith("Healthy: median contrast 0.2, half of them between 0.15 and 0.25")
    drawn(figure)


def test_patient_variables():
    ages = {"n": 4, "missing": 1, "min": 20.0, "low_quartile": 30.0, "median": 40.0}
    ages |= {"high_quartile": 50.0, "max": 1234.0}
    number = {"kind": "number", "by_class": {"healthy": ages, "osteopenia": {"n": 0}}}
    figure = figures.patient_variable("age_years", number, "patients")
    assert [t.name for t in figure.data if t.type == "box"] == ["Healthy"]
    (said,) = sentences(figure)
    assert "median age (years) 40" in said and "1,234 (4 patients, not known of 1)" in said

    sex = {
        "kind": "category",
        "by_class": {
            "healthy": {"n": 4, "missing": 0, "counts": {"<i>f": 1, "m": 3}},
            "osteoporosis": {"n": 2, "missing": 0, "counts": {"m": 2}},
        },
    }
    figure = figures.patient_variable("sex", sex, "files")
    assert bars(figure, "Healthy") == {"&lt;i&gt;f": 0.25, "m": 0.75}
    assert bars(figure, "Osteoporosis") == {"&lt;i&gt;f": 0, "m": 1}
    assert "Healthy: sex is m for 3 of 4 files." in sentences(figure)
    drawn(figure)
    assert figures.patient_variable("notes", {"kind": "text", "distinct": 40}) is None
