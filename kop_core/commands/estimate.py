"""``estimate``: how long a run will take on this machine, from a few measured steps."""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from kop_core.commands import console
from kop_core.errors import RunError

_SETTINGS = ("network", "epochs", "batch_size", "size", "precision", "optimizer")


def add(commands: Any) -> None:
    command = commands.add_parser(
        "estimate", help="how long a run will take on this machine, from a few measured steps"
    )
    command.add_argument(
        "--data", type=Path, metavar="FOLDER", help="folder of class folders; without it only "
        "the steps are measured",
    )  # fmt: skip
    command.add_argument("--config", metavar="JSON", help="settings of a run; - for standard input")
    command.add_argument("--network", metavar="NAME", help="the network (default: paper)")
    command.add_argument("--epochs", type=int, metavar="N", help="default: 30")
    command.add_argument("--batch", type=int, metavar="N", dest="batch_size", help="default: 16")
    command.add_argument("--size", type=int, metavar="PIXELS", help="side of the network's input")
    command.add_argument("--optimizer", metavar="NAME", help="default: sgd")
    command.add_argument("--precision", metavar="NAME", help="default: the machine's best")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from kop_core.training import estimating

    config = _config(options)
    if options.data is None:
        console.start_tensorflow()
        measured = estimating.measure_here(config)
        if options.json:
            console.print_json({"measured": measured.get_config()})
        else:
            print(estimating.step_sentence(config, measured))
        return 0
    data = _data(options.data, config)
    measured = estimating.measure(config)
    found = estimating.estimate(config, data, measured)
    if options.json:
        console.print_json({**found.get_config(), "measured": measured.get_config()})
    else:
        print(found.sentence())
        print(found.memory(estimating.machine_memory()))
    return 0


def _data(folder: Path, config: Any) -> Any:
    """Return what of a data set decides how long a run on it takes."""
    from kop_core.datasets import scan, with_radiographs
    from kop_core.training import estimating, setting_up

    line = console.StageLine()
    progress = partial(line, "looking at files")
    data = with_radiographs(scan(folder, progress), progress)
    line.close()
    parts = setting_up.divide(data, config)
    return setting_up.facts(parts, config, estimating.reading_seconds(data, config))


def _config(options: argparse.Namespace) -> Any:
    from kop_core.training import TrainingConfig

    given: dict[str, Any] = {}
    if options.config:
        try:
            text = (
                sys.stdin.read()
                if options.config == "-"
                else Path(options.config).read_text(encoding="utf-8")
            )
            given = json.loads(text)
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"The settings in {options.config} cannot be read: {error}.") from error
        # A run's request.json and run.json hold them among other things.
        given = given.get("config", given) if isinstance(given, dict) else given
        if not isinstance(given, dict):
            raise RunError(f"{options.config} holds no settings of a run.")
    chosen = {k: v for k in _SETTINGS if (v := getattr(options, k)) is not None}
    try:
        return TrainingConfig.from_config({**TrainingConfig().get_config(), **given, **chosen})
    except (TypeError, ValueError) as error:
        raise RunError(f"The settings of the run cannot be read: {error}.") from error
