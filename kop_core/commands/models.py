"""``models``: what has been trained."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from kop_core import model_store, wording
from kop_core.commands.console import print_json
from kop_core.errors import ModelError


def add(commands: Any) -> None:
    command = commands.add_parser("models", help="list the trained models")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.add_argument("--models", type=Path, help="folder of the models")
    command.add_argument(
        "--make-default", metavar="ID", help="have this one taken wherever none is named"
    )
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if options.make_default is not None:
        model_store.make_default(options.make_default, options.models)
    whole, broken = model_store.list_models(options.models)
    if options.json:
        print_json([m.summary() for m in whole] + [{"id": b.id, "error": b.reason} for b in broken])
        return 1 if broken else 0
    taken = _default(options.models)
    for model in whole:
        figure = wording.accuracy(model.card["evaluation"])
        default = " [default]" if model.id == taken else ""
        print(f"{model.id} ({model.version}): {model.title}{default}")
        print(f"    accuracy {figure}; {wording.split_badge(model.card['split'])[0]}")
    for model in broken:
        print(f"{model.id}: {model.reason}", file=sys.stderr)
    return 1 if broken else 0


def _default(folder: Path | None) -> str | None:
    """Return the id of the model that is taken where none is named, ``None`` if it is broken."""
    try:
        return model_store.get(folder=folder).id
    except ModelError:
        return None
