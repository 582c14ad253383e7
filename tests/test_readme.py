"""The README keeps to what was measured."""

import json
import re
from pathlib import Path

from kop_core import wording

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_figures_are_those_of_the_card():
    card = json.loads((ROOT / "models" / "paper-random" / "card.json").read_text("utf-8"))
    evaluation = card["evaluation"]
    accuracy = wording.accuracy(evaluation)
    text = " ".join(README.split())
    assert accuracy in text
    split = card["split"]
    assert f"{split['same_radiograph']} of its {split['test_files']} test images" in text


def test_the_commands_named_exist():
    from kop_core.cli import _parser

    known = set(_parser()._subparsers._group_actions[0].choices)
    named = set(re.findall(r"python -m kop_core (\w+)", README))
    assert named and named <= known


def test_the_files_named_exist():
    for name in re.findall(r"`((?:benchmarks|models|tests|\.ci)/[\w./-]+)`", README):
        assert (ROOT / name).exists(), name
