"""Which pairs of pictures are worth a close look, without looking at every pair.

Both searches go through an index, so that their cost grows about with the number of
pictures: whole pictures through a k-d tree, points through FLANN's randomised k-d trees
(Muja & Lowe 2009).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import cv2
import numpy as np
from scipy.spatial import cKDTree

from kop_core.datasets.audit import threads
from kop_core.datasets.audit.signature import Signature, mirrored_descriptors, principal_axes

_AXES = 24
_WHOLE_NEIGHBOURS = 8
_WHOLE_LIKENESS = 0.75
_FINE_LIKENESS = 0.35
_NEIGHBOURS = 12
_CLEARLY = 0.5
_TURN = 15.0
_LEAST_MATCHES = 5
_CHECKS = 48


def whole_pairs(signatures: Sequence[Signature]) -> list[tuple[int, int, bool, float]]:
    """Return pairs whose stretched pictures are alike, likest first.

    Each picture's nearest few are looked up by the first principal axes, and kept if the
    whole pictures are alike at two resolutions.

    Returns:
        ``(i, j, mirrored, likeness)`` with ``i < j``.
    """
    shape = signatures[0].whole.shape if signatures else (0, 0)
    whole = np.stack([s.whole.ravel() for s in signatures]) if signatures else np.empty((0, 0))
    textured = np.flatnonzero(whole.any(axis=1))
    if len(textured) < 2:
        return []
    whole = whole[textured]
    axes = principal_axes(whole, _AXES)
    tree = cKDTree(whole @ axes.T)
    turned = whole.reshape(-1, *shape)[:, :, ::-1].reshape(len(whole), -1)
    found = {}
    for mirrored, asked in ((False, whole), (True, turned)):
        near = tree.query(asked @ axes.T, k=min(_WHOLE_NEIGHBOURS, len(whole)))[1]
        for place, others in enumerate(near):
            likeness = whole[others] @ asked[place]
            for other in others[likeness > _WHOLE_LIKENESS]:
                i, j = sorted((int(textured[place]), int(textured[other])))
                if i != j and (i, j, mirrored) not in found:
                    found[i, j, mirrored] = _fine(signatures[i], signatures[j], mirrored)
    kept = [(*pair, likeness) for pair, likeness in found.items() if likeness > _FINE_LIKENESS]
    return sorted(kept, key=lambda pair: -pair[3])


def _fine(first: Signature, second: Signature, mirrored: bool) -> float:
    fine = first.fine[:, ::-1] if mirrored else first.fine
    return float(np.dot(fine.ravel().astype(np.float32), second.fine.ravel().astype(np.float32)))


def part_pairs(signatures: Sequence[Signature]) -> list[tuple[int, int, bool, np.ndarray]]:
    """Return pairs that share points, whether one is mirrored, and the matched points.

    A match counts if the point's neighbour is clearly nearer than its twelfth neighbour,
    and lies in the same direction: copies are not turned.

    Returns:
        ``(i, j, mirrored, matches)`` with matches int, shape (n, 2); ``i < j``.
    """
    counts = [len(s.points) for s in signatures]
    if sum(c > 0 for c in counts) < 2:
        return []
    owner = np.repeat(np.arange(len(signatures)), counts)
    first = np.concatenate([[0], np.cumsum(counts)])
    descriptors = np.vstack([s.descriptors for s in signatures]).astype(np.float32)
    angle = np.concatenate([s.points[:, 2] for s in signatures])
    cv2.setRNGSeed(0)
    index = cv2.flann_Index(descriptors, {"algorithm": 1, "trees": 4})
    neighbours = min(_NEIGHBOURS, len(descriptors))
    found = []
    for mirrored in (False, True):
        asked = mirrored_descriptors(descriptors) if mirrored else descriptors
        near, distance = _search(index, asked, neighbours)
        expected = 180 - angle if mirrored else angle
        found += _gather(near, distance, owner, first, angle, expected, mirrored)
    return found


def _search(index, asked: np.ndarray, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """Ask the index from several threads; FLANN itself uses one."""

    def ask(part: np.ndarray):
        return index.knnSearch(part, neighbours, params={"checks": _CHECKS})

    parts = np.array_split(asked, min(threads.workers(), len(asked)))
    with threads.pool() as pool:
        answers = list(pool.map(ask, parts))
    return np.vstack([a[0] for a in answers]), np.vstack([a[1] for a in answers])


def _gather(near, distance, owner, first, angle, expected, mirrored) -> list:
    """Collect the matches of each pair of pictures, dropping pairs with too few."""
    asked = np.repeat(np.arange(len(owner)), near.shape[1])
    answer, far = near.ravel(), np.repeat(distance[:, -1], near.shape[1])
    turn = np.abs((expected[asked] - angle[answer] + 180) % 360 - 180)
    kept = (owner[asked] != owner[answer]) & (turn < _TURN)
    kept &= distance.ravel() < _CLEARLY * far
    asked, answer = asked[kept], answer[kept]
    swap = owner[asked] > owner[answer]
    low, high = np.where(swap, answer, asked), np.where(swap, asked, answer)
    pairs = np.unique(np.stack([low, high], axis=1), axis=0)
    by_pair = defaultdict(list)
    for low_point, high_point in pairs:
        by_pair[owner[low_point], owner[high_point]].append((low_point, high_point))
    found = []
    for (i, j), points in by_pair.items():
        if len(points) >= _LEAST_MATCHES:
            matches = np.array(points) - [first[i], first[j]]
            found.append((int(i), int(j), mirrored, matches))
    return found
