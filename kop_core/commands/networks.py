"""``networks``: what can be trained."""

from __future__ import annotations

import argparse
from typing import Any

from kop_core import networks
from kop_core.commands.console import print_json, start_tensorflow


def add(commands: Any) -> None:
    command = commands.add_parser("networks", help="list the networks that can be trained")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    start_tensorflow()
    listed = []
    for name in networks.names():
        network = networks.get(name)
        listed.append(
            {
                "name": name,
                "title": network.title,
                **networks.counts(networks.build(name)),
                "input": list(network.input.shape),
                "explain_layer": network.explain_layer,
                "reference": network.reference,
            }
        )
    if options.json:
        print_json(listed)
    else:
        for network in listed:
            print(f"{network['name']}: {network['title']}, {network['parameters']:,} parameters")
    return 0
