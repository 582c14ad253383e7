"""Copies are found however they were made, and different radiographs are not joined."""

from __future__ import annotations

import csv
import time
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from kop_core import radiographs
from kop_core.datasets.audit import candidates, copies, geometry
from kop_core.datasets.audit.signature import (
    WORK_SIDE,
    mirrored_descriptors,
    shrink,
    sign,
)
from tests.datasets.copying import NEAR, PART, WAYS, generated


def signed(grey: np.ndarray):
    return sign(np.ascontiguousarray(shrink(grey, WORK_SIDE)))


def joined(pictures: list[np.ndarray]) -> tuple[set[tuple[int, int]], list[copies.Match]]:
    """Return the pairs of pictures that are put together, and the links."""
    matches = copies.find_copies([signed(p) for p in pictures])
    groups = copies.Groups(len(pictures))
    for match in matches:
        groups.join(match.first, match.second)
    pairs = combinations(range(len(pictures)), 2)
    return {(i, j) for i, j in pairs if groups.find(i) == groups.find(j)}, matches


@pytest.mark.parametrize("way", WAYS)
def test_each_generated_copy_is_found_and_nothing_else(way):
    originals = [generated(seed) for seed in range(6)]
    pairs, matches = joined(originals + [WAYS[way](g) for g in originals])
    assert pairs == {(i, i + 6) for i in range(6)}
    assert {m.near for m in matches} == {way in NEAR}
    assert {m.mirrored for m in matches} == {"mirrored" in way}
    assert all(0.85 <= m.likeness <= 1.0001 for m in matches)


@pytest.fixture(scope="module")
def knees(shared) -> list[np.ndarray]:
    """Radiographs from three sources: single knees of 224 pixels, legs, full-size originals."""
    folders = ("knee_kl/oai/0", "knee_kl/oai/3", "mendeley/normal", "mendeley/osteopenia")
    files = [p for f in folders for p in sorted((shared / f).glob("*.*"))[40::11][:4]]
    files += sorted((shared / "full_size").rglob("*.*"))[::3]
    files = [f for f in files if f.suffix.lower().lstrip(".") in radiographs.EXTENSIONS]
    assert len(files) >= 12
    shrunk = [shrink(radiographs.read(f).pixels, 1024) for f in files]
    return [np.uint8(np.round(p * 255)) for p in shrunk]


@pytest.mark.parametrize("way", WAYS)
def test_each_copy_of_a_real_radiograph_is_found_and_nothing_else(knees, way):
    pairs, _ = joined(knees + [WAYS[way](g) for g in knees])
    count = len(knees)
    right = {(i, i + count) for i in range(count)}
    assert pairs <= right
    # A crop of a whole leg may hold nothing but soft tissue.
    assert len(pairs & right) >= (count if way in NEAR else count - 1)


def test_two_legs_that_share_no_pixel_are_joined_through_the_picture_of_both():
    both = generated(1, 600, 400)
    left, right = both[:, :280], both[:, 320:]
    assert joined([left, right])[0] == set()
    pairs, matches = joined([left, right, both, generated(2)])
    assert pairs == {(0, 1), (0, 2), (1, 2)}
    assert {(m.first, m.second) for m in matches} == {(0, 2), (1, 2)}
    assert not any(m.near for m in matches)


def test_a_lead_marker_does_not_join_two_radiographs():
    pictures = [generated(seed) for seed in range(4)]
    for picture in pictures:
        picture[10:50, 250:290] = 255
        picture[18:42, 258:266] = 0
    assert joined(pictures)[0] == set()


@pytest.mark.parametrize(
    "pictures",
    [
        [],
        [generated(0)],
        [np.zeros((60, 80), np.uint8)] * 3,
        [np.full((300, 200), 255, np.uint8), generated(0)],
        [np.tile(np.arange(200, dtype=np.uint8), (300, 1))] * 2,
        [generated(0)[:33, :33], generated(0)],
    ],
    ids=["none", "one", "black", "white", "ramps", "tiny"],
)
def test_odd_pictures_end_without_an_error_and_empty_ones_are_no_copies(pictures):
    found = copies.find_copies([signed(p) for p in pictures])
    for match in found:
        assert pictures[match.first].std() > 0 and pictures[match.second].std() > 0


@pytest.mark.parametrize(
    ("likeness", "inliers", "mirrored", "expected"),
    [(0.99, 0, False, True), (0.93, 5, False, True), (0.88, 5, False, False),
     (0.88, 40, False, True), (0.93, 19, True, False), (0.99, 5, True, True),
     (0.6, 80, False, False)],
)  # fmt: skip
def test_likeness_and_points_decide_together(likeness, inliers, mirrored, expected):
    fit = geometry.Fit((1, 1), (0, 0), inliers, likeness, 50, 1)
    assert copies.is_copy(fit, mirrored) is expected
    assert not copies.is_copy(None, mirrored)


