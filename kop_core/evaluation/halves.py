"""Cutting a test part in two by radiograph: one half to choose on, the other to measure on.

A temperature, a threshold or a quantile looks good on the images that it was chosen on.
What is reported of it is measured on images of other radiographs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kop_core.classes import CLASS_NAMES
from kop_core.evaluation.predictions import Predictions


@dataclass(frozen=True, eq=False)
class Halves:
    """A test part cut in two.

    Attributes:
        choosing: what a temperature, threshold or quantile is chosen on.
        measuring: the images of all other radiographs, where it is measured.
    """

    choosing: Predictions
    measuring: Predictions

    def get_config(self) -> dict[str, int]:
        """Return the sizes of both."""
        return {
            "choosing_images": len(self.choosing.files),
            "choosing_radiographs": radiographs(self.choosing),
            "measuring_images": len(self.measuring.files),
            "measuring_radiographs": radiographs(self.measuring),
        }


def radiographs(predictions: Predictions) -> int:
    """Return how many radiographs there are; an image of an unknown one counts as one."""
    return len(np.unique(predictions.groups)) if len(predictions.files) else 0


def halves(predictions: Predictions, seed: int = 0) -> Halves:
    """Cut a test part in two, by radiograph, with the classes alike in both.

    The radiographs with the most files are dealt first, those of equal size in random
    order, each to the half that it brings closer to half of every class. (scikit-learn's
    ``StratifiedGroupKFold`` does much the same, but not alike from version to version;
    what is reported here should be.)

    Args:
        predictions: the test part.
        seed: of the order.
    """
    group = predictions.groups
    groups = int(group.max()) + 1
    counts = np.zeros((groups, len(CLASS_NAMES)))
    np.add.at(counts, (group, predictions.true), 1)
    # The last column, all images, keeps the halves alike where a class is too rare to tell.
    counts = np.column_stack([counts, counts.sum(axis=1)])
    wanted = np.maximum(counts.sum(axis=0), 1)
    shuffled = np.random.default_rng(seed).permutation(groups)
    order = shuffled[np.argsort(-counts[shuffled, -1], kind="stable")]
    ahead = np.zeros(counts.shape[1])  # how much more the choosing half has, by class
    chosen = np.zeros(groups, bool)
    for place in order:
        with_it = np.square((ahead + counts[place]) / wanted).sum()
        without = np.square((ahead - counts[place]) / wanted).sum()
        chosen[place] = with_it <= without
        ahead += counts[place] if chosen[place] else -counts[place]
    return Halves(predictions.part(chosen[group]), predictions.part(~chosen[group]))
