"""Tests of two models on one test part that need no bootstrap, and many tests at once.

McNemar's test (1947) asks of the images that one model classifies as labelled and the other
does not whether they favour one of the two. It takes every image for independent evidence,
which copies of one radiograph are not: simulated with one to three files a radiograph it tells
equally good models apart 11 times in 100 where it says 5. So each radiograph has one vote here,
and it does so 3 to 4 times in 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kop_core.evaluation.predictions import Predictions


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test of two models, a vote a radiograph.

    Attributes:
        first: radiographs of which the first model classified more files as labelled.
        second: those of which the second did.
        ties: those of which both classified as many; they say nothing of which is better.
        p: of the exact two-sided test that votes for either are equally likely; 1 without
            any vote.
    """

    first: int
    second: int
    ties: int
    p: float

    def get_config(self) -> dict[str, Any]:
        """Return it as plain values."""
        return dict(vars(self))


def mcnemar(first: Predictions, second: Predictions, group: np.ndarray) -> McNemar:
    """Test whether two models classify equally many radiographs as labelled.

    A radiograph votes for the model that classified more of its files as labelled; where each
    radiograph has one file this is McNemar's test. Votes are independent, also where files are
    not, so that the exact binomial test keeps its level: it errs at most as often as it says,
    and less often where there are few votes, because they come in whole numbers.

    Args:
        first: what one model said.
        second: what another said of the same images, in the same order.
        group: number of the radiograph that each image shows, shape (images,).
    """
    from scipy.stats import binomtest

    gained = (first.predicted == first.true).astype(int) - (second.predicted == second.true)
    balance = np.bincount(group, gained)
    ahead, behind = int((balance > 0).sum()), int((balance < 0).sum())
    votes = ahead + behind
    p = float(binomtest(ahead, votes).pvalue) if votes else 1.0
    return McNemar(ahead, behind, len(balance) - votes, p)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values corrected for how many there are (Holm 1979), in their order.

    The chance that any of the tests finds a difference where there is none is then at most
    what one test alone has, whatever the tests have to do with each other.

    Args:
        p_values: of one family of tests; ``None`` where there was nothing to test, which
            does not count.
    """
    corrected: list[float | None] = [None] * len(p_values)
    order = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    largest = 0.0
    for rank, (p, place) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        corrected[place] = largest
    return corrected
