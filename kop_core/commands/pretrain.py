"""``pretrain``: an encoder from knees that are labelled with something else."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from kop_core.commands.console import ProgressLine, start_tensorflow
from kop_core.training.config import PRECISIONS


def add(commands: Any) -> None:
    command = commands.add_parser(
        "pretrain",
        help="train an encoder on knees with other labels, such as Kellgren-Lawrence grades",
    )
    command.add_argument(
        "--data", type=Path, required=True, metavar="FOLDER", help="class folders of any names"
    )
    command.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="RUN",
        help="folder of the run; the same call goes on there",
    )
    command.add_argument("--network", metavar="NAME", help="default: efficientnet_lite0")
    command.add_argument("--pretrained", metavar="WEIGHTS", help="default: imagenet")
    command.add_argument("--fresh", action="store_true", help="begin with fresh weights")
    command.add_argument("--epochs", type=int, metavar="N", help="default: 6")
    command.add_argument("--size", type=int, metavar="PIXELS", help="default: 160")
    command.add_argument("--batch", type=int, metavar="N", dest="batch_size", help="default: 32")
    command.add_argument("--learning-rate", type=float, metavar="RATE", help="default: 0.001")
    command.add_argument("--seed", type=int, metavar="S", help="default: 0")
    command.add_argument("--precision", choices=PRECISIONS, help="default: auto")
    command.set_defaults(run=_run)


_CHOSEN = (
    "network",
    "pretrained",
    "epochs",
    "size",
    "batch_size",
    "learning_rate",
    "seed",
    "precision",
)


def _run(options: argparse.Namespace) -> int:
    from kop_core.pretraining import FACTS, SETTINGS, pretrain
    from kop_core.training import locks

    chosen = {k: v for k in _CHOSEN if (v := getattr(options, k)) is not None}
    if options.fresh:
        chosen |= {"pretrained": None, "backbone_rate": 1.0}
    config = replace(SETTINGS, **chosen)
    start_tensorflow()
    progress = ProgressLine()
    with locks.holding(options.out):
        path = pretrain(config, options.data, options.out, progress)
    progress.close()
    facts = json.loads((options.out / FACTS).read_text(encoding="utf-8"))
    seen, kappa = facts["validation"], facts["validation"]["quadratic_weighted_kappa"]
    print(
        f"{path}: learned from {facts['data']['files'] - seen['pictures']:,} pictures. On "
        f"{seen['pictures']:,} others of {seen['persons']:,} persons its weighted kappa is "
        f"{kappa['value']:.2f} (95 % CI {kappa['low']:.2f}–{kappa['high']:.2f}). {seen['note']}"
    )
    return 0
