"""Confusion matrices under a rule: counted right, with the intervals of everything else."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from kop_core.classes import CLASS_NAMES
from kop_core.errors import DataSetError
from kop_core.evaluation import Predictions, evaluate, matrix_words
from kop_core.evaluation.matrix import (
    ABSTAIN,
    PLAIN,
    THRESHOLD,
    UNCALLED,
    Rule,
    called,
    confusion_matrix,
    difference,
    rule_from,
    to_csv,
)
from tests.evaluation.simulated import skilled, table

SCORES = [[0.6, 0.3, 0.1], [0.3, 0.3, 0.4], [0.4, 0.25, 0.35], [0.1, 0.2, 0.7], [0.5, 0.5, 0.0]]
FIVE = table([0, 1, 2, 2, 1], SCORES)


def test_the_plain_matrix_is_the_one_that_is_evaluated():
    predictions = skilled()
    found, measured = confusion_matrix(predictions), evaluate(predictions)
    assert found.counts.tolist() == measured.confusion.tolist()
    for i, name in enumerate(CLASS_NAMES):
        for j in range(3):
            ours, theirs = found.of_rows[i][j], measured.shares[i][j]
            assert ours.get_config() == pytest.approx(theirs.get_config())
        precision = measured.metrics[f"precision_{name}"].get_config()
        assert found.of_columns[i][i].get_config() == pytest.approx(precision)
    assert found.right == np.trace(found.counts) and found.uncalled == 0


@pytest.mark.parametrize(
    ("rule", "calls"),
    [
        (PLAIN, [0, 2, 0, 2, 0]),
        (Rule(ABSTAIN, 0.0), [0, 2, 0, 2, 0]),
        (Rule(ABSTAIN, 0.5), [0, UNCALLED, UNCALLED, 2, 0]),
        (Rule(ABSTAIN, 1.0), [UNCALLED] * 5),
        (Rule(THRESHOLD, 0.35), [0, 2, 2, 2, 0]),
        (Rule(THRESHOLD, 0.0), [2] * 5),
        (Rule(THRESHOLD, 0.5), [0, 0, 0, 2, 0]),
        # 0.25 + 0.35 reaches 0.6 whatever floating point makes of it.
        (Rule(THRESHOLD, 0.6, "low_bone_mass"), [0, 2, 2, 2, 0]),
        (Rule(THRESHOLD, 0.4, "low_bone_mass"), [1, 2, 2, 2, 1]),
        (Rule(THRESHOLD, 1.0, "low_bone_mass"), [0] * 5),
    ],
)
def test_what_a_rule_calls(rule, calls):
    assert called(FIVE, rule).tolist() == calls


def test_an_uncalled_image_is_counted_apart():
    found = confusion_matrix(FIVE, Rule(ABSTAIN, 0.5), draws=50)
    assert found.counts.tolist() == [[1, 0, 0, 0], [1, 0, 0, 1], [0, 0, 1, 1]]
    assert found.uncalled == 2 and found.right == 2
    assert found.of_rows[1][3].value == 0.5 and found.of_columns[2][3].value == 0.5
    assert found.of_columns[0][1].value is None  # nothing is called osteopenia
    said = matrix_words.answer(found)
    assert said.startswith("2 are called nothing, of 5 images of 5 radiographs. Of the other 3, 2 ")
    assert "1 is called nothing: 50 %" in matrix_words.cell(found, 2, 3)


def test_the_table_of_a_matrix_has_a_row_a_cell():
    found = confusion_matrix(FIVE, Rule(ABSTAIN, 0.5), draws=50)
    rows = list(csv.DictReader(io.StringIO(to_csv(found, "a-model", "by radiograph, fold 1"))))
    assert len(rows) == 12 and sum(int(r["images"]) for r in rows) == 5
    missed = next(r for r in rows if (r["labelled"], r["called"]) == ("osteoporosis", "uncalled"))
    assert missed["share_of_row"] == missed["share_of_column"] == "0.500000"
    empty = next(r for r in rows if (r["labelled"], r["called"]) == ("healthy", "osteopenia"))
    assert empty["share_of_column"] == "" and empty["share_of_row"] == "0.000000"
    about = ("model", "rule", "level", "test_images", "test_radiographs", "split")
    assert {tuple(row[name] for name in about) for row in rows} == {
        ("a-model", "abstain", "0.5", "5", "5", "by radiograph, fold 1")
    }


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (PLAIN, ("most_likely", "")),
        (Rule(THRESHOLD, 0.35, "low_bone_mass"), ("threshold low_bone_mass", "0.35")),
    ],
)
def test_the_table_of_a_matrix_says_by_what_rule(rule, said):
    unknown = Predictions(FIVE.files, ("",) * 5, FIVE.true, FIVE.probabilities)
    (row, *_) = csv.DictReader(io.StringIO(to_csv(confusion_matrix(unknown, rule, 20), "a", "b")))
    assert (row["rule"], row["level"]) == said
    assert row["test_images"] == "5" and row["test_radiographs"] == ""


def test_copies_of_a_radiograph_make_no_interval_narrower():
    once = skilled(images=40, radiographs=40)
    group = once.groups
    twice = Predictions(
        (*once.files, *(f"copy of {f}" for f in once.files)),
        tuple(f"R{g:03d}" for g in (*group, *group)),  # in the same order
        np.tile(once.true, 2),
        np.tile(once.probabilities, (2, 1)),
    )
    rule = Rule(ABSTAIN, 0.6)
    one, two = (confusion_matrix(p, rule) for p in (once, twice))
    assert (two.counts == 2 * one.counts).all() and two.groups == one.groups
    for a, b in zip(one.of_rows[0], two.of_rows[0]):
        assert b.get_config() == pytest.approx(a.get_config())


@pytest.mark.parametrize("rule", [PLAIN, Rule(ABSTAIN, 0.6), Rule(THRESHOLD, 0.3)])
def test_a_difference_is_paired_and_turns_with_the_order(rule):
    a = skilled(seed=1, skill=2.0)
    b = Predictions(a.files, a.radiographs, a.true, skilled(seed=2).probabilities)
    there, back = difference(a, b, rule), difference(b, a, rule)
    of_a, of_b = confusion_matrix(a, rule), confusion_matrix(b, rule)
    assert (there.counts == of_a.counts - of_b.counts).all()
    for i in range(3):
        for j in range(len(rule.columns)):
            one, other = there.of_rows[i][j], back.of_rows[i][j]
            assert one.value == pytest.approx(of_a.of_rows[i][j].value - of_b.of_rows[i][j].value)
            assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    places = np.random.default_rng(0).permutation(len(b.files))
    mixed = Predictions(
        tuple(b.files[i] for i in places), tuple(b.radiographs[i] for i in places),
        b.true[places], b.probabilities[places],
    )  # fmt: skip
    assert difference(a, mixed, rule).of_rows == there.of_rows


def test_no_difference_is_not_certain_and_is_not_told_apart():
    a = skilled()
    found = difference(a, a)
    assert not found.counts.any()
    assert found.of_rows[0][0].low < 0 < found.of_rows[0][0].high
    assert "every 95 % interval holds 0" in matrix_words.told_apart(found, "A", "B")


def test_a_difference_beyond_chance_is_named():
    a = skilled(skill=6.0, images=200, radiographs=100)
    b = Predictions(a.files, a.radiographs, a.true, np.roll(a.probabilities, 1, axis=1))
    said = matrix_words.told_apart(difference(a, b), "A", "B")
    assert "healthy called healthy by +" in said and "one of twenty" in said


def test_other_images_are_not_compared():
    a, b = skilled(images=50), skilled(images=40)
    with pytest.raises(DataSetError, match="not of the same images"):
        difference(a, b)


def test_the_rule_of_an_address():
    assert rule_from(None, None) == PLAIN
    assert rule_from("abstain", "70") == Rule(ABSTAIN, 0.7)
    assert rule_from("threshold", None, "low_bone_mass").level == 0.5
    for kind, level in (("magic", "50"), ("abstain", "x"), ("abstain", "101"), ("abstain", "nan")):
        with pytest.raises(DataSetError, match="no rule"):
            rule_from(kind, level)
