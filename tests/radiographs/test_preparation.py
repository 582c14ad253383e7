import numpy as np
import pytest
from PIL import Image

from kop_core.datasets.feeding import Augmentation
from kop_core.errors import ModelError, WrongBodyPart
from kop_core.radiographs import (
    PREPARATIONS,
    Radiograph,
    cautions,
    knees,
    prepare,
    read,
    require_knee,
    shows_two_legs,
)
from kop_core.radiographs.preparation import at_side, from_config, laid_back, prepare_grey

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


# The joints of both knees, side by side.

JOINTS = PREPARATIONS["joints224"]


def striped() -> Radiograph:
    rows, columns = np.mgrid[0:300, 0:400]
    return radiograph((rows + 2 * columns) % 50 / 50)


@pytest.fixture
def found(monkeypatch):
    """Say which joints are found."""

    def say(*joints: tuple[float, float, float]) -> None:
        there = tuple(knees.Knee(*joint, 5.0) for joint in joints)
        monkeypatch.setattr(knees, "find_knees", lambda radiograph: there)

    return say


def test_both_joints_are_shown_side_by_side(found):
    found((100, 150, 80), (300, 140, 100))
    picture = striped()
    grey = prepare_grey(picture, JOINTS)
    assert grey.shape == JOINTS.shape[:2] == (224, 448)
    for place, box in ((0, (56, 106, 144, 194)), (1, (245, 85, 355, 195))):
        part = Image.fromarray(picture.pixels).crop(box)
        alone = np.asarray(part.resize((224, 224), Image.Resampling.BILINEAR)) * 2 - 1
        np.testing.assert_allclose(grey[:, 224 * place :][:, :224], alone, atol=1e-6)


def test_of_one_joint_the_other_half_is_its_mirror_image(found):
    found((100, 150, 80))
    grey = prepare_grey(striped(), at_side(JOINTS, 96))
    assert grey.shape == (96, 192)
    np.testing.assert_array_equal(grey[:, :96], grey[:, 96:][:, ::-1])


def test_without_a_joint_the_whole_picture_is_shown_and_that_is_said(found, monkeypatch):
    found()
    picture = striped()
    grey = prepare_grey(picture, JOINTS)
    square = STRETCH
    np.testing.assert_array_equal(grey[:, :224], prepare_grey(picture, square))
    monkeypatch.setattr("kop_core.radiographs.quality.find_knees", lambda radiograph: ())
    assert any("No knee joint was found" in said for said in cautions(picture, JOINTS))
    assert not any("joint" in said for said in cautions(picture, square))


def test_a_map_is_laid_back_where_the_joints_are(found):
    found((100, 150, 80), (300, 140, 100))
    picture = striped()
    heat = np.zeros((224, 448), np.float32)
    heat[100:124, 100:124] = 1.0  # the middle of the first joint
    heat[100:124, 324:348] = 0.5
    whole = laid_back(heat, picture, JOINTS)
    assert whole.shape == (384, 512)
    scale = 512 / 400
    assert whole[round(150 * scale), round(100 * scale)] == pytest.approx(1.0)
    assert whole[round(140 * scale), round(300 * scale)] == pytest.approx(0.5)
    assert whole[:, : round(50 * scale)].max() == 0 and whole[: round(80 * scale)].max() == 0
    assert laid_back(heat, picture, STRETCH) is heat


def test_a_map_of_a_joint_at_the_edge_and_of_one_alone(found):
    picture = striped()
    found((0, 0, 80))
    heat = np.zeros((224, 448), np.float32)
    heat[200:224, 224:248] = 1.0  # the second half is mirrored: the lower right corner
    whole = laid_back(heat, picture, JOINTS)
    scale = 512 / 400
    assert whole[round(40 * scale), round(40 * scale)] > 0.5
    assert whole[round(60 * scale) :].max() == 0 and whole[:, round(60 * scale) :].max() == 0
    found()
    assert laid_back(heat, picture, JOINTS).shape == (224, 224)


def test_a_card_may_ask_for_joints_of_another_size():
    smaller = at_side(JOINTS, 160)
    assert smaller.get_config()["width"] == 320 and smaller.name == "joints160"
    assert from_config(smaller.get_config()) == smaller and smaller.view == "joints"


def test_each_joint_is_altered_by_itself():
    grey = np.full(JOINTS.shape[:2], 0.5, np.float32)
    strong = Augmentation(mirror=False, rotation=0, shift=0, zoom=0, brightness=0.2, contrast=0)
    altered = strong.apply(grey, JOINTS, np.random.default_rng(1))
    assert altered.shape == grey.shape
    first, second = altered[:, :224], altered[:, 224:]
    assert np.ptp(first) < 1e-5 and np.ptp(second) < 1e-5
    assert abs(float(first[0, 0]) - float(second[0, 0])) > 0.01
