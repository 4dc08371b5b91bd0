"""Batches come back whole and in order, whatever the GPU's streams do first."""

import ctypes
import random
import subprocess
import sys

import numpy as np
import pytest

from samu_engines.pipeline import Pipeline

BATCH, CUBE = 3, 2


@pytest.fixture
def cuda(fakes):
    runtime = fakes().cuda
    yield runtime
    assert not runtime.memory, "memory is left behind"


def network(cuda, pipeline):
    """Enqueue what doubles the cubes and adds one."""

    def compute():
        source, target = (
            np.ctypeslib.as_array((ctypes.c_float * (BATCH * CUBE**3)).from_address(address))
            for address in (pipeline.source, pipeline.target)
        )
        target[:] = 2 * source + 1

    return lambda handle: cuda.enqueue(handle, compute)


def batches(sizes):
    rng = np.random.default_rng(len(sizes))
    return [rng.random((size, 1, CUBE, CUBE, CUBE), dtype=np.float32) for size in sizes]


@pytest.mark.parametrize("captures", [True, False])
def test_every_order_that_streams_and_events_allow_gives_the_same(cuda, captures, monkeypatch):
    monkeypatch.setattr(cuda.Stream, "refuses", not captures)
    sent = batches([3, 3, 1, 7, 2, 3, 3, 6, 1, 1])
    for seed in range(20):
        cuda.chance = random.Random(seed)
        pipeline = Pipeline(cuda, batch=BATCH, cube=CUBE)
        assert pipeline.record(network(cuda, pipeline)) is captures
        for cubes, enhanced in zip(sent, pipeline.stream(iter(sent)), strict=True):
            np.testing.assert_array_equal(enhanced, 2 * cubes + 1)
        pipeline.close()


def test_two_batches_are_in_flight_and_a_yielded_one_is_never_written_again(cuda):
    pipeline = Pipeline(cuda, batch=BATCH, cube=CUBE)
    pipeline.record(network(cuda, pipeline))
    sent, taken = batches([3, 3, 3, 3]), []
    stream = pipeline.stream(taken.append(number) or cubes for number, cubes in enumerate(sent))
    first = next(stream)
    assert taken == [0, 1]
    kept = first.copy()
    list(stream)
    np.testing.assert_array_equal(first, kept)
    pipeline.close()


def test_a_stream_that_is_left_early_harms_no_later_one(cuda):
    for seed in range(20):
        cuda.chance = random.Random(seed)
        pipeline = Pipeline(cuda, batch=BATCH, cube=CUBE)
        pipeline.record(network(cuda, pipeline))
        left = pipeline.stream(iter(batches([3, 3, 3])))
        next(left)
        left.close()
        sent = batches([2, 3, 3, 1])
        for cubes, enhanced in zip(sent, pipeline.stream(sent), strict=True):
            np.testing.assert_array_equal(enhanced, 2 * cubes + 1)
        pipeline.close()


def test_too_little_memory_is_a_memory_error_and_frees_what_there_was(cuda, monkeypatch):
    monkeypatch.setattr(cuda, "limit", 5 * 4 * BATCH * CUBE**3)
    with pytest.raises(MemoryError, match="the GPU's memory is too short"):
        Pipeline(cuda, batch=BATCH, cube=CUBE)


def test_a_network_that_does_not_run_says_so(cuda):
    pipeline = Pipeline(cuda, batch=BATCH, cube=CUBE)
    with pytest.raises(RuntimeError, match="could not be enqueued"):
        pipeline.record(lambda handle: False)
    pipeline.close()


def test_the_names_are_cudas(fakes):
    used = {name for name in vars(fakes().cuda) if name.startswith("cuda")}
    code = "from cuda.bindings import runtime; print(*dir(runtime))"
    real = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if real.returncode:
        pytest.skip("cuda-bindings is not installed")
    assert len(used) > 20
    assert used <= set(real.stdout.split())
