"""``publish``: a finished run becomes a model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from kop_core import model_store
from kop_core.commands.runs import add_root
from kop_core.errors import RunError


def add(commands: Any) -> None:
    command = commands.add_parser("publish", help="put a finished run among the models")
    command.add_argument("run_id", metavar="RUN", help="its id, or its folder")
    command.add_argument("--name", required=True, help="the model's id")
    command.add_argument("--title", help="its name in a sentence")
    command.add_argument("--source", help="where the training data came from")
    command.add_argument("--terms", help="what the data's terms say of the weights")
    command.add_argument(
        "--caution",
        action="append",
        default=[],
        metavar="TEXT",
        dest="cautions",
        help="a fault found in it, shown beside every verdict (may be repeated)",
    )
    command.add_argument("--models", type=Path, help="folder of the models")
    add_root(command)
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    model = model_store.publish(
        _folder(options.run_id, options.runs),
        options.name,
        options.models,
        title=options.title,
        source=options.source,
        terms=options.terms,
        cautions=options.cautions,
    )
    print(f"{model.id} is in {model.folder}.")
    return 0


def _folder(run: str, root: Path | None) -> Path:
    """Return the folder of a run; a folder that has a card alone will do."""
    from kop_core.training import runs

    try:
        return runs.find(run, root).folder
    except RunError:
        if not (Path(run) / model_store.CARD).is_file():
            raise
    return Path(run)
