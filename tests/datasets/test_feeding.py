import numpy as np
import pytest

from kop_core.datasets import feeding, pipeline, scan
from kop_core.radiographs import PREPARATIONS, prepare, read

STRETCH = PREPARATIONS["stretch224"]


@pytest.fixture
def pixels(small_data):
    data = scan(small_data)
    return feeding.load(data, data.items, STRETCH)


def test_training_is_fed_what_serving_is_fed(small_data, pixels):
    data = scan(small_data)
    served = prepare(read(data.path(data.items[5])), STRETCH)
    np.testing.assert_array_equal(pixels.batch(np.array([5]))[0], served)
    assert pixels.targets[5].tolist() == [1, 0, 0] and pixels.targets[-1].tolist() == [0, 0, 1]


def test_an_unreadable_file_is_named_and_the_rest_is_there(small_data):
    bad = small_data / "Normal" / "Normal 3.png"
    bad.write_bytes(bad.read_bytes()[:200])
    data = scan(small_data)
    pixels = feeding.load(data, data.items, STRETCH)
    assert len(pixels.items) == 35 == len(pixels.grey) == len(pixels.targets)
    ((file, reason),) = pixels.unreadable
    assert file == "Normal/Normal 3.png" and "picture" in reason


def test_an_epoch_is_the_same_each_time_and_unlike_the_next(pixels):
    def epoch(number, seed=3):
        batches = pipeline.one_by_one(
            feeding.Epoch(pixels, 8, feeding.Augmentation(), seed, number)
        )
        inputs, targets = zip(*batches)
        return np.concatenate(inputs), np.concatenate(targets)

    first, targets = epoch(2)
    assert first.shape == (36, 224, 224, 3) and first.dtype == np.float32
    np.testing.assert_array_equal(first, epoch(2)[0])
    assert (targets.sum(axis=0) == 12).all()
    assert not np.array_equal(first, epoch(3)[0])
    assert not np.array_equal(first, epoch(2, seed=4)[0])


def test_without_augmentation_pictures_stay_as_they_are(pixels):
    inputs, _ = next(pipeline.one_by_one(feeding.Epoch(pixels, 36, None, 0, 0)))
    order = np.random.default_rng((0, 0, 0)).permutation(36)
    np.testing.assert_array_equal(inputs, pixels.batch(order))


def test_augmentation_stays_in_range_and_moves_as_it_says():
    grey = np.full((224, 224), -1, np.float32)
    grey[100:124, 30:54] = 1
    rng = np.random.default_rng(0)
    for _ in range(30):
        moved = feeding.Augmentation().apply(grey, STRETCH, rng)
        assert moved.shape == grey.shape and moved.dtype == np.float32
        assert moved.min() >= -1 and moved.max() <= 1

    still = feeding.Augmentation(False, 0, 0, 0, 0, 0)
    np.testing.assert_allclose(still.apply(grey, STRETCH, rng), grey, atol=1e-5)

    class Tails:
        def uniform(self, low, high, size):
            return np.zeros(size)

        def random(self):
            return 0.0

    mirrored = feeding.Augmentation(True, 0, 0, 0, 0, 0).apply(grey, STRETCH, Tails())
    np.testing.assert_allclose(mirrored, grey[:, ::-1], atol=1e-5)
