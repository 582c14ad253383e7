"""Tests without a bootstrap: held equal to SciPy and to cases by hand, and simulated."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from kop_core.evaluation.significance import McNemar, holm, mcnemar
from tests.evaluation.simulated import equally_good, table

CALLS = np.eye(3) * 0.7 + 0.1


def said(right: list[bool], groups: list[int] | None = None):
    """Return predictions of images that are all healthy: right ones and wrong ones."""
    calls = [0 if one else 2 for one in right]
    return table([0] * len(right), CALLS[calls], groups)


def test_one_file_a_radiograph_is_mcnemar_of_the_textbook():
    first = said([True] * 30 + [True] * 12 + [False] * 4 + [False] * 6)
    second = said([True] * 30 + [False] * 12 + [True] * 4 + [False] * 6)
    found = mcnemar(first, second, first.groups)
    assert (found.first, found.second, found.ties) == (12, 4, 36)
    assert found.p == binomtest(12, 16, 0.5).pvalue
    turned = mcnemar(second, first, first.groups)
    assert (turned.first, turned.second, turned.p) == (4, 12, found.p)


def test_a_radiograph_has_one_vote_however_many_copies():
    groups = [0, 0, 0, 1, 1, 2, 2, 3]
    first = said([True, True, False, True, True, True, False, False], groups)
    second = said([False, False, False, True, False, False, True, False], groups)
    # 2 : 0 of radiograph 0, 1 : 0 of radiograph 1, 1 : 1 of radiograph 2, nothing of 3.
    assert mcnemar(first, second, first.groups) == McNemar(2, 0, 2, binomtest(2, 2, 0.5).pvalue)


def test_no_vote_is_no_evidence():
    same = said([True, False, True])
    assert mcnemar(same, same, same.groups) == McNemar(0, 0, 3, 1.0)


def test_it_keeps_its_level_with_copies_and_votes_by_file_would_not():
    rng = np.random.default_rng(5)
    by_radiograph, by_file = [], []
    for _ in range(1000):
        a, b = equally_good(rng, 138, 3)
        by_radiograph.append(mcnemar(a, b, a.groups).p <= 0.05)
        by_file.append(mcnemar(a, b, np.arange(len(a.files))).p <= 0.05)
    assert 0.03 <= np.mean(by_radiograph) <= 0.07
    assert np.mean(by_file) > 0.09


@pytest.mark.parametrize(
    ("p_values", "corrected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # Holm's own steps by hand
        ([0.5, 0.6], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([0.02, 0.02], [0.04, 0.04]),
        ([0.01, None, 0.04], [0.02, None, 0.04]),
        ([None], [None]),
        ([], []),
    ],
)
def test_holm(p_values, corrected):
    found = holm(p_values)
    assert [p is None for p in found] == [p is None for p in corrected]
    assert [p for p in found if p is not None] == pytest.approx(
        [p for p in corrected if p is not None]
    )


def test_holm_keeps_the_family_at_its_level_and_is_never_below_the_p_value():
    rng = np.random.default_rng(0)
    families = rng.random((3000, 6))
    corrected = np.array([holm(list(family)) for family in families])
    assert (corrected >= families).all()
    assert 0.03 <= (corrected.min(axis=1) <= 0.05).mean() <= 0.07
    # As strict as Bonferroni for the smallest, and never stricter for another.
    assert (corrected <= np.minimum(1, 6 * families) + 1e-12).all()
