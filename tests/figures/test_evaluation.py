"""Figures of an evaluation: what they show, in which order, in which words."""

import itertools
import json

import numpy as np
import pytest

from kop_core.classes import CLASSES
from kop_core.evaluation import evaluate, report
from kop_core.figures import evaluation as figures
from kop_core.figures.style import chart_config
from tests.evaluation.simulated import calibrated, skilled, table


@pytest.fixture(scope="module")
def found():
    return report(skilled(1, images=300, radiographs=120, skill=1.5), draws=100)


def drawn(found):
    measured, bins = found.evaluation, found.calibration.bins
    return {
        "confusion": figures.confusion(measured),
        "roc": figures.roc(found.roc, measured),
        "precision_recall": figures.precision_recall(found.precision_recall, measured),
        "reliability": figures.reliability([("As it is", bins)]),
        "intervals": figures.intervals_by_class(measured),
    }


def test_osteoporosis_called_healthy_is_the_loudest_mistake_whatever_the_shares():
    cells = [(t, c) for t, c in itertools.product(range(3), repeat=2) if t != c]
    for few, many in itertools.product((0.01, 0.3), (0.2, 0.99)):
        missed = figures.loudness(2, 0, few)
        assert all(missed > figures.loudness(t, c, many) for t, c in cells if (t, c) != (2, 0))
    for t, c in cells:
        assert figures.loudness(t, c, 0.01) > figures.loudness(0, 0, 1.0) * 0.7
        assert figures.loudness(t, c, 0.5) > figures.loudness(t, c, 0.1) > 0
    assert max(figures.loudness(t, t, 1.0) for t in range(3)) <= 0.25
    assert figures.loudness(2, 0, 0.0) == figures.loudness(2, 0, None) == 0


def test_the_confusion_matrix(found):
    figure = figures.confusion(found.evaluation)
    (cells,) = figure.data
    labels = [c.label for c in CLASSES]
    assert list(cells.x) == list(cells.y) == labels
    assert figure.layout.yaxis.autorange == "reversed"  # healthy on top
    assert "Labelled" in figure.layout.yaxis.title.text
    assert "Called" in figure.layout.xaxis.title.text
    counts = found.evaluation.confusion
    for t, c in itertools.product(range(3), repeat=2):
        assert f"<b>{counts[t][c]}</b>" in cells.text[t][c] and "%" in cells.text[t][c]
        sentence = cells.customdata[t][c]
        assert sentence.startswith(f"Of {counts[t].sum()} images labelled {CLASSES[t].name}")
        assert f"{counts[t][c]} were called {CLASSES[c].name}" in sentence.replace("<br>", " ")
        assert (cells.z[t][c] <= 0) == (t == c)
    (frame,) = figure.layout.shapes  # a shape says it too, not colour alone
    assert (frame.x0 < 0 < frame.x1) and (frame.y0 < 2 < frame.y1)


def test_a_row_without_images_is_said():
    true = np.array([0, 2] * 10)
    figure = figures.confusion(evaluate(table(true, np.eye(3)[true]), draws=20))
    assert "no images" in figure.data[0].text[1][0]
    assert figure.data[0].customdata[1][0] == "No image is labelled osteopenia."


def test_curves_have_the_colours_of_the_classes_and_lines_of_their_own(found):
    for name, word in (("roc", "AUC"), ("precision_recall", "AP")):
        lines = [t for t in drawn(found)[name].data if word in (t.name or "")]
        assert [t.line.color for t in lines] == [c.colour for c in CLASSES]
        assert len({t.line.dash for t in lines}) == 3
        for trace, c in zip(lines, CLASSES):
            metric = {"AUC": "roc_auc", "AP": "average_precision"}[word]
            e = found.evaluation.metrics[f"{metric}_{c.name}"]
            assert trace.name == f"{c.label}: {word} {e.value:.2f} ({e.low:.2f}–{e.high:.2f})"
            assert len(trace.text) == len(trace.x)
            assert all("is found" in said for said in trace.text)
            assert "nan" not in " ".join(trace.text)


def test_the_reliability_diagram(found):
    bins = [b for b in found.calibration.bins if b.images]
    _, points, bars = figures.reliability([("As it is", found.calibration.bins)]).data
    assert list(points.x) == [b.confidence for b in bins]
    assert list(points.y) == [b.right.value for b in bins]
    for b, up, down in zip(bins, points.error_y.array, points.error_y.arrayminus):
        assert up >= 0 and down >= 0
        assert b.right.value + up == pytest.approx(b.right.high)
        assert b.right.value - down == pytest.approx(b.right.low)
    assert list(bars.y) == [b.images for b in bins]
    two = figures.reliability([("a", bins), ("b", bins)])
    looks = {(t.marker.symbol, t.marker.color) for t in two.data[1::2]}
    assert len(looks) == 2
    assert not {colour for _, colour in looks} & {c.colour for c in CLASSES}


def test_intervals_by_class(found):
    traces = figures.intervals_by_class(found.evaluation).data
    assert [t.name for t in traces] == [c.label for c in CLASSES]
    assert len({t.marker.symbol for t in traces}) == 3
    for trace, c in zip(traces, CLASSES):
        e = found.evaluation.metrics[f"recall_{c.name}"]
        assert trace.x[0] == e.value
        assert trace.x[0] - trace.error_x.arrayminus[0] == pytest.approx(e.low)
        assert trace.hovertext[0].startswith(f"Sensitivity of {c.name}: ")


def test_what_is_not_defined_is_not_drawn():
    true = np.array([0, 2] * 30)
    given = report(table(true, np.eye(3)[true]), draws=20)
    for name, figure in drawn(given).items():
        json.loads(figure.to_json())
        assert "osteopenia" not in [t.name for t in figure.data], name
    by_class = {t.name: t for t in figures.intervals_by_class(given.evaluation).data}
    assert len(by_class["Osteopenia"].x) == 1  # its specificity


def test_text_takes_the_colour_of_the_page_and_no_scale_is_jet(found):
    for figure in drawn(found).values():
        assert figure.layout.paper_bgcolor == figure.layout.plot_bgcolor == "rgba(0,0,0,0)"
        assert figure.layout.font.color is None
        text = figure.to_json()
        assert "#00007F" not in text and "rainbow" not in text.lower()
    stops = [colour for _, colour in drawn(found)["confusion"].data[0].colorscale]
    assert all(stop.startswith("rgba(") for stop in stops)


def test_pure(found):
    assert figures.confusion(found.evaluation) == figures.confusion(found.evaluation)
    assert chart_config("x")["toImageButtonOptions"]["filename"] == "x"


def test_one_radiograph_is_enough_to_draw():
    given = report(calibrated(np.random.default_rng(0), 1, most=1), draws=20)
    for figure in drawn(given).values():
        json.loads(figure.to_json())
