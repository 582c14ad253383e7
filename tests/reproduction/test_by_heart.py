"""What the training labels alone say of test images that are in training too."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from kop_core.datasets import Split
from kop_core.datasets.scanning import Item
from kop_core.evaluation import Estimate, Predictions
from kop_core.reproduction.by_heart import ByHeart, by_heart, sentences


def item(file: str, true: str, sha256: str) -> Item:
    return Item(file=file, true=true, sha256=sha256, radiograph=sha256)


def predictions(test, said) -> Predictions:
    names = ("healthy", "osteopenia", "osteoporosis")
    return Predictions(
        tuple(i.file for i in test),
        tuple(i.radiograph for i in test),
        np.array([names.index(i.true) for i in test]),
        np.eye(3)[[names.index(name) for name in said]],
    )


TRAINING = (
    item("a1", "healthy", "a"),
    item("a2", "healthy", "a"),
    item("a3", "osteopenia", "a"),
    item("b1", "healthy", "b"),
    item("b2", "osteoporosis", "b"),
)


def test_the_most_frequent_label_of_the_copies_counts_and_a_tie_is_drawn():
    test = (
        item("a4", "healthy", "a"),  # right
        item("a5", "osteopenia", "a"),  # wrong
        item("b3", "healthy", "b"),  # right half of the time
        item("b4", "osteopenia", "b"),  # wrong
        item("c1", "healthy", "c"),  # no copy: not asked
    )
    told = predictions(test, ["healthy", "osteopenia", "healthy", "healthy", "osteopenia"])
    found = by_heart(Split("random", 1, TRAINING, test), told)
    assert found.files == 4
    assert found.share.value == pytest.approx(1.5 / 4)
    assert found.network.value == pytest.approx(3 / 4)
    assert found.share.low < found.share.value < found.share.high
    assert ByHeart.from_config(found.get_config()) == found


def test_it_is_said_of_each_run_beside_the_network():
    stored = ByHeart(219, Estimate(0.874, 0.82, 0.92), Estimate(0.918, 0.88, 0.95)).get_config()
    run = {"split": {"test_files": 283}, "examined": {"by_heart": stored}}
    without = {"split": {"test_files": 283}, "examined": {"by_heart": None}}
    arm = SimpleNamespace(
        runs=(run, without), finished=(run, without), run_title=lambda _: "seed 1"
    )
    (said,) = sentences(arm)
    assert said.startswith("Seed 1: 219 of the 283 test images (77 %) are in training byte for")
    assert "87.4 % (95 % CI 82.0–92.0) of these" in said
    assert said.endswith("the network is in 91.8 % (95 % CI 88.0–95.0).")


def test_without_copies_there_is_nothing_to_know():
    test = (item("c1", "healthy", "c"), item("d1", "osteopenia", "d"))
    told = predictions(test, ["healthy", "healthy"])
    assert by_heart(Split("random", 1, TRAINING, test), told) is None
