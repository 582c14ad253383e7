import numpy as np
import pytest

from kop_core.evaluation.halves import halves, radiographs
from tests.evaluation.simulated import calibrated, skilled, table


@pytest.mark.parametrize("seed", range(5))
def test_no_radiograph_is_in_both_and_the_classes_are_alike(seed):
    given = calibrated(np.random.default_rng(seed), 150, most=6)
    cut = halves(given, seed)
    assert not set(cut.choosing.radiographs) & set(cut.measuring.radiographs)
    assert sorted(cut.choosing.files + cut.measuring.files) == sorted(given.files)
    for place in range(3):
        one, other = (int((h.true == place).sum()) for h in (cut.choosing, cut.measuring))
        assert abs(one - other) <= 6
    assert abs(len(cut.choosing.files) - len(cut.measuring.files)) <= 6
    assert cut.get_config()["choosing_radiographs"] == len(set(cut.choosing.radiographs))


def test_a_radiograph_filed_under_two_classes_stays_whole():
    true = [0, 2] * 20
    cut = halves(table(true, np.eye(3)[true], np.repeat(range(20), 2)))
    assert radiographs(cut.choosing) == radiographs(cut.measuring) == 10
    assert (cut.choosing.true == 0).sum() == (cut.measuring.true == 0).sum() == 10


def test_by_seed():
    given = skilled(1)
    assert halves(given, 3).choosing.files == halves(given, 3).choosing.files
    assert halves(given, 3).choosing.files != halves(given, 4).choosing.files


def test_one_image():
    cut = halves(table([0], [[1, 0, 0]]))
    assert len(cut.choosing.files) + len(cut.measuring.files) == 1
    assert sorted([radiographs(cut.choosing), radiographs(cut.measuring)]) == [0, 1]
