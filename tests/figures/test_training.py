"""Figures of a run as it learns, as values."""

from __future__ import annotations

import math

import pytest

from kop_core.figures import training

ROWS = [
    {"epoch": e, "accuracy": 0.5 + 0.1 * e, "loss": 1.0 / e, "val_accuracy": 0.4 + 0.1 * e,
     "val_loss": 1.2 / e, "learning_rate": 0.001 / e, "val_macro_f1": 0.3 + 0.1 * e, "seconds": 2.0}
    for e in (1, 2, 3)
]  # fmt: skip


def by_name(figure) -> dict:
    return {trace.name: trace for trace in figure.data}


def test_accuracy_shows_both_parts_and_says_what_was_watched():
    traces = by_name(training.accuracy(ROWS, 30, training.TEST))
    assert list(traces["Training"].y) == pytest.approx([0.6, 0.7, 0.8])
    watched = traces["Watched part: test part, as in the paper"]
    assert list(watched.x) == [1, 2, 3] and list(watched.y) == pytest.approx([0.5, 0.6, 0.7])
    assert watched.hovertext[0] == (
        "Epoch 1. 50.0 % of the test pictures are<br>classified as they are labelled."
    )
    # Never by colour alone.
    assert traces["Training"].line.dash != watched.line.dash
    assert traces["Training"].marker.symbol != watched.marker.symbol


def test_with_a_validation_part_it_says_so():
    assert training.watched_part(0.1) == training.VALIDATION
    assert training.watched_part(0.0) == training.TEST
    for draw in (training.accuracy, training.loss):
        traces = by_name(draw(ROWS, 30, training.watched_part(0.1)))
        assert "Watched part: validation" in traces
    told = by_name(training.macro_f1(ROWS, 3, training.VALIDATION))["Watched part: validation"]
    assert told.hovertext[2] == "Epoch 3. Macro F1 on the validation pictures: 0.60."


def test_the_axes_span_the_whole_run_from_the_start():
    for rows in ([], ROWS[:1], ROWS):
        assert tuple(training.accuracy(rows, 30, training.TEST).layout.xaxis.range) == (0.5, 30.5)
    ticks = training.loss(ROWS, 30, training.TEST).layout.xaxis.tickvals
    assert ticks[0] == 1 and ticks[-1] == 30 and len(ticks) <= 11
    assert list(training.loss(ROWS, 3, training.TEST).layout.xaxis.tickvals) == [1, 2, 3]


def test_the_epoch_that_is_kept_is_marked():
    traces = by_name(training.accuracy(ROWS, 30, training.VALIDATION, kept=2))
    assert list(traces["Weights kept"].x) == [2]
    assert traces["Weights kept"].showlegend
    for kept in (None, 17):
        mark = by_name(training.loss(ROWS, 30, training.VALIDATION, kept))["Weights kept"]
        assert list(mark.x) == [None] and not mark.showlegend


def test_a_first_epoch_that_leaps_does_not_flatten_the_rest():
    rows = [{**ROWS[0], "loss": 80.0}, *({**ROWS[1], "epoch": e} for e in range(2, 20))]
    low, high = training.loss(rows, 30, training.TEST).layout.yaxis.range
    assert low == 0 and 0.6 <= high < 5
    high = training.loss(ROWS, 30, training.TEST).layout.yaxis.range[1]
    assert high >= 1.2


def test_numbers_that_are_none_are_left_out():
    rows = [ROWS[0], {**ROWS[1], "loss": math.nan, "val_loss": "x"}, {"epoch": 3, "loss": math.inf}]
    traces = by_name(training.loss(rows, 3, training.TEST))
    assert list(traces["Training"].x) == [1]
    assert list(traces["Watched part: test part, as in the paper"].x) == [1]
    assert training.number(True) is None and training.number(2) == 2.0


def test_an_old_history_has_no_macro_f1():
    rows = [{k: v for k, v in row.items() if k != "val_macro_f1"} for row in ROWS]
    assert not training.macro_f1(rows, 3, training.TEST).data[0].x
    assert list(training.learning_rate(rows, 3).data[0].y) == pytest.approx(
        [0.001, 0.0005, 0.001 / 3]
    )


def test_an_empty_history_is_an_empty_chart():
    for figure in (
        training.accuracy([], 5, training.TEST),
        training.loss([], 5, training.TEST),
        training.learning_rate([], 5),
        training.macro_f1([], 5, training.TEST),
    ):
        assert not figure.data[0].x and figure.layout.yaxis.title.text
