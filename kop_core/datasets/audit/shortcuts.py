"""How far one gets without looking at bone: by facts of the file, by look-up of copies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from scipy.spatial import cKDTree

from kop_core.datasets.audit.report import FileFacts, Shortcut
from kop_core.datasets.audit.signature import principal_axes
from kop_core.evaluation import Estimate
from kop_core.evaluation.intervals import ratios

FOLDS = 5
_LEAST_FILES = 10  # of a class, and least radiographs
_MOST_FILES = 5000
_AXES = 32
_TITLES = {
    "file_facts": "File facts: width, height, mode, format and bytes",
    "nearest_picture": "Look-up of the nearest picture by a hash of 48 × 72 values",
}
Answer = Callable[[np.ndarray, np.ndarray], np.ndarray]


def shortcuts(
    files: Sequence[FileFacts], hashes: Sequence[np.ndarray], seed: int = 0
) -> tuple[Shortcut, ...]:
    """Measure both shortcuts, in five folds by file and in five folds by radiograph.

    Args:
        files: the readable files.
        hashes: a small picture of each, float, all of one shape.
        seed: decides the folds.

    Returns:
        Both; their figures are ``None`` where there are fewer than two classes of ten files.
    """
    if not files:
        return ()
    places = _enough(files, seed)
    true = np.array([files[p].true for p in places])
    group = np.unique([files[p].radiograph for p in places], return_inverse=True)[1]
    answers = {
        "file_facts": _by_facts([files[p] for p in places], true, seed),
        "nearest_picture": _by_look_up([hashes[p] for p in places], true),
    }
    asked = true.tolist() or [f.true for f in files]
    majority = max(Counter(asked).values()) / len(asked)
    found = []
    for name, answer in answers.items():
        at_random, grouped = (_measure(answer, true, group, by, seed) for by in (False, True))
        found.append(Shortcut(name, _TITLES[name], at_random, grouped, majority))
    return tuple(found)


def look_up(
    files: Sequence[FileFacts], hashes: Sequence[np.ndarray], test: np.ndarray
) -> tuple[Estimate, dict[str, float]]:
    """Give each test file the class of the nearest picture in training.

    Of several that are equally near (copies under different classes) the class most of
    them have is given, and by a tie each counts its share.

    Args:
        files: the files of both parts.
        hashes: a small picture of each, float, all of one shape.
        test: bool, which of them are tested, shape (files,).

    Returns:
        The share that is called as it is filed, with its interval over radiographs, and how far
        each test file is, from 0 to 1. Both are empty if one of the parts is.
    """
    true = np.array([f.true for f in files])
    group = np.unique([f.radiograph for f in files], return_inverse=True)[1]
    if not test.any() or test.all():
        return Estimate(None, None, None), {}
    short = _shortened(hashes)
    tree = cKDTree(short[~test])
    nearest = tree.query(short[test])[0]
    right = []
    for point, distance, expected in zip(short[test], nearest, true[test]):
        alike = true[~test][tree.query_ball_point(point, distance + 1e-6)]
        counts = Counter(alike.tolist())
        most = [name for name, n in counts.items() if n == max(counts.values())]
        right.append((expected in most) / len(most))
    tested = np.unique(group[test], return_inverse=True)[1]
    names = [f.file for f, asked in zip(files, test) if asked]
    return ratios([np.array(right)], [np.ones(len(right))], tested)[0], dict(zip(names, right))


def _enough(files: Sequence[FileFacts], seed: int) -> np.ndarray:
    """Return the files of classes that can be cut in folds, a sample if there are many."""
    counts = Counter(f.true for f in files)
    places = [p for p, f in enumerate(files) if counts[f.true] >= _LEAST_FILES]
    if len({files[p].true for p in places}) < 2:
        return np.array([], int)
    order = np.random.default_rng(seed).permutation(places)
    return np.sort(order[:_MOST_FILES])


def _measure(
    answer: Answer, true: np.ndarray, group: np.ndarray, by_radiograph: bool, seed: int
) -> Estimate | None:
    if not len(true) or (by_radiograph and group.max() + 1 < _LEAST_FILES):
        return None
    right = np.zeros(len(true))
    for training, test in _folds(true, group, by_radiograph, seed):
        right[test] = answer(training, test) == true[test]
    return ratios([right], [np.ones(len(true))], group)[0]


def _folds(true: np.ndarray, group: np.ndarray, by_radiograph: bool, seed: int):
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    kind = StratifiedGroupKFold if by_radiograph else StratifiedKFold
    folds = kind(FOLDS, shuffle=True, random_state=seed)
    return folds.split(np.zeros(len(true)), true, group if by_radiograph else None)


def _by_facts(files: Sequence[FileFacts], true: np.ndarray, seed: int) -> Answer:
    from sklearn.ensemble import RandomForestClassifier

    codes = [{v: i for i, v in enumerate(sorted({getattr(f, k) for f in files}))}
             for k in ("mode", "format")]  # fmt: skip
    facts = np.array(
        [
            (f.width, f.height, f.width / f.height, f.bytes, f.bytes / (f.width * f.height),
             codes[0][f.mode], codes[1][f.format])
            for f in files
        ]
    )  # fmt: skip

    def answer(training: np.ndarray, test: np.ndarray) -> np.ndarray:
        forest = RandomForestClassifier(100, random_state=seed, n_jobs=-1)
        return forest.fit(facts[training], true[training]).predict(facts[test])

    return answer


def _by_look_up(hashes: Sequence[np.ndarray], true: np.ndarray) -> Answer:
    if not len(hashes):
        return lambda training, test: true[test]
    short = _shortened(hashes)

    def answer(training: np.ndarray, test: np.ndarray) -> np.ndarray:
        nearest = cKDTree(short[training]).query(short[test])[1]
        return true[training[nearest]]

    return answer


def _shortened(hashes: Sequence[np.ndarray]) -> np.ndarray:
    """Return small pictures by their first principal axes, shape (files, axes)."""
    flat = np.stack([np.asarray(h, np.float32).ravel() for h in hashes])
    return flat @ principal_axes(flat, _AXES).T
