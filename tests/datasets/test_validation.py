"""The validation part: set aside from the training part by the rule of the split."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from kop_core.classes import CLASS_NAMES
from kop_core.datasets import DataSet, Item, Split, make_split, with_validation
from kop_core.datasets.splits import CONFLICTS, PROTOCOLS
from kop_core.errors import DataSetError


def collection(seed: int = 0, radiographs: int = 90, most: int = 7) -> DataSet:
    """Return radiographs in up to ``most`` files each, two to a patient, some under two classes."""
    rng, items = Random(seed), []
    for place in range(radiographs):
        names = [CLASS_NAMES[place % 3], CLASS_NAMES[(place + place // 9 % 2) % 3]]
        for copy in range(rng.randint(1, most)):
            true = names[copy % 2] if place % 10 == 0 else names[0]
            file, digest = f"{true}/{place:03d}-{copy}.png", f"{len(items):064x}"
            items.append(Item(file, true, f"R{place}", digest, f"P{place // 2}"))
    return DataSet(Path("made up"), tuple(items))


def keys(items, attribute: str) -> set[str]:
    return {getattr(item, attribute) for item in items}


@pytest.mark.parametrize("by", PROTOCOLS)
@pytest.mark.parametrize("conflicts", CONFLICTS)
def test_it_is_taken_from_the_training_part_and_from_nothing_else(by, conflicts):
    before = make_split(collection(), by, 0.25, 4, conflicts)
    split = with_validation(before, 0.2, 4)
    assert set(split.training) | set(split.validation) == set(before.training)
    assert not set(split.training) & set(split.validation)
    assert replace(split, training=before.training, validation=()) == before


@pytest.mark.parametrize("by", ["radiograph", "patient"])
def test_nothing_that_belongs_together_is_on_two_sides(by):
    for seed in range(5):
        split = with_validation(make_split(collection(seed), by, 0.25, seed), 0.2, seed)
        parts = (split.training, split.validation, split.test)
        for attribute in {"radiograph", by}:
            found = [keys(part, attribute) for part in parts]
            assert sum(map(len, found)) == len(set.union(*found)), attribute


def test_byte_identical_files_are_one_radiograph_whatever_a_table_says():
    data = collection()
    twins = [replace(i, file=f"{i.file}-2", radiograph=f"{i.radiograph}-2") for i in data.items]
    split = make_split(DataSet(data.folder, (*data.items, *twins)), "radiograph", 0.25, 1)
    split = with_validation(split, 0.2, 1)
    assert not keys(split.training, "sha256") & keys(split.validation, "sha256")


def test_a_random_split_is_cut_by_file():
    split = with_validation(make_split(collection(), "random", 0.25, 1), 0.2, 1)
    assert keys(split.training, "radiograph") & keys(split.validation, "radiograph")


@pytest.mark.parametrize("by", PROTOCOLS)
@pytest.mark.parametrize("share", [0.1, 0.3])
def test_it_has_its_share_of_every_class(by, share):
    before = make_split(collection(), by, 0.2, 0)
    split = with_validation(before, share, 0)
    whole, part = (Counter(i.true for i in items) for items in (before.training, split.validation))
    for name in CLASS_NAMES:
        assert part[name] == pytest.approx(share * whole[name], abs=5), name


@pytest.mark.parametrize("by", PROTOCOLS)
def test_the_same_seed_gives_the_same_part_and_another_seed_another(by):
    before = make_split(collection(), by, 0.25, 4)
    split = with_validation(before, 0.2, 4)
    assert with_validation(before, 0.2, 4) == split
    assert with_validation(before, 0.2, 5).validation != split.validation
    data = collection()
    items = list(data.items)
    Random(3).shuffle(items)
    shuffled = make_split(DataSet(data.folder, tuple(items)), by, 0.25, 4)
    assert with_validation(shuffled, 0.2, 4) == split


def test_folds_have_one_each():
    for fold in (1, 2, 3):
        before = make_split(collection(), "radiograph", seed=2, fold=fold, folds=3)
        split = with_validation(before, 0.2, 2)
        assert (split.test, split.fold, split.folds) == (before.test, fold, 3)
        assert split.validation and not set(split.validation) & set(split.test)


def test_written_and_read_again_and_counted(tmp_path):
    split = with_validation(make_split(collection(), "patient", 0.25, 4, "drop"), 0.2, 4)
    split.write(tmp_path / "split.csv")
    assert Split.read(tmp_path / "split.csv", "patient", 4, "drop") == split
    facts = split.facts()
    assert facts["validation_files"] == len(split.validation) > 0
    assert facts["validation_radiographs"] == len(keys(split.validation, "radiograph"))
    assert facts["training_files"] == len(split.training)
    assert set(split.items) == set(collection().items)


@pytest.mark.parametrize(("by", "what"), [("radiograph", "radiograph"), ("random", "file")])
def test_a_class_that_one_part_would_lack_is_named(by, what):
    data = collection()
    rare = CLASS_NAMES[2]
    items = [i for i in data.items if i.true != rare]
    items += [replace(data.items[0], file="a", true=rare, radiograph="A", sha256="a")]
    split = Split(by, 0, tuple(items), ())
    with pytest.raises(DataSetError, match=f"no file of the class {rare}") as raised:
        with_validation(split, 0.2, 0)
    assert f"needs a {what} of its own" in str(raised.value)
    two = replace(items[-1], file="b", radiograph="B", sha256="b")
    split = with_validation(replace(split, training=(*items, two)), 0.2, 0)
    assert rare in keys(split.training, "true") and rare in keys(split.validation, "true")


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_out_of_range_is_named(share):
    with pytest.raises(DataSetError, match="between 0 and 1"):
        with_validation(make_split(collection(), "radiograph"), share, 0)
