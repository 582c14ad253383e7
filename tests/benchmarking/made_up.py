"""Finished runs without a training: predictions out of a generator of random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kop_core import model_store
from kop_core.benchmarking import Job, Series
from kop_core.classes import CLASS_NAMES
from kop_core.evaluation import Predictions
from kop_core.training.run_folder import RunFolder, write_json

FINGERPRINT = "f" * 64
RADIOGRAPHS = 30
FACTS = {
    "fingerprint": FINGERPRINT,
    "files": 2 * RADIOGRAPHS,
    "classes": dict.fromkeys(CLASS_NAMES, 2 * RADIOGRAPHS // 3),
    "radiographs": RADIOGRAPHS,
    "conflicted_radiographs": 0,
    "radiographs_from": "data set",
}


def said(job: Job, skill: float) -> Predictions:
    """Return what a network of some skill says of the fold of a job."""
    config = job.config
    rng = np.random.default_rng((config.seed, config.fold, int(100 * skill)))
    all_of_them = np.arange(2 * RADIOGRAPHS)
    unit = all_of_them if config.split == "random" else all_of_them // 2
    mine = all_of_them[(unit + config.seed) % config.folds == config.fold - 1]
    true = (mine // 2) % 3
    logits = rng.normal(size=(len(mine), 3)) + skill * np.eye(3)[true]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions(
        tuple(f"f{i:03d}.png" for i in mine), tuple(f"R{i // 2}" for i in mine), true, p
    )


def finish(job: Job, folder: Path, skill: float = 1.0, epochs: int | None = None) -> None:
    """Write the files that are kept of a finished job, or those of one at work."""
    run = RunFolder(folder / job.name)
    run.path.mkdir(parents=True)
    done = job.config.epochs if epochs is None else epochs
    write_json(
        run.record,
        {
            "config": job.config.get_config(),
            "precision": "float32",
            "data": {"fingerprint": FINGERPRINT},
            "versions": {"keras": "3"},
        },
    )
    run.write_history([{"epoch": n + 1, "seconds": 30.0, "loss": 1.0} for n in range(done)])
    run.split.write_text("file,part\n")
    if epochs is not None:
        return
    predictions = said(job, skill)
    predictions.write(run.predictions)
    random = job.config.split == "random"
    files = len(predictions.files)
    split = {"protocol": job.config.split, "seed": job.config.seed, "test_files": files,
             "identical": 0, "same_radiograph": files // 2 if random else 0}  # fmt: skip
    checksums = {path.name: model_store.checksum(path) for path in (run.history, run.predictions)}
    data = {"unreadable": [["dark.png", "it is damaged"]] if job.config.fold == 2 else []}
    card = {"parameters": 1234, "data": data, "split": split, "checksums": checksums}
    write_json(run.card, card)


def finish_all(wanted: Sequence[Series], folder: Path, skills: dict[str, float]) -> None:
    """Finish all jobs, each network with its skill."""
    for series in wanted:
        for job in series.jobs:
            finish(job, folder, skills[series.network])
