"""The network beside a look-up of the nearest picture, which learns nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from kop_core import wording
from kop_core.datasets.audit.words import listing
from kop_core.evaluation import Estimate
from kop_core.reproduction import words
from kop_core.reproduction.results import Arm


@dataclass(frozen=True)
class Beside:
    """A run's accuracy beside what a look-up scores on the same split.

    Attributes:
        run: its entry of ``results.json``.
        title: what tells it from the others of its kind.
        network: its accuracy.
        look_up: the share that the look-up calls as it is filed.
    """

    run: dict[str, Any]
    title: str
    network: Estimate
    look_up: Estimate

    @property
    def side(self) -> str:
        """Where the network's interval lies: ``"above"``, ``"below"`` or ``"overlap"``."""
        if self.network.low > self.look_up.high:
            return "above"
        return "below" if self.network.high < self.look_up.low else "overlap"


def beside(arm: Arm) -> list[Beside]:
    """Return those finished runs of an arm whose split the audit was asked about."""
    found = []
    for run, evaluation in zip(arm.finished, arm.evaluations):
        examined = arm.examined(run)
        if examined is not None and examined.look_up.value is not None:
            accuracy = evaluation.metrics["accuracy"]
            found.append(Beside(run, arm.run_title(run), accuracy, examined.look_up))
    return found


_LOOK_UP = (
    "a look-up of the nearest picture, which learns nothing and gives each test image the class "
    "of the training picture most like it,"
)


def sentences(arm: Arm) -> Iterator[str]:
    """Return what a look-up scores on the splits of an arm, and what follows."""
    found = beside(arm)
    if not found:
        return
    network = float(np.mean([one.network.value for one in found]))
    look_up = float(np.mean([one.look_up.value for one in found]))
    if len(found) == 1:
        figures, same = words.with_interval(found[0].look_up), "split"
    else:
        figures = listing([f"{words.with_interval(one.look_up)} for {one.title}" for one in found])
        same = "splits"
    yield f"On the same {same} {_LOOK_UP} is right in {figures}. {_share_of(look_up, network)}"
    yield _verdict(arm, [one.side for one in found])


def _share_of(look_up: float, network: float) -> str:
    means = f"{words.one_decimal(look_up)} against the network's {words.one_decimal(network)}"
    if look_up >= network:
        return f"That is no less than the network reaches: {means}."
    return f"That is {wording.percent(look_up / network)} of what the network reaches: {means}."


def _verdict(arm: Arm, sides: list[str]) -> str:
    """Return what follows from where the intervals lie; the least of the runs decides."""
    counts = {side: sides.count(side) for side in _WHERE if side in sides}
    least = list(counts)[-1]
    if len(counts) == 1:
        runs = {1: "", 2: " in both runs"}.get(len(sides), f" in all {len(sides)} runs")
        said = _WHERE[least] + runs
    else:
        said = ", ".join(
            f"in {n} of {len(sides)} runs {_WHERE[side]}" for side, n in counts.items()
        )
    return f"{said[0].upper()}{said[1:]}: {_FOLLOWS[arm.split, least]}"


# The best first.
_WHERE = {
    "above": "the network's 95 % interval lies above the look-up's",
    "overlap": "the two 95 % intervals overlap",
    "below": "the network's 95 % interval lies below the look-up's",
}
_FOLLOWS = {
    ("random", "above"): (
        "the network does more than this look-up. Whether that is bone, or copies recognised "
        "better, a split with copies on both sides cannot show."
    ),
    ("random", "overlap"): (
        "by this split the network is not shown to have learned anything but to recognise copies."
    ),
    ("random", "below"): "recognising copies does better than the network.",
    ("radiograph", "above"): (
        "the network finds something in radiographs it has not seen that this look-up does not."
    ),
    ("radiograph", "overlap"): (
        "the network is not shown to find more in a radiograph it has not seen than this look-up."
    ),
    ("radiograph", "below"): "the look-up does better than the network.",
}


def on_rest(arm: Arm) -> Iterator[str]:
    """Say whether the audit still sees copies across splits by radiograph."""
    leaks = [examined.leakage for run in arm.finished if (examined := arm.examined(run))]
    copied, tested = (sum(getattr(k, what) for k in leaks) for what in ("any", "test_files"))
    if copied:
        yield (
            f"KOP's audit still sees, for {copied:,} of these {tested:,} test images "
            f"({wording.percent(copied / tested)}), a picture of the same radiograph in training: "
            "there it joins what the split took for two radiographs. If the audit is right, that "
            "much still leaks."
        )
