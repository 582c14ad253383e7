"""Figures of several models in one: colours, lines, what is told under the pointer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kop_core.classes import CLASSES
from kop_core.evaluation import compared
from kop_core.figures import comparing as figures
from tests.altered import another
from tests.contrast import contrast


@pytest.fixture(scope="module")
def entries(tmp_path_factory, shipped):
    folder = tmp_path_factory.mktemp("models")
    history = "epoch,val_accuracy,val_loss,accuracy,loss\n1,0.5,1.0,0.4,1.2\n2,0.6,nan,0.5,1\n"
    only = np.arange(283) < 119  # healthy only
    models = [
        another(shipped, folder, "a"),
        another(shipped, folder, "b", noise=2, history=history,
                training={**shipped.card["training"], "config": {"validation_share": 0.2}}),
        another(shipped, folder, "c", part=only, history="no,table\n"),
    ]  # fmt: skip
    return compared.read(models, lambda p: compared.measure(p, draws=100))[0]


def test_no_model_looks_like_another_or_like_a_class():
    looks = [figures.look(place) for place in range(36)]
    assert len(set(looks)) == 36
    assert len({(look.dash, look.marker) for look in looks[:6]}) == 6  # never colour alone
    assert not {look.colour for look in looks} & {c.colour for c in CLASSES}


@pytest.mark.parametrize("colour", figures.COLOURS)
def test_lines_are_seen_on_light_and_on_dark(colour):
    assert contrast(colour, "#FBFCFC") >= 3 and contrast(colour, "#10171A") >= 3


def test_curves_are_those_of_each_model_with_its_area(entries):
    for drawn, metric, word in (
        (figures.roc, "roc_auc", "AUC"),
        (figures.precision_recall, "average_precision", "AP"),
    ):
        figure = drawn(entries, "osteoporosis")
        lines = [t for t in figure.data if word in (t.name or "")]
        # The third was tested on healthy images only: there is no curve to draw of it.
        assert [t.name.split(":")[0] for t in lines] == ["a", "b"]
        for place, (line, entry) in enumerate(zip(lines, entries)):
            found = entry.evaluation.metrics[f"{metric}_osteoporosis"]
            assert f"{word} {found.value:.2f} ({found.low:.2f}" in line.name
            assert line.line.color == figures.look(place).colour
            assert line.text[1].startswith(f"{entry.key}. ") and "is found" in line.text[1]
        json.loads(figure.to_json())


def test_reliability_is_drawn_with_intervals_where_they_can_be_read(entries):
    few, many = figures.reliability(entries), figures.reliability([*entries, *entries])
    assert few.data[1].error_y.array is not None and many.data[1].error_y.array is None
    held = [b for b in entries[0].measured.bins if b.images]
    assert list(few.data[1].y) == [b.right.value for b in held]
    assert "classified as labelled" in few.data[1].hovertext[0].replace("<br>", " ")
    assert len({trace.marker.symbol for trace in few.data[1:]}) == 3


def test_learning_curves_say_which_part_was_watched(entries):
    figure = figures.learning(entries, "val_accuracy")
    assert [t.name for t in figure.data] == ["a: test pictures", "b: validation pictures"]
    assert len(figure.data[0].x) == 30 and list(figure.data[1].y) == [0.5, 0.6]
    loss = figures.learning(entries, "val_loss")
    assert list(loss.data[1].y) == [1.0]  # what is no number is passed over
    assert figures.learning(entries, "loss").data[1].name == "b: training pictures"
    assert not figures.learning(entries[2:], "val_accuracy").data


def test_a_legend_has_room_for_every_model(entries):
    one, five = figures.roc(entries[:1], "healthy"), figures.roc([*entries, *entries], "healthy")
    assert five.layout.height > one.layout.height
    assert five.layout.height - five.layout.margin.t == one.layout.height - one.layout.margin.t
