"""``split``: which files train and which test, as a table."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from kop_core import wording
from kop_core.classes import CLASS_NAMES
from kop_core.commands.console import StageLine
from kop_core.datasets import DataSet, Item, Split, leakage, make_split, scan, with_radiographs
from kop_core.datasets.splits import CONFLICTS, PROTOCOLS, conflicted
from kop_core.errors import DataSetError


def add(commands: Any) -> None:
    command = commands.add_parser(
        "split", help="split a data set by radiograph, by patient or at random"
    )
    command.add_argument("data", type=Path, metavar="FOLDER", help="folder of class folders")
    command.add_argument(
        "--by", choices=PROTOCOLS, default="radiograph", help="what stays together"
    )
    command.add_argument("--seed", type=int, default=0, metavar="S", help="default: 0")
    command.add_argument(
        "--test-share", type=float, default=0.2, metavar="SHARE", help="default: 0.2"
    )
    command.add_argument("--folds", type=int, metavar="K", help="cut it into K folds")
    command.add_argument("--fold", type=int, metavar="I", help="the fold to test on, from 1")
    command.add_argument(
        "--conflicts",
        choices=CONFLICTS,
        default="keep",
        help="radiographs filed under several classes: keep, drop, or test part only",
    )
    command.add_argument("--out", type=Path, required=True, metavar="CSV", help="the table")
    command.add_argument("--force", action="store_true", help="replace the table if it exists")
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if not options.out.parent.is_dir():
        raise DataSetError(f"There is no folder {options.out.parent} to write the split into.")
    if options.seed < 0:
        raise DataSetError(f"The seed must be 0 or more, and is {options.seed}.")
    line = StageLine()
    progress = partial(line, "looking at files")
    scanned = scan(options.data, progress)
    data = with_radiographs(scanned, progress)
    line.close()
    split = make_split(
        data,
        options.by,
        options.test_share,
        options.seed,
        options.conflicts,
        options.fold,
        options.folds,
    )
    _write(split, options.out, options.force)
    for sentence in _sentences(scanned, split):
        print(sentence)
    print(f"The split is in {options.out}.")
    return 0


def _write(split: Split, out: Path, force: bool) -> None:
    """Write a split; another file of that name stays, unless ``force``."""
    draft = out.with_name(out.name + ".part")
    try:
        split.write(draft)
        if out.exists() and not force and out.read_bytes() != draft.read_bytes():
            raise DataSetError(
                f"{out} exists already and holds something else. Name another file, or replace it "
                "with --force."
            )
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)


def _sentences(scanned: DataSet, split: Split) -> Iterator[str]:
    yield f"{_cut(split)} {len(split.items):,} files, seed {split.seed}."
    yield f"Training: {_part(split.training)}."
    yield f"Test: {_part(split.test)}."
    if split.left_out:
        yield f"Left out: {_part(split.left_out)}."
    if any(item.radiograph for item in split.items):
        several = len(conflicted(split.items))
        told = {
            "keep": "treated like the others",
            "drop": "left out",
            "test": "in the test part only",
        }
        yield (
            f"Radiographs filed under more than one class: {several:,}"
            + (f", {told[split.conflicts]}." if several else ".")
        )
        if any(not item.radiograph for item in scanned.items):
            yield "Which files show the same radiograph was found by the audit of the pictures."
    yield from _leaks(leakage(split))


def _cut(split: Split) -> str:
    by = {"random": "At random, by file"}.get(split.protocol, f"By {split.protocol}")
    return f"{by}, fold {split.fold} of {split.folds}:" if split.folds else f"{by}:"


def _part(items: Sequence[Item]) -> str:
    """Return the counts of one part by class, with the radiographs as far as known."""
    counts = Counter(item.true for item in items)
    names = [*CLASS_NAMES, *sorted(set(counts) - set(CLASS_NAMES))]
    classes = ", ".join(f"{counts[name]:,} {name}" for name in names if counts[name])
    radiographs = {item.radiograph for item in items}
    of = "" if "" in radiographs else f" of {len(radiographs):,} radiographs"
    return f"{len(items):,} files{of} ({classes})"


def _leaks(found: dict[str, Any]) -> Iterator[str]:
    files = found["test_files"]
    for name, what in (
        ("identical", "a byte-identical copy"),
        ("same_radiograph", "a picture of the same radiograph"),
        ("same_patient", "a picture of the same patient"),
    ):
        if found[name] is None:
            yield f"Test files with {what} in training: not known."
        else:
            share = wording.percent(found[f"{name}_share"])
            yield f"Test files with {what} in training: {found[name]:,} of {files:,} ({share})."
