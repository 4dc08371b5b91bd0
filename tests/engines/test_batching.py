"""The batch follows the memory: no cube is lost, repeated or out of order, whatever memory does."""

import random
from collections import deque

import numpy as np
import pytest

from samu_engines.batching import MOST, SHARE, Halving, find_batch, of_edge


class Device:
    """Doubles cubes, two parts in flight as on a GPU; its memory holds `capacity(n)` cubes when part n comes."""

    def __init__(self, capacity):
        self.capacity = capacity
        self.parts = 0
        self.prepared = []
        self.ran = []

    def prepare(self, batch):
        self.prepared.append(batch)
        if batch > self.capacity(self.parts):
            raise MemoryError(f"no room for {batch}")
        return self.stream

    def stream(self, batches):
        busy = deque()
        for cubes in batches:
            self.parts += 1
            if len(cubes) > self.capacity(self.parts):
                raise MemoryError(f"no room for {len(cubes)}")
            busy.append(cubes)
            if len(busy) == 2:
                yield self.done(busy)
        while busy:
            yield self.done(busy)

    def done(self, busy):
        cubes = busy.popleft()
        self.ran.append(len(cubes))
        return 2 * cubes


def batches(sizes):
    numbers = iter(np.arange(sum(sizes), dtype=np.float32))
    return [np.array([next(numbers) for _ in range(size)], np.float32).reshape(-1, 1, 1, 1, 1) for size in sizes]


def doubled(engine, sent):
    received = list(engine.stream(iter(sent)))
    assert [len(batch) for batch in received] == [len(batch) for batch in sent]
    np.testing.assert_array_equal(np.concatenate(received), 2 * np.concatenate(sent))


def test_memory_that_shrinks_at_a_batch_of_24_loses_nothing():
    device = Device(lambda part: 24 if part < 4 else 7 if part < 12 else 2)
    engine = Halving(device.prepare, batch=24)
    doubled(engine, batches([24, 24, 24, 24, 24, 5]))
    assert device.prepared == [24, 12, 6, 3, 1]
    assert max(device.ran) == 24
    assert (engine.batch, engine.largest) == (1, 1)


@pytest.mark.parametrize("seed", range(20))
def test_any_sizes_and_any_memory_come_back_whole_and_in_order(seed):
    rng = random.Random(seed)
    limits = [rng.randint(1, 30) for _ in range(400)]
    engine = Halving(Device(lambda part: limits[part]).prepare, batch=24)
    for _ in range(3):  # several maps through one engine
        doubled(engine, batches([rng.randint(1, 40) for _ in range(rng.randint(1, 6))]))


def test_memory_too_short_at_the_start_halves_before_anything_runs():
    device = Device(lambda part: 5)
    engine = Halving(device.prepare, batch=24)
    assert engine.batch == 3
    doubled(engine, batches([24]))
    assert set(device.ran) == {3}


def test_no_room_for_one_cube_is_an_error_that_says_so():
    with pytest.raises(MemoryError, match="no room for 1"):
        Halving(Device(lambda part: 0).prepare, batch=4)
    engine = Halving(Device(lambda part: 4 if part < 2 else 0).prepare, batch=4)
    with pytest.raises(MemoryError, match="no room for 1"):
        list(engine.stream(batches([4, 4, 4])))


def test_a_stream_left_early_harms_no_later_one():
    engine = Halving(Device(lambda part: 4).prepare, batch=4)
    left = engine.stream(iter(batches([4, 4, 4])))
    next(left)
    left.close()
    doubled(engine, batches([4, 9, 2]))


def device_of(free, fixed, each):
    def peak_of(cubes):
        needed = fixed + cubes * each
        if needed > free:
            raise MemoryError(f"{needed} bytes of {free}")
        return needed

    return peak_of


@pytest.mark.parametrize("free", [100, 1000, 10_000])
@pytest.mark.parametrize(("fixed", "each"), [(0, 10), (50, 10), (5, 70), (90, 1)])
def test_the_batch_that_is_found_fits_and_one_more_would_not_fit_the_share(free, fixed, each):
    found = find_batch(device_of(free, fixed, each), free, most=MOST)
    assert 1 <= found <= MOST
    assert found == 1 or fixed + found * each <= SHARE * free
    assert found == MOST or fixed + (found + 1) * each > SHARE * free


def test_of_large_cubes_fewer_are_taken_at_once():
    assert [of_edge(edge, 32) for edge in (32, 64, 128, 256)] == [32, 32, 4, 1]


def test_where_one_cube_does_not_fit_there_is_no_batch():
    assert find_batch(device_of(100, 0, 90), 100, most=MOST) == 1
    with pytest.raises(MemoryError):
        find_batch(device_of(100, 0, 101), 100, most=MOST)
