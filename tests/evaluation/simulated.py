"""Predictions as they might be: clustered, of known skill and known calibration."""

from __future__ import annotations

import numpy as np

from kop_core.evaluation import Predictions


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def table(true, p, radiographs=None) -> Predictions:
    """Return a table of predictions; each image a radiograph unless numbers are given."""
    images = len(true)
    numbers = range(images) if radiographs is None else radiographs
    return Predictions(
        tuple(f"f{i}.png" for i in range(images)),
        tuple(f"R{n}" for n in numbers),
        np.asarray(true),
        np.asarray(p, float),
    )


def calibrated(rng, radiographs=120, most=1, temperature=1.0, spread=1.5) -> Predictions:
    """Return predictions whose labels were drawn from their own probabilities.

    Every radiograph is shown by 1 to ``most`` identical files. A ``temperature`` under 1 or
    over 1 was then applied: undo it, and they are calibrated again.
    """
    logits = rng.normal(0, spread, (radiographs, 3))
    p = softmax(logits)
    true = (rng.random(radiographs)[:, None] > p.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    group = np.repeat(np.arange(radiographs), rng.integers(1, most + 1, radiographs))
    return table(true[group], softmax(logits / temperature)[group], group)


def skilled(seed=0, images=120, radiographs=40, skill=1.0, decimals=None) -> Predictions:
    """Return predictions better than chance, several files a radiograph."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, radiographs, images)
    true = rng.integers(0, 3, radiographs)[group]
    p = softmax(rng.normal(0, 1, (images, 3)) + skill * np.eye(3)[true])
    return table(true, p if decimals is None else np.round(p, decimals), group)


def equally_good(
    rng, radiographs=138, most=3, classes=(0.42, 0.10, 0.48), own=0.5
) -> tuple[Predictions, Predictions]:
    """Return two models that are as good as each other on the same images.

    Every radiograph is shown by 1 to ``most`` files, of which both models say nearly the
    same; ``own`` is by how much they differ from file to file.
    """
    group = np.repeat(np.arange(radiographs), rng.integers(1, most + 1, radiographs))
    true = rng.choice(3, radiographs, p=classes)[group]
    hard = rng.normal(0, 1, (radiographs, 3))[group] + np.eye(3)[true]
    first, second = (
        hard + rng.normal(0, 1, (radiographs, 3))[group] + rng.normal(0, own, (len(group), 3))
        for _ in range(2)
    )
    return table(true, softmax(first), group), table(true, softmax(second), group)
