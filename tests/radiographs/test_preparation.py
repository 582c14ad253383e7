import numpy as np
import pytest

from kop_core.errors import ModelError, WrongBodyPart
from kop_core.radiographs import (
    PREPARATIONS,
    Radiograph,
    cautions,
    prepare,
    read,
    require_knee,
    shows_two_legs,
)
from kop_core.radiographs.preparation import from_config, prepare_grey

STRETCH = PREPARATIONS["stretch224"]


def radiograph(pixels, **values) -> Radiograph:
    return Radiograph(np.asarray(pixels, np.float32), "knee", "PNG", 8, "", **values)


def test_shape_range_and_channels():
    ramp = np.tile(np.linspace(0, 1, 500), (300, 1))
    prepared = prepare(radiograph(ramp), STRETCH)
    assert prepared.shape == (224, 224, 3) and prepared.dtype == np.float32
    assert prepared.min() >= -1 and prepared.max() <= 1
    np.testing.assert_allclose(prepared[100, :, 0], np.linspace(-1, 1, 224), atol=0.01)
    assert (prepared[..., 0] == prepared[..., 2]).all()
    np.testing.assert_array_equal(prepared[..., 1], prepare_grey(radiograph(ramp), STRETCH))


def test_reducing_does_not_alias():
    board = np.indices((1792, 1792)).sum(axis=0) % 2
    prepared = prepare_grey(radiograph(board), STRETCH)
    np.testing.assert_allclose(prepared, 0, atol=0.02)


def test_cards_name_known_preparations_only():
    assert from_config(STRETCH.get_config()) is STRETCH
    with pytest.raises(ModelError, match="preparation"):
        from_config({**STRETCH.get_config(), "low": 0.0})
    with pytest.raises(ModelError, match="preparation"):
        from_config({"name": "other"})


@pytest.mark.parametrize(
    "part",
    [
        "CHEST",
        "HAND",
        "LSPINE",
        "SKULL",
        "SHOULDER JOINT",
        "UPPER EXTREMITY",
        "SI JOINT",
        "HIPJOINT",
    ],
)
def test_other_parts_of_the_body_are_refused(part):
    with pytest.raises(WrongBodyPart, match=part):
        require_knee(radiograph(np.ones((64, 64)), body_part=part))


@pytest.mark.parametrize(
    "part", [None, "KNEE", "LOWER EXTREMITIES", "LEG", "RT KNEE", "KNIE", "GENOU", "X17"]
)
def test_knees_pass(part):
    require_knee(radiograph(np.ones((64, 64)), body_part=part))


def test_cautions_from_the_header():
    good = np.tile(np.linspace(0, 1, 300), (300, 1))
    assert cautions(radiograph(good, body_part="KNEE", view="AP"), STRETCH) == ()
    assert any("LEG" in c for c in cautions(radiograph(good, body_part="LEG"), STRETCH))
    assert any("front views" in c for c in cautions(radiograph(good, view="LL"), STRETCH))


def test_a_radiograph_keeps_its_promise():
    for wrong in (np.nan, -0.1, 1.1):
        with pytest.raises(ValueError):
            radiograph(np.full((40, 40), wrong))


def test_two_legs_are_told_from_one(shared):
    def legs(pixels):
        return shows_two_legs(radiograph(pixels))

    x = np.linspace(0, 1, 300)
    two = np.tile((np.abs(x - 0.25) < 0.15) | (np.abs(x - 0.75) < 0.15), (300, 1)).astype(float)
    one = np.tile(np.abs(x - 0.5) < 0.2, (300, 1)).astype(float)
    assert legs(two) and not legs(one)
    for name, expected in {
        "normal/N10.JPEG": True,
        "osteopenia/OP1.JPEG": True,
        "osteopenia/OP101.jpg": False,
        "osteoporosis/OS12.jpg": True,
    }.items():
        assert shows_two_legs(read(shared / "full_size" / name)) == expected


def test_cautions():
    assert any("no contrast" in c for c in cautions(radiograph(np.ones((300, 300))), STRETCH))
    faint = np.tile(np.linspace(0.4, 0.5, 300), (300, 1))
    assert any("little of the grey scale" in c for c in cautions(radiograph(faint), STRETCH))
    good = np.tile(np.linspace(0, 1, 300), (300, 1))
    assert cautions(radiograph(good), STRETCH) == ()
    assert any("enlarged" in c for c in cautions(radiograph(good[:100]), STRETCH))
    assert any("colour" in c for c in cautions(radiograph(good, colour=True), STRETCH))
