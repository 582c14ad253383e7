"""``python -m kop_core``: everything that the dashboard does, for scripts.

Results go to standard output, progress and complaints to standard error. Exit status:
0 done, 1 not done, 2 some files could not be read (or the command line is wrong).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import kop_core
from kop_core import wording
from kop_core.commands import (
    audit,
    benchmark,
    classify,
    compare,
    delete,
    estimate,
    evaluate,
    export,
    models,
    networks,
    pretrain,
    publish,
    reproduce,
    resume,
    runs,
    split,
    stop,
    train,
)
from kop_core.errors import KopError

COMMANDS = (
    *(networks, models, classify, audit, split, estimate, train),
    *(runs, stop, resume, delete, publish, export),
    *(reproduce, benchmark, pretrain, evaluate, compare),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except KopError as error:
        print(f"kop_core: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever read the output has gone
        sys.stderr.close()
        return 1
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"kop_core: {error.strerror or error}{where}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nkop_core: interrupted.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m kop_core",
        description="Knee radiographs as healthy, osteopenia or osteoporosis. "
        + wording.NOT_A_DEVICE,
    )
    parser.add_argument("--version", action="version", version=kop_core.__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser
