"""Figures of confusion matrices: every cell can be clicked and says what it counts."""

from __future__ import annotations

import pytest

from kop_core.evaluation import published
from kop_core.evaluation.matrix import ABSTAIN, PLAIN, Rule, confusion_matrix, difference
from kop_core.figures import matrix as figures
from tests.evaluation.simulated import skilled


@pytest.mark.parametrize("rule", [PLAIN, Rule(ABSTAIN, 0.6)])
@pytest.mark.parametrize("shown", figures.SHOWN)
def test_a_marker_lies_over_each_cell(rule, shown):
    found = confusion_matrix(skilled(), rule, draws=50)
    figure = figures.confusion(found, shown)
    heat, markers = figure.data
    columns = len(rule.columns)
    assert [list(c) for c in markers.customdata] == [
        [i, j] for i in range(3) for j in range(columns)
    ]
    for (i, j), said in zip(markers.customdata, markers.hovertext):
        assert f"{found.counts[i, j]:,}" in heat.text[i][j]
        assert "labelled" in said and "%" in said
    assert markers.marker.opacity == 0 and heat.hoverinfo == "skip"


def test_osteoporosis_called_healthy_is_loudest_and_the_right_ones_are_quiet():
    heat = figures.confusion(confusion_matrix(skilled(skill=0.5), draws=50)).data[0]
    values = {(i, j): heat.z[i][j] for i in range(3) for j in range(3)}
    assert max(values, key=values.get) == (2, 0)
    assert all(values[i, i] <= 0 for i in range(3))
    assert "missed" in heat.text[2][0]


def test_the_chosen_cell_is_outlined():
    found = confusion_matrix(skilled(), draws=50)
    assert len(figures.confusion(found).layout.shapes) == 1
    shape = figures.confusion(found, chosen=(1, 2)).layout.shapes[-1]
    assert (shape.x0, shape.x1, shape.y0, shape.y1) == (1.51, 2.49, 0.51, 1.49)


def test_a_difference_is_filled_only_beyond_chance():
    a = skilled(skill=3.0)
    same = figures.difference(difference(a, a))
    assert all(value == 0 for row in same.data[0].z for value in row)
    assert "not beyond chance" in same.data[1].hovertext[0].replace("<br>", " ")
    other = type(a)(a.files, a.radiographs, a.true, a.probabilities[:, [1, 2, 0]])
    found = figures.difference(difference(a, other))
    assert found.data[0].z[0][0] == 1 and found.data[0].z[0][2] == 1


def test_the_papers_matrix_has_numbers_where_they_follow_and_ranges_elsewhere():
    found = published.figure_9()
    fitting = published.confusions(found.fixed)
    assert found.possible == len(fitting) == 7
    assert (found.low[0, 1], found.high[0, 1]) == (4, 10)
    for i in range(3):
        assert found.low[i, i] == found.high[i, i] == found.fixed.correct[i]
    for matrix in fitting:
        assert ((found.low <= matrix) & (matrix <= found.high)).all()
    text = figures.published(found).data[0].text
    assert text[0][0].startswith("<b>149</b>") and text[0][1] == "<i>4–10</i>"
