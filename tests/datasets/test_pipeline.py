"""Batches made ahead: the same as those made one by one, in order, with their errors."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from kop_core.datasets import feeding, pipeline, scan
from kop_core.radiographs.preparation import PREPARATIONS, at_side

SMALL = at_side(PREPARATIONS["stretch224"], 64)


@pytest.fixture
def epoch(small_data) -> feeding.Epoch:
    data = scan(small_data)
    return feeding.Epoch(feeding.load(data, data.items, SMALL), 8, feeding.Augmentation(), 3, 2)


class Odd(feeding.Epoch):
    """An epoch whose batches are late or fail, as ``deed`` says."""

    def deed(self, step: int) -> None: ...

    def batch(self, step: int):
        self.deed(step)
        return super().batch(step)


def odd(epoch: feeding.Epoch, deed) -> Odd:
    made = Odd(epoch.pixels, epoch.batch_size, epoch.augmentation, epoch.seed, epoch.epoch)
    object.__setattr__(made, "deed", deed)
    return made


def arrays(batches) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.asarray(inputs), np.asarray(targets)) for inputs, targets in batches]


def assert_same(some, others) -> None:
    assert len(some) == len(others)
    for (inputs, targets), (other_inputs, other_targets) in zip(some, others):
        assert inputs.dtype == other_inputs.dtype == targets.dtype == np.float32
        np.testing.assert_array_equal(inputs, other_inputs)
        np.testing.assert_array_equal(targets, other_targets)


@pytest.mark.parametrize("workers", [None, 1, 3])
def test_both_ways_give_the_same_batches_to_the_bit(epoch, workers):
    plain = arrays(pipeline.one_by_one(epoch))
    assert [len(inputs) for inputs, _ in plain] == [8, 8, 8, 8, 4]
    assert_same(plain, arrays(pipeline.in_background(epoch, workers)))
    assert_same(plain, arrays(pipeline.batches(epoch, workers)))
    other = arrays(pipeline.in_background(replace(epoch, epoch=3), workers))
    assert not np.array_equal(plain[0][0], other[0][0])


def test_without_augmentation_too(epoch):
    epoch = replace(epoch, augmentation=None)
    assert_same(arrays(pipeline.one_by_one(epoch)), arrays(pipeline.in_background(epoch)))


def test_batches_keep_their_order_however_long_each_takes(epoch):
    finished = []

    def deed(step: int) -> None:
        time.sleep(0.1 if step % 2 == 0 else 0)
        finished.append(step)

    found = arrays(pipeline.in_background(odd(epoch, deed), workers=3))
    assert_same(arrays(pipeline.one_by_one(epoch)), found)
    assert finished != sorted(finished)  # they did overtake one another


def test_they_are_made_ahead_on_other_threads_and_not_all_at_once(epoch):
    threads = {}
    epoch = replace(epoch, batch_size=2, augmentation=None)

    def deed(step: int) -> None:
        threads[step] = threading.get_ident()

    batches = pipeline.in_background(odd(epoch, deed), workers=2)
    next(batches)
    end = time.monotonic() + 10
    while len(threads) < 3 and time.monotonic() < end:
        time.sleep(0.01)
    assert len(threads) >= 3 and threading.get_ident() not in threads.values()
    time.sleep(0.2)
    assert len(threads) < len(epoch)
    batches.close()


@pytest.mark.parametrize("kind", [ValueError, MemoryError, OSError, KeyError, StopAsyncIteration])
@pytest.mark.parametrize("bad", [0, 3])
def test_an_error_of_a_worker_arrives_as_itself_after_the_batches_before_it(epoch, bad, kind):
    def deed(step: int) -> None:
        if step == bad:
            raise kind("the picture of Jane")

    seen = []
    with pytest.raises(kind) as raised:
        for batch in pipeline.in_background(odd(epoch, deed), workers=2):
            seen.append(batch)
    assert raised.value.args == ("the picture of Jane",) and raised.value.__suppress_context__
    assert_same(arrays(pipeline.one_by_one(epoch))[:bad], arrays(seen))


def test_an_epoch_that_ends_early_never_passes_for_a_whole_one(epoch):
    def deed(step: int) -> None:
        if step == 2:
            raise StopIteration

    with pytest.raises(RuntimeError):
        list(pipeline.in_background(odd(epoch, deed)))


def test_no_picture_is_no_batch(epoch):
    pixels = epoch.pixels
    none = replace(pixels, items=(), grey=pixels.grey[:0], targets=pixels.targets[:0])
    empty = replace(epoch, pixels=none)
    assert list(pipeline.one_by_one(empty)) == list(pipeline.in_background(empty)) == []


def test_another_backend_has_them_as_arrays(epoch, monkeypatch):
    import keras

    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    inputs, targets = next(pipeline.batches(epoch))
    assert type(inputs) is type(targets) is np.ndarray
