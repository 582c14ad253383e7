"""``networks``: what can be trained, each counted against where it was published."""

from __future__ import annotations

import argparse
from typing import Any

from kop_core import networks
from kop_core.commands.console import print_json, start_tensorflow


def add(commands: Any) -> None:
    command = commands.add_parser("networks", help="list the networks that can be trained")
    command.add_argument("--json", action="store_true", help="as JSON")
    command.add_argument(
        "--layers", metavar="NAME", help="list the layers of a network that have weights instead"
    )
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    start_tensorflow()
    if options.layers:
        return _layers(options.layers, options.json)
    listed = [_facts(networks.get(name)) for name in networks.names()]
    if options.json:
        print_json(listed)
        return 0
    wide = max(len(facts["name"]) for facts in listed)
    print(f"{'network':{wide}}  {'published':>11}  {'counted':>11}  {'here':>11}  reference")
    for facts in listed:
        print(
            f"{facts['name']:{wide}}  {facts['reference_parameters']:11,}  "
            f"{facts['parameters']:11,}  {facts['here']['parameters']:11,}  {facts['title']}: "
            f"{facts['reference']}"
        )
    print(
        "\nParameters as published, as counted of the network with as many classes and the "
        "published head, and here, with three."
    )
    return 0


def _layers(name: str, as_json: bool) -> int:
    """List what ``train --freeze`` may name, from the input on."""
    model = networks.build(name)
    listed = [
        {"name": layer.name, "parameters": layer.count_params(), "output": list(layer.output.shape)}
        for layer in model.layers
        if layer.weights
    ]
    if as_json:
        print_json(listed)
        return 0
    wide = max(len(layer["name"]) for layer in listed)
    for layer in listed:
        shape = " × ".join(str(side) for side in layer["output"][1:])
        print(f"{layer['name']:{wide}}  {layer['parameters']:11,}  {shape}")
    return 0


def _facts(network: networks.Network) -> dict[str, Any]:
    """Build a network as it was published and as it is trained here, and count both."""
    published = networks.published_counts(network.name)
    counted = published["trainable" if network.counted == "trainable" else "parameters"]
    return {
        "name": network.name,
        "title": network.title,
        "parameters": counted,
        "reference_parameters": network.reference_parameters,
        "equal": counted == network.reference_parameters,
        "reference": network.reference,
        "reference_classes": network.reference_classes,
        "reference_options": network.reference_options,
        "counted": network.counted,
        "here": networks.counts(networks.build(network.name, precision="float16")),
        "input": list(network.input.shape),
        "sizes": list(network.sizes),
        "explain_layer": network.explain_layer,
        "options": network.options,
        "choices": {name: list(known) for name, known in network.choices.items()},
        "weights": network.weights,
    }
