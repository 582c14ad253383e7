"""Which files show the same radiograph.

Three strengths: identical bytes; near-identical pictures (re-encoded, rescaled, squeezed,
brightened, mirrored); and one picture that is a part of another. Candidates come from
:mod:`candidates`; a pair is joined only if :mod:`geometry` lays one picture over the other
and the blocks of both agree in their fine structure, which no two knees' do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kop_core.datasets.audit import candidates, geometry, threads
from kop_core.datasets.audit.signature import Signature

# Measured on paper1947 and knees of another study (benchmarks/audit.py holds the outcome):
# different radiographs are alike up to 0.88 as they are and up to 0.90 mirrored, a person's
# own two legs, one of them mirrored, up to 0.96; copies from 0.96 on, few from 0.87 on. No more
# than 19 points agreed between pictures that are no copies.
LIKENESS = 0.915
LIKENESS_MIRRORED = 0.965
_LIKENESS_OF_MANY = 0.85
_MANY_POINTS = 25
_SAME_FIELD = 0.93
Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Match:
    """Two different pictures of one radiograph, by their places in what was compared.

    Attributes:
        first: the smaller place.
        second: the larger.
        near: whether both show the same field of view; else one is part of the other.
        mirrored: whether one is turned left to right.
        likeness: see :class:`kop_core.datasets.audit.geometry.Fit`.
    """

    first: int
    second: int
    near: bool
    mirrored: bool
    likeness: float


class Groups:
    """A union-find over places: who belongs together so far."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def find(self, place: int) -> int:
        """Return the group of a place, as the place that stands for it."""
        while self._parent[place] != place:
            self._parent[place] = self._parent[self._parent[place]]
            place = self._parent[place]
        return place

    def join(self, first: int, second: int) -> None:
        """Put two groups together; the smaller place stands for them."""
        low, high = sorted((self.find(first), self.find(second)))
        self._parent[high] = low


def find_copies(signatures: Sequence[Signature], report: Report | None = None) -> list[Match]:
    """Find the pictures that show the same radiograph.

    Args:
        signatures: pictures that differ in their bytes.
        report: called with close looks taken and to be taken.

    Returns:
        Links enough to join every group; not every pair of a group is among them.
    """
    groups = Groups(len(signatures))
    matches = []
    for i, j, mirrored, _ in candidates.whole_pairs(signatures):
        if groups.find(i) != groups.find(j):
            match = _whole(signatures, i, j, mirrored)
            if match:
                matches.append(match)
                groups.join(i, j)
    matches += _parts(signatures, groups, report)
    return matches


def is_copy(fit: geometry.Fit | None, mirrored: bool) -> bool:
    """Say whether what was compared shows one radiograph."""
    if fit is None:
        return False
    if fit.inliers >= _MANY_POINTS and fit.likeness >= _LIKENESS_OF_MANY:
        return True
    return fit.likeness >= (LIKENESS_MIRRORED if mirrored else LIKENESS)


def _whole(signatures: Sequence[Signature], i: int, j: int, mirrored: bool) -> Match | None:
    first, second = signatures[i].view, signatures[j].view
    if mirrored:
        first = first[:, ::-1]
    scale = np.array(second.shape[::-1]) / np.array(first.shape[::-1])
    fit = geometry.compare(np.ascontiguousarray(first), second, scale, np.zeros(2), least=0.2)
    if not is_copy(fit, mirrored):
        return None
    return Match(i, j, True, mirrored, fit.likeness)


def _parts(signatures: Sequence[Signature], groups: Groups, report: Report | None) -> list[Match]:
    """Compare one picture of each group, the one with most pixels, by its points."""
    largest: dict[int, int] = {}
    for place, signature in enumerate(signatures):
        group = groups.find(place)
        best = largest.setdefault(group, place)
        if signature.view.size > signatures[best].view.size:
            largest[group] = place
    chosen = sorted(largest.values())
    pairs = candidates.part_pairs([signatures[c] for c in chosen])
    pairs.sort(key=lambda pair: -len(pair[3]))
    matches = []

    def look(pair: tuple) -> Match | None:
        i, j, mirrored, points = pair
        if groups.find(chosen[i]) == groups.find(chosen[j]):
            return None  # joined through others meanwhile
        return _part(signatures, chosen[i], chosen[j], mirrored, points)

    with threads.pool() as pool:
        for done, match in enumerate(pool.map(look, pairs), start=1):
            if match:
                matches.append(match)
                groups.join(match.first, match.second)
            if report:
                report(done, len(pairs))
    return matches


def _part(
    signatures: Sequence[Signature], i: int, j: int, mirrored: bool, points: np.ndarray
) -> Match | None:
    # The smaller field of view is laid over the larger; which one that is, scale tells.
    fit = geometry.fit(signatures[i], signatures[j], points, mirrored)
    if not is_copy(fit, mirrored):
        return None
    first, second = signatures[i].view.shape, signatures[j].view.shape
    share = fit.scale[0] * fit.scale[1] * first[0] * first[1] / (second[0] * second[1])
    near = fit.covered > _SAME_FIELD and _SAME_FIELD < share < 1 / _SAME_FIELD
    return Match(i, j, near, mirrored, fit.likeness)
