"""How long it takes to measure a table of predictions, as ratios within one run.

    python benchmarks/evaluate.py [--predictions CSV] [--rounds N] [--json]

Four ways are measured in turn, round by round, so that a busy machine slows all alike:

- ``figures``: every figure once, without intervals.
- ``evaluate``: the same with intervals, by 2,000 draws of radiographs.
- ``report``: all that the page Model report shows.
- ``notebook``: the draws of ``evaluate`` in a loop that asks scikit-learn for accuracy, macro F1
  and ROC AUC, three of its figures. One draw in a hundred is measured, times a hundred.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.ratios import ratio  # noqa: E402
from kop_core.evaluation import Predictions, evaluate, report  # noqa: E402
from kop_core.evaluation.intervals import DRAWS  # noqa: E402

SAMPLE = ROOT / "models" / "paper-random" / "predictions.csv"
SHARE = 100
TO_REACH = {
    "notebook / evaluate": ("at least", 10.0),
    "report / evaluate": ("at most", 5.0),
}


def main() -> int:
    """Measure, print, and return 1 if a ratio that is to be reached is not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--predictions", type=Path, default=SAMPLE, help="a table of predictions")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(Predictions.read(options.predictions), options.rounds)
    print(json.dumps(found, indent=2) if options.json else as_text(found))
    return 0 if all(row["reached"] for row in found["ratios"].values()) else 1


def measure(predictions: Predictions, rounds: int) -> dict:
    """Return the median seconds of each way, and the ratios."""
    ways: dict[str, Callable[[], object]] = {
        "figures": lambda: evaluate(predictions, draws=1),
        "evaluate": lambda: evaluate(predictions),
        "report": lambda: report(predictions),
        "notebook": lambda: notebook(predictions, DRAWS // SHARE),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            if turn:  # the first imports what it needs
                seconds[name].append(time.perf_counter() - began)
    seconds["notebook"] = [SHARE * s for s in seconds["notebook"]]
    medians = {name: statistics.median(s) for name, s in seconds.items()}
    return {
        "images": len(predictions.files),
        "radiographs": len(set(predictions.radiographs)),
        "rounds": rounds,
        "median ms": {name: round(1000 * s, 1) for name, s in medians.items()},
        "ratios": {name: ratio(name, medians, *bound) for name, bound in TO_REACH.items()},
    }


def notebook(predictions: Predictions, draws: int) -> np.ndarray:
    """Draw radiographs as a notebook does: an index, and scikit-learn on what it takes."""
    from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

    members = [np.flatnonzero(predictions.groups == g) for g in np.unique(predictions.groups)]
    rng = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        drawn = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        true, called = predictions.true[drawn], predictions.predicted[drawn]
        scores = predictions.probabilities[drawn]
        found.append(
            (
                accuracy_score(true, called),
                f1_score(true, called, average="macro", zero_division=0),
                roc_auc_score(true, scores, multi_class="ovr"),
            )
        )
    return np.array(found)


def as_text(found: dict) -> str:
    """Return what was measured as lines for people."""
    lines = [f"{found['images']} images of {found['radiographs']} radiographs"]
    lines += [f"{name:10} {ms:10.1f} ms" for name, ms in found["median ms"].items()]
    for name, row in found["ratios"].items():
        said = "reached" if row["reached"] else "NOT reached"
        lines.append(f"{name}: {row['value']} (to reach: {row['to reach']}): {said}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