def test_the_order_of_the_pictures_does_not_decide():
    originals = [generated(seed) for seed in range(4)]
    pictures = originals + [PART["cropped"](g) for g in originals]
    order = np.random.default_rng(3).permutation(len(pictures))
    shuffled = joined([pictures[i] for i in order])[0]
    assert {tuple(sorted((order[i], order[j]))) for i, j in shuffled} == joined(pictures)[0]


def test_mirrored_descriptors_are_those_of_the_mirrored_picture():
    grey = generated(8)
    one, other = signed(grey), signed(np.ascontiguousarray(grey[:, ::-1]))
    turned = mirrored_descriptors(one.descriptors.astype(np.float32))
    place = np.stack([one.view.shape[1] - 1 - one.points[:, 0], one.points[:, 1]], axis=1)
    alike = []
    for point, descriptor, angle in zip(place, turned, one.points[:, 2]):
        near = np.abs(other.points[:, :2] - point).max(axis=1) < 1
        near &= np.abs((other.points[:, 2] - (180 - angle) + 180) % 360 - 180) < 5
        alike += [float(descriptor @ d) for d in other.descriptors[near].astype(np.float32)]
    assert len(alike) > 50 and np.median(alike) > 0.97
    plain = one.descriptors.astype(np.float32)
    assert np.median(np.abs(turned - plain).max(axis=1)) > 0.1


def test_a_picture_is_found_where_it_was_cut_out():
    whole = generated(4, 256, 256)
    first, second = signed(whole[40:200, 60:220]), signed(whole)
    ((i, j, mirrored, points),) = candidates.part_pairs([first, second])
    fit = geometry.fit((first, second)[i], (first, second)[j], points, mirrored)
    assert fit.scale == pytest.approx((1, 1), abs=0.03)
    assert fit.shift == pytest.approx((60, 40), abs=2)
    assert fit.likeness > 0.99 and fit.covered > 0.95 and fit.inliers > 20


def pairs_of(groups: list[str]) -> set[tuple[int, int]]:
    return {(i, j) for i, j in combinations(range(len(groups)), 2) if groups[i] == groups[j]}


def test_the_groups_of_both_collections_are_those_that_are_known(tmp_path, shared):
    """Paper's collection, its source and 300 knees of another study, as one data set."""
    from kop_core.datasets import scan
    from kop_core.datasets.audit import audit

    known = {}
    for name in ("paper1947", "mendeley"):
        (tmp_path / name).symlink_to(shared / name, target_is_directory=True)
        with ((shared / name) / "radiographs.csv").open(newline="", encoding="utf-8") as stream:
            known |= {f"{name}/{row['file']}": row["radiograph"] for row in csv.DictReader(stream)}
    strangers = sorted((shared / "knee_kl/oai").rglob("*.*"))[5::27][:300]
    (tmp_path / "strangers").mkdir()
    for place, path in enumerate(strangers):
        (tmp_path / "strangers" / f"{place}{path.suffix}").symlink_to(path)
        known[f"strangers/{place}{path.suffix}"] = f"stranger {place}"
    report = audit(scan(tmp_path, any_class=True, follow_links=True), cache=False)
    assert len(report.files) == len(known) == 1415 + 195 + 300
    found = pairs_of([f.radiograph for f in report.files])
    right = pairs_of([known[f.file] for f in report.files])
    assert len(found & right) >= 0.99 * len(found)
    assert len(found & right) >= 0.98 * len(right)
    assert not [f for f in report.files if f.file.startswith("strangers")
                and len(report.groups()[f.radiograph]) > 1]  # fmt: skip


def test_pictures_are_read_as_they_are_shown(tmp_path):
    """A 16-bit original and its 8-bit export are one radiograph."""
    from kop_core.datasets import scan
    from kop_core.datasets.audit import audit

    grey = generated(11)
    for name in ("Normal", "Osteoporosis"):
        (tmp_path / name).mkdir()
    Image.fromarray(grey).save(tmp_path / "Normal" / "a.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "Osteoporosis" / "b.png")
    report = audit(scan(tmp_path), cache=False)
    assert len(report.groups()) == 1 and report.conflicted() == ["G0001"]
    assert {f.mode for f in report.files} == {"L", "I;16"}


def test_a_stop_does_not_wait_for_the_comparisons_that_have_not_begun(monkeypatch):
    class Stopped(Exception):
        pass

    looked = []

    def look(*_):
        looked.append(time.monotonic())
        time.sleep(0.02)

    def stop(done, total):
        assert total == 1000  # 20 s of work for one thread
        raise Stopped

    pairs = [(0, 1, False, np.zeros((5, 2), int))] * 1000
    monkeypatch.setattr(candidates, "whole_pairs", lambda signatures: [])
    monkeypatch.setattr(candidates, "part_pairs", lambda signatures: pairs)
    monkeypatch.setattr(copies, "_part", look)
    with pytest.raises(Stopped):
        copies.find_copies([signed(generated(seed)) for seed in range(2)], stop)
    begun = len(looked)
    assert 1 <= begun <= 50
    time.sleep(0.2)
    assert len(looked) == begun  # nothing goes on behind
