"""The images in a cell: all of them, in order, with what else shows the radiograph."""

from __future__ import annotations

import csv
import io
import math
from itertools import pairwise

import numpy as np
import pytest

from kop_core.classes import CLASS_NAMES
from kop_core.datasets.scanning import Item
from kop_core.evaluation import Predictions
from kop_core.evaluation.cells import (
    BY_LOSS,
    LEAST_SCORE,
    MISTAKES,
    Cell,
    Facts,
    Filter,
    cases,
    cell_from,
    chosen,
    kin,
    source,
    to_csv,
)
from kop_core.evaluation.matrix import ABSTAIN, NOT_CALLED, PLAIN, Rule, confusion_matrix
from tests.evaluation.simulated import skilled, table


@pytest.mark.parametrize("rule", [PLAIN, Rule(ABSTAIN, 0.6)])
def test_every_image_is_in_the_cell_that_counts_it(rule):
    predictions = skilled()
    found = confusion_matrix(predictions, rule, draws=10)
    seen = []
    for i, true in enumerate(CLASS_NAMES):
        for j, name in enumerate(rule.columns):
            held = cases(predictions, Cell(true, name), rule)
            assert len(held) == found.counts[i, j]
            assert all((c.true, c.called) == (true, name) for c in held)
            seen += [c.file for c in held]
    assert sorted(seen) == sorted(predictions.files)
    assert len(cases(predictions, MISTAKES, rule)) == found.images - found.right - found.uncalled


def test_the_most_confident_come_first_or_those_of_the_largest_loss():
    predictions = skilled(skill=0.5)
    for by in ("confidence", BY_LOSS):
        values = [getattr(c, by) for c in cases(predictions, by=by)]
        assert all(a >= b for a, b in pairwise(values)) and len(values) > 10
    first = cases(predictions)[0]
    place = predictions.files.index(first.file)
    assert first.confidence == predictions.probabilities[place].max()
    assert first.loss == pytest.approx(
        -math.log(predictions.probabilities[place, predictions.true[place]])
    )


def test_a_loss_is_a_number_where_the_label_has_no_score():
    (case,) = cases(table([2], [[1.0, 0.0, 0.0]]))
    assert case.loss == pytest.approx(-math.log(LEAST_SCORE))
    (none,) = cases(table([2], [[0.4, 0.3, 0.3]]), Cell("any", NOT_CALLED), Rule(ABSTAIN, 0.5))
    assert none.called == NOT_CALLED and none.confidence == 0.4


def test_cells_in_addresses_and_sentences():
    for cell in (MISTAKES, Cell("osteoporosis", "healthy"), Cell("any", "any"),
                 Cell("healthy", NOT_CALLED)):  # fmt: skip
        assert cell_from(cell.word) == cell
    for word in (None, "", "x", "healthy", "healthy-x", "otherwise-healthy", "<b>-any"):
        assert cell_from(word) is None
    assert Cell("osteoporosis", "healthy").sentence == "Labelled osteoporosis, called healthy"
    assert MISTAKES.sentence == "Images called otherwise than labelled"
    assert Cell("any", "any").sentence == "All images"


def relations() -> tuple[Predictions, list[Item]]:
    predictions = Predictions(
        ("a.png", "b.png", "c.png", "d.png"), ("R1", "R1", "R2", ""),
        np.array([0, 2, 1, 1]), np.full((4, 3), 1 / 3),
    )  # fmt: skip
    items = [
        Item("a.png", "healthy", "R1", "1"),
        Item("b.png", "osteoporosis", "R1", "2"),
        Item("c.png", "osteopenia", "R2", "3"),
        Item("d.png", "osteopenia", "R3", "4"),
        Item("e.png", "osteopenia", "R2", "5"),
    ]
    return predictions, items


def test_copies_and_conflicts_within_the_test_part():
    found = kin(relations()[0])
    assert found["a.png"].conflicted and found["a.png"].files == ("a.png", "b.png")
    said = " ".join(found["a.png"].sentences("a.png"))
    assert "1 other file of the test part shows this radiograph" in said
    assert "filed under healthy and osteoporosis: at least one of its labels is wrong" in said
    assert found["c.png"].sentences("c.png") == [
        "No other file of the test part shows this radiograph."
    ]
    assert "d.png" not in found  # which radiograph it shows is not known


def test_copies_in_all_of_the_data_and_in_training():
    predictions, items = relations()
    found = kin(predictions, items, ["e.png"])
    assert found["c.png"].files == ("c.png", "e.png") and found["c.png"].of_all_data
    assert found["c.png"].sentences("c.png") == [
        "1 other file of the data set shows this radiograph, 1 of which the model was trained on."
    ]
    assert found["d.png"].files == ("d.png",)


def test_filters():
    cases_ = cases(skilled(images=6), Cell("any", "any"))
    facts = {c.file: Facts((100 + 50 * i, 80), ("right", None)[i % 2])
             for i, c in enumerate(cases_)}  # fmt: skip
    assert chosen(cases_, Filter(), "knees", {}) == cases_
    assert [c.file for c in chosen(cases_, Filter(sides=(150, 200)), "knees", facts)] == [
        cases_[1].file, cases_[2].file,
    ]  # fmt: skip
    assert chosen(cases_, Filter(laterality=""), "knees", facts) == cases_[1::2]
    assert chosen(cases_, Filter(laterality="left"), "knees", facts) == ()
    assert chosen(cases_, Filter(sides=(0, 9999)), "knees", {}) == ()  # no size is known
    assert source("Normal/a.png", "knees") == source("a.png", "knees") == "knees"
    assert source("hospital A/Normal/a.png", "knees") == "hospital A"


def test_a_table_of_cases_is_safe_in_a_spreadsheet():
    predictions = Predictions(("=cmd.png",), ("+R",), np.array([0]), np.array([[0.1, 0.2, 0.7]]))
    found = cases(predictions)
    (row,) = csv.DictReader(io.StringIO(to_csv(found, kin(predictions))))
    assert row["file"] == "'=cmd.png" and row["radiograph"] == "'+R"
    assert row["called"] == "osteoporosis" and float(row["loss"]) == pytest.approx(2.3026, abs=1e-3)
    assert row["files_of_the_radiograph"] == "1" and row["filed_under"] == "healthy"
