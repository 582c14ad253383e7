"""What one scores who knows every training label by heart, and nothing else.

Where test images are in training byte for byte, and under several classes there, even that
is not always right. It shows how far contradicting labels let anyone get.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kop_core import wording
from kop_core.datasets import Split
from kop_core.evaluation import Estimate, Predictions
from kop_core.evaluation.intervals import ratios
from kop_core.reproduction import words

if TYPE_CHECKING:
    from kop_core.reproduction.results import Arm


@dataclass(frozen=True)
class ByHeart:
    """Knowledge of the labels beside a network, on test images that are in training too.

    Attributes:
        files: test images with a byte-identical copy in training.
        share: of these, what is right for one who answers with the class that most of the
            copies are filed under; among as many of several classes one is drawn.
        network: of the same images, what the network calls as they are filed.
    """

    files: int
    share: Estimate
    network: Estimate

    def get_config(self) -> dict[str, Any]:
        """Return it as plain values."""
        figures = {name: getattr(self, name).get_config() for name in ("share", "network")}
        return {"files": self.files, **figures}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ByHeart:
        """Return what :meth:`get_config` gave.

        Raises:
            KeyError, TypeError: if it is not that.
        """
        return cls(config["files"], Estimate(**config["share"]), Estimate(**config["network"]))


def by_heart(split: Split, predictions: Predictions) -> ByHeart | None:
    """Return what the training labels alone say of a test part; ``None`` without copies.

    Args:
        split: both parts.
        predictions: what a network said of the test part.
    """
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    for item in split.training:
        labels[item.sha256][item.true] += 1
    known = {i.file: _chance(labels[i.sha256], i.true) for i in split.test if i.sha256 in labels}
    asked = np.array([file in known for file in predictions.files], float)
    if not asked.any():
        return None
    right = np.array([known.get(file, 0.0) for file in predictions.files])
    network = asked * (predictions.predicted == predictions.true)
    share, of_network = ratios([right, network], [asked, asked], predictions.groups)
    return ByHeart(int(asked.sum()), share, of_network)


def _chance(counts: Counter[str], true: str) -> float:
    most = max(counts.values())
    best = [name for name, count in counts.items() if count == most]
    return (true in best) / len(best)


def sentences(arm: Arm) -> Iterator[str]:
    """Say how far the labels let anyone get on the copies in the test parts of an arm."""
    for run in arm.finished:
        stored = run.get("examined", {}).get("by_heart")
        if not stored:
            continue
        found = ByHeart.from_config(stored)
        tested = run["split"]["test_files"]
        where = "" if len(arm.runs) == 1 else f"{arm.run_title(run).capitalize()}: "
        yield (
            f"{where}{found.files:,} of the {tested:,} test images "
            f"({wording.percent(found.files / tested)}) are in training byte for byte. Who knew "
            f"every training label by heart would be right in {words.with_interval(found.share)} "
            "of these, since some copies are filed under several classes; the network is in "
            f"{words.with_interval(found.network)}."
        )
