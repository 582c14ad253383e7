"""The network beside a look-up of the nearest picture, which learns nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kop_core import wording
from kop_core.datasets.audit.words import listing
from kop_core.evaluation import Estimate
from kop_core.reproduction import words
from kop_core.reproduction.results import Arm


@dataclass(frozen=True)
class Beside:
    """A run's accuracy beside what a look-up scores on the same test part.

    Attributes:
        run: its entry of ``results.json``.
        title: what tells it from the others of its kind.
        network: its accuracy.
        look_up: the share that the look-up calls as it is filed.
        ahead: by how much more often the network is right, image by image; ``None`` if that
            was not measured.
    """

    run: dict[str, Any]
    title: str
    network: Estimate
    look_up: Estimate
    ahead: Estimate | None

    @property
    def side(self) -> str:
        """Where the difference lies: ``"above"`` or ``"below"`` zero, or ``"even"`` with it."""
        if self.ahead.low > 0:
            return "above"
        return "below" if self.ahead.high < 0 else "even"


def beside(arm: Arm) -> list[Beside]:
    """Return those finished runs of an arm whose split the audit was asked about."""
    found = []
    for run, evaluation in zip(arm.finished, arm.evaluations):
        examined = arm.examined(run)
        if examined is not None and examined.look_up.value is not None:
            ahead = run["examined"].get("ahead")
            found.append(
                Beside(
                    run, arm.run_title(run), evaluation.metrics["accuracy"], examined.look_up,
                    Estimate(**ahead) if ahead else None,
                )
            )  # fmt: skip
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
    of_look_up = _of_runs(found, [words.with_interval(one.look_up) for one in found])
    of_network = listing([words.one_decimal(one.network.value) for one in found])
    same = "split" if len(found) == 1 else "splits"
    yield f"On the same {same} {_LOOK_UP} is right in {of_look_up}; the network in {of_network}."
    if all(one.ahead for one in found):
        ahead = _of_runs(found, [words.points(one.ahead) for one in found])
        verdict = _verdict(arm, [one.side for one in found])
        yield f"Image by image the network less the look-up is {ahead}. {verdict}"


def _of_runs(found: list[Beside], figures: list[str]) -> str:
    if len(found) == 1:
        return figures[0]
    return listing([f"{figure} for {one.title}" for one, figure in zip(found, figures)])


def _verdict(arm: Arm, sides: list[str]) -> str:
    """Return what follows from where the differences lie; the least of the runs decides."""
    counts = {side: sides.count(side) for side in _WHERE if side in sides}
    least = list(counts)[-1]
    if len(counts) == 1:
        runs = {1: "", 2: " in both runs"}.get(len(sides), f" in all {len(sides)} runs")
        said = _WHERE[least] + runs
    else:
        said = ", ".join(
            f"in {n} of {len(sides)} runs {_WHERE[side]}" for side, n in counts.items()
        )
        said += ", and the least decides"
    return f"{said[0].upper()}{said[1:]}: {_FOLLOWS[arm.split, least]}"


# The best first.
_WHERE = {
    "above": "the interval lies above zero",
    "even": "the interval holds zero",
    "below": "the interval lies below zero",
}
_FOLLOWS = {
    ("random", "above"): (
        "the network does more than this look-up. Whether that is bone, or copies recognised "
        "better, a split with copies on both sides cannot show."
    ),
    ("random", "even"): (
        "by this split the network is not shown to have learned anything but to recognise copies."
    ),
    ("random", "below"): "recognising copies does better than the network.",
    ("radiograph", "above"): (
        "the network finds something in radiographs it has not seen that this look-up does not."
    ),
    ("radiograph", "even"): (
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
