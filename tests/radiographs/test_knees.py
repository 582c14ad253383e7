"""Knee joints are found in real front views, and not in what has none."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from kop_core import radiographs
from kop_core.radiographs import Radiograph, knees


def blank(pixels: np.ndarray) -> Radiograph:
    return Radiograph(pixels.astype(np.float32), "made", "PNG", 8, "")


def test_both_joints_of_two_legs_are_found(shared):
    # Full-length pictures of both legs, the joints in the upper third.
    for name in ("N1.jpg", "N10.jpg"):
        path = shared / "mendeley" / "normal" / name
        radiograph = radiographs.read(path)
        found = knees.find_knees(radiograph)
        assert 1 <= len(found) <= 2 and all(k.score > knees.LEAST for k in found)
        for knee in found:
            assert 0 < knee.x < radiograph.width and 0 < knee.y < radiograph.height


def test_every_full_size_knee_has_a_joint(full_size):
    for path in full_size:
        assert knees.find_knees(radiographs.read(path)), path.name


def test_it_is_found_where_it_was_put(shared):
    """Moving, mirroring and scaling a picture moves, mirrors and scales what is found."""
    path = sorted((shared / "mendeley" / "osteoporosis").iterdir())[0]
    radiograph = radiographs.read(path)
    found = knees.find_knees(radiograph)
    mirrored = knees.find_knees(blank(radiograph.pixels[:, ::-1]))
    half = Image.fromarray(radiograph.pixels).resize(
        (radiograph.width // 2, radiograph.height // 2), Image.Resampling.BOX
    )
    smaller = knees.find_knees(blank(np.asarray(half)))
    assert 1 <= len(found) == len(mirrored) == len(smaller)
    for knee, turned, small in zip(found, mirrored[::-1], smaller):
        near = 0.2 * knee.side
        assert turned.x == pytest.approx(radiograph.width - knee.x, abs=near)
        assert turned.y == pytest.approx(knee.y, abs=near)
        assert (small.x, small.y) == pytest.approx((knee.x / 2, knee.y / 2), abs=near / 2)
        assert small.side == pytest.approx(knee.side / 2, rel=0.2)


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (900, 3), (40, 40)])
def test_a_picture_without_a_joint(shape):
    assert knees.find_knees(blank(np.zeros(shape))) == ()
    noise = np.random.default_rng(0).random(shape)
    assert knees.find_knees(blank(noise), least=2.0) == ()


def test_the_square_around_a_joint():
    assert knees.box(knees.Knee(50.2, 60.4, 20, 5), margin=1.5) == (35, 45, 65, 75)
