"""The README keeps to what was measured."""

import json
import re
from pathlib import Path

from kop_core import model_store, wording

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_figures_are_those_of_the_cards():
    found = sorted((ROOT / "models").glob("*/card.json"))
    assert len(found) >= 2
    for path in found:
        card = json.loads(path.read_text("utf-8"))
        (row,) = [r for r in README.splitlines() if r.startswith(f"| `models/{path.parent.name}`")]
        said = wording.accuracy(card["evaluation"]).removeprefix("Accuracy ")
        assert said in row
        if card["split"]["protocol"] == "random":
            split = card["split"]
            copies = f"{split['same_radiograph']} of its {split['test_files']} test images"
            assert "random" in row and copies in " ".join(README.split())


def test_the_model_taken_where_none_is_named_is_said():
    default = model_store.get(None, ROOT / "models")
    assert f"| `models/{default.id}`, taken where none is named |" in README


def test_the_commands_named_exist():
    from kop_core.cli import _parser

    known = set(_parser()._subparsers._group_actions[0].choices)
    named = set(re.findall(r"python -m kop_core (\w+)", README))
    assert named and named <= known


def test_the_files_named_exist():
    for name in re.findall(r"`((?:benchmarks|models|tests|\.ci)/[\w./-]+)`", README):
        assert (ROOT / name).exists(), name
