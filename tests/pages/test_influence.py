"""Maps of influence of several pictures: what goes wrong with one is said, the others are made."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dashboard import influence
from dashboard.influence import Wanted
from kop_core.errors import ModelError


@pytest.fixture(autouse=True)
def nothing_known():
    influence.known().clear()
    yield
    influence.known().clear()


@pytest.fixture
def wanted(shared, shipped) -> list[Wanted]:
    paths = sorted((shared / "paper1947" / "Normal").iterdir())[:3]
    return [
        Wanted(("key", path.name), shipped, path.name, path.read_bytes, "healthy") for path in paths
    ]


def test_one_picture_that_cannot_be_read_leaves_the_others(wanted, classifier):
    def gone() -> bytes:
        raise FileNotFoundError(2, "No such file or directory")

    first, second, third = wanted
    asked = [replace(first, read=gone), replace(second, read=lambda: b"no picture"), third]
    said = influence.make(asked, lambda model: classifier)
    assert said.startswith("Not every map was made.")
    assert f"{first.file} could not be read: No such file or directory." in said
    assert second.file in said
    assert list(influence.known()) == [third.key]
    assert influence.make(asked[2:], lambda model: classifier) == ""


def test_a_model_that_does_not_load_is_said_once_and_leaves_the_others(
    wanted, classifier, shipped, tmp_path
):
    damaged = replace(shipped, folder=tmp_path)
    asked = [replace(one, model=damaged) for one in wanted[:2]] + wanted[2:]

    def loaded(model):
        if model is damaged:
            raise ModelError("Its weights are damaged.")
        return classifier

    said = influence.make(asked, loaded)
    assert said == "Not every map was made. Its weights are damaged."
    assert list(influence.known()) == [wanted[2].key]


def test_the_oldest_are_forgotten_and_never_the_new(wanted, classifier, monkeypatch):
    monkeypatch.setattr(influence, "_KEPT", 2)
    influence.known().update({("old", str(i)): None for i in range(2)})
    influence.make(wanted[:1], lambda model: classifier)
    assert list(influence.known()) == [("old", "1"), wanted[0].key]
    influence.make(wanted, lambda model: classifier)
    assert list(influence.known()) == [one.key for one in wanted]
