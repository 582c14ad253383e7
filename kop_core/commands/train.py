"""``train``: a new run, or one to go on with."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from kop_core import marks, model_store
from kop_core.commands import queueing
from kop_core.commands.console import ProgressLine, start_tensorflow
from kop_core.datasets.splits import CONFLICTS, PROTOCOLS
from kop_core.errors import RunError
from kop_core.radiographs.preparation import VIEWS
from kop_core.training.config import (
    BACKBONE,
    CLASS_WEIGHTS,
    KEEP,
    OPTIMIZERS,
    PRECISIONS,
    SCHEDULES,
)


def add(commands: Any) -> None:
    command = commands.add_parser("train", help="train a network, or go on with a run")
    command.add_argument("--data", type=Path, metavar="FOLDER", help="folder of class folders")
    command.add_argument("--network", metavar="NAME", help="the network (default: paper)")
    command.add_argument("--epochs", type=int, metavar="N", help="default: 30")
    command.add_argument("--seed", type=int, metavar="S", help="default: 0")
    command.add_argument("--batch", type=int, metavar="N", dest="batch_size", help="default: 16")
    command.add_argument("--learning-rate", type=float, metavar="RATE", help="default: 0.001")
    command.add_argument("--schedule", choices=SCHEDULES, help="of the rate (default: cosine)")
    command.add_argument("--optimizer", choices=OPTIMIZERS, help="default: sgd")
    command.add_argument("--momentum", type=float, metavar="SHARE", help="of SGD (default: 0.9)")
    command.add_argument(
        "--weight-decay", type=float, metavar="SHARE", help="a step, times the rate (default: 0)"
    )
    command.add_argument("--precision", choices=PRECISIONS, help="default: auto")
    command.add_argument(
        "--size", type=int, metavar="PIXELS", help="side of the input (default: the network's own)"
    )
    command.add_argument(
        "--view",
        choices=VIEWS,
        help="what the network is shown: the whole picture (default), or the joints that are "
        "found in it",
    )
    command.add_argument(
        "--replicas", type=int, metavar="N", help="GPUs that share each batch (default: 1)"
    )
    command.add_argument(
        "--no-augmentation", action="store_true", help="show every picture as it is"
    )
    command.add_argument(
        "--class-weights", choices=CLASS_WEIGHTS, help="in the loss (default: none)"
    )
    command.add_argument(
        "--validation-share",
        type=float,
        metavar="SHARE",
        help="of the training part, to watch the training with (default: 0: the test part is "
        "watched, as in the paper)",
    )
    command.add_argument(
        "--patience", type=int, metavar="EPOCHS", help="without a lower validation loss, then stop"
    )
    command.add_argument("--keep", choices=KEEP, help="whose weights (default: last)")
    command.add_argument("--dropout", type=float, metavar="SHARE", help="of the dense layers")
    command.add_argument(
        "--warmup", type=float, metavar="EPOCHS", dest="warmup_epochs", help="default: 0"
    )
    command.add_argument(
        "--pretrained",
        metavar="WEIGHTS",
        help="what the backbone begins with: imagenet, knees or a file (default: fresh weights)",
    )
    command.add_argument(
        "--freeze",
        metavar="LAYER",
        help="learn from this layer on only; backbone: the head only (switches augmentation off)",
    )
    command.add_argument(
        "--head-epochs", type=int, metavar="N", help="for the head alone, first (default: 0)"
    )
    command.add_argument(
        "--backbone-rate",
        type=float,
        metavar="SHARE",
        help="of the learning rate, for the backbone (default: 1)",
    )
    command.add_argument(
        "--split", choices=PROTOCOLS, help="what stays together (default: radiograph)"
    )
    command.add_argument("--test-share", type=float, metavar="SHARE", help="default: 0.2")
    command.add_argument("--folds", type=int, metavar="K", help="cross-validation in K folds")
    command.add_argument("--fold", type=int, metavar="I", help="which fold to test on, from 1")
    command.add_argument(
        "--conflicts",
        choices=CONFLICTS,
        help="radiographs filed under several classes: keep (default), drop, or test part only",
    )
    command.add_argument(
        "--leave-out-marked",
        nargs="+",
        choices=marks.KINDS,
        metavar="MARK",
        help="leave out files that a reader marked so: " + " and ".join(marks.KINDS),
    )
    command.add_argument("--out", type=Path, metavar="RUN", help="folder of the new run")
    command.add_argument("--resume", type=Path, metavar="RUN", help="go on with this run")
    queueing.add(command)
    command.set_defaults(run=_run)


_SETTINGS = (
    "network",
    "epochs",
    "seed",
    "batch_size",
    "learning_rate",
    "schedule",
    "optimizer",
    "momentum",
    "weight_decay",
    "precision",
    "size",
    "view",
    "replicas",
    "class_weights",
    "validation_share",
    "patience",
    "keep",
    "warmup_epochs",
    "pretrained",
    "freeze",
    "head_epochs",
    "backbone_rate",
    "split",
    "test_share",
    "folds",
    "fold",
    "conflicts",
)


def _run(options: argparse.Namespace) -> int:
    from kop_core.training import TrainingConfig, locks, resume, train

    if options.run_id:
        return queueing.work(options.run_id)
    chosen = {k: v for k in _SETTINGS if (v := getattr(options, k)) is not None}
    if options.dropout is not None:
        if not 0 <= options.dropout < 1:
            raise RunError(f"Dropout must be at least 0 and below 1, and is {options.dropout}.")
        chosen["options"] = {**TrainingConfig().options, "dropout": options.dropout}
    if options.no_augmentation or options.freeze == BACKBONE:
        chosen["augmentation"] = None
    if options.leave_out_marked:
        chosen["leave_out"] = _marked(options)
    if options.queue:
        return queueing.queue(TrainingConfig(**chosen), options)
    start_tensorflow()
    progress = ProgressLine()
    if options.resume:
        _check_same(options, chosen)
        with locks.holding(options.resume):
            run = resume(options.resume, progress, options.data)
    elif options.data and options.out:
        with locks.holding(options.out):
            run = train(TrainingConfig(**chosen), options.data, options.out, progress)
    else:
        raise RunError(
            "Name the data and a folder for the run (--data FOLDER --out RUN), or a run "
            "to go on with (--resume RUN)."
        )
    progress.close()
    card = json.loads((run / model_store.CARD).read_text(encoding="utf-8"))
    for statement in card["statements"]:
        print(statement)
    return 0


def _marked(options: argparse.Namespace) -> dict[str, str]:
    """Return the marked files that a new run leaves out, with the mark of each."""
    from kop_core.datasets import scan

    if options.resume or not options.data:
        raise RunError(
            "Which files are left out is settled when a run begins: use --leave-out-marked with "
            "--data and a new run."
        )
    return marks.of_data(scan(options.data), options.leave_out_marked)


def _check_same(options: argparse.Namespace, chosen: dict[str, Any]) -> None:
    """Refuse to resume with other settings: the result would be neither run's."""
    from kop_core.training import TrainingConfig
    from kop_core.training.run_folder import RunFolder

    if options.out and options.out.resolve() != options.resume.resolve():
        raise RunError("A run goes on in its own folder: leave --out away with --resume.")
    record = RunFolder(options.resume).read_record()
    config = TrainingConfig.from_config(record["config"])
    kept = config.get_config()
    if "options" in chosen:  # without those that the run's network has no use for
        chosen = {**chosen, "options": replace(config, options=chosen["options"]).options}
    other = [k for k, v in chosen.items() if kept[k] != v]
    if other:
        named = ", ".join(f"{k} {kept[k]!r}" for k in other)
        raise RunError(f"The run was started with {named}. Resume it so, or start a new run.")
