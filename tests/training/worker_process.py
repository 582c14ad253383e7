"""The process of a run in tests: the tiny network, as slow as asked, or no training at all.

``python -m tests.training.worker_process FOLDER [--pause SECONDS] [--pretend]``
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import kop_core.training
from kop_core.networks import registry
from kop_core.training import Progress, TrainingConfig, worker
from kop_core.training.run_folder import RunFolder, write_json
from tests.conftest import make_small_network

STEPS = 5


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds after each step")
    parser.add_argument("--pretend", action="store_true", help="only report, and keep a history")
    options = parser.parse_args()
    network = make_small_network()
    registry._NETWORKS[network.name] = network
    if options.pretend:
        kop_core.training.train, kop_core.training.resume = pretend, pretend_on

    def rest(progress: Progress) -> None:
        if progress.stage == "training":
            time.sleep(options.pause)
            assert options.pretend == ("keras" not in sys.modules)

    worker.work(options.folder, report=rest)


def pretend(config: TrainingConfig, data_folder, out, report) -> Path:
    """Report as a training does, and keep its history; no library is imported, nothing learned."""
    write_json(RunFolder(out).record, {"config": config.get_config(), "data": {}})
    return pretend_on(out, report, data_folder)


def pretend_on(out, report, data_folder=None) -> Path:
    run = RunFolder(out)
    config = TrainingConfig.from_config(run.read_record()["config"])
    history = run.read_history()
    for epoch in range(len(history) + 1, config.epochs + 1):
        for step in range(1, STEPS + 1):
            report(Progress("training", step, STEPS, epoch, config.epochs, 1.0, {"loss": 1.0}))
        row = {"accuracy": 0.5, "loss": 1.0, "val_accuracy": 0.5, "val_loss": 1.0,
               "val_macro_f1": 0.5, "learning_rate": 0.1, "seconds": 1.0}  # fmt: skip
        history.append({"epoch": epoch, **row})
        run.write_history(history)
    write_json(run.card, {})
    return run.path


if __name__ == "__main__":
    main()
