"""Batches of any size come back from torch's pipeline as what the network makes of them, in order."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from samu_engines.batching import Halving
from samu_engines.torch_pipeline import HostLanes, TorchPipeline, memory_errors, sizes_up_to

CUBE = 4


def batches(sizes):
    rng = np.random.default_rng(len(sizes))
    return [rng.random((size, 1, CUBE, CUBE, CUBE), dtype=np.float32) for size in sizes]


class Network:
    """Doubles cubes and adds the mean of each; notes what it was run on, which must not exceed `room`."""

    def __init__(self, room=1000):
        self.sizes = []
        self.room = room

    def __call__(self, cubes):
        self.sizes.append(len(cubes))
        if len(cubes) > self.room:
            raise torch.OutOfMemoryError(f"no room for {len(cubes)}")
        return 2 * cubes + cubes.mean(dim=(1, 2, 3, 4), keepdim=True)


def expected(cubes):
    return 2 * cubes + cubes.mean(axis=(1, 2, 3, 4), keepdims=True)


def compare(stream, sent):
    for cubes, enhanced in zip(sent, stream, strict=True):
        np.testing.assert_allclose(enhanced, expected(cubes), rtol=1e-6)


def test_parts_come_back_in_order_and_padded_to_few_sizes():
    network = Network()
    pipeline = TorchPipeline(network, HostLanes(), batch=6, cube=CUBE)
    sent = batches([6, 6, 1, 3, 5, 2, 6, 4])
    compare(pipeline.stream(iter(sent)), sent)
    assert network.sizes == [6, 6, 1, 4, 6, 2, 6, 4]
    assert sizes_up_to(6) == [1, 2, 4, 6]
    assert sizes_up_to(1) == [1]
    assert sizes_up_to(8) == [1, 2, 4, 8]


def test_two_parts_are_in_flight_and_a_yielded_one_is_never_written_again():
    pipeline = TorchPipeline(Network(), HostLanes(), batch=3, cube=CUBE)
    taken = []
    stream = pipeline.stream(taken.append(number) or cubes for number, cubes in enumerate(batches([3] * 4)))
    first = next(stream)
    assert taken == [0, 1]
    kept = first.copy()
    list(stream)
    np.testing.assert_array_equal(first, kept)


def test_each_lane_waits_for_the_one_before_it_and_the_host_for_the_last():
    class Told(HostLanes):
        def __init__(self):
            self.log = []
            self.current = None

        def on(self, lane):
            self.log.append(f"on {lane}")
            return super().on(lane)

        def mark(self, lane):
            return f"{lane} {len(self.log)}"

        def wait(self, lane, mark):
            self.log.append(f"{lane} waits for {mark.split()[0]}")

        def reached(self, mark):
            self.log.append(f"host waits for {mark and mark.split()[0]}")

    lanes = Told()
    pipeline = TorchPipeline(Network(), lanes, batch=2, cube=CUBE)
    list(pipeline.stream(batches([2])))
    assert lanes.log == [
        "host waits for None",
        "host waits for None",
        "on upload",
        "compute waits for upload",
        "on compute",
        "download waits for compute",
        "on download",
        "host waits for download",
    ]


def test_out_of_memory_at_a_batch_of_24_halves_and_loses_nothing():
    network = Network(room=24)

    def prepare(batch):
        return TorchPipeline(network, HostLanes(), batch=batch, cube=CUBE).stream

    engine = Halving(prepare, batch=24)
    sent = batches([24, 24, 24, 7])

    def shrinking():
        for number, cubes in enumerate(sent):
            network.room = 24 if number < 2 else 10
            yield cubes

    compare(engine.stream(shrinking()), sent)
    assert (engine.batch, engine.largest) == (6, 6)


def test_torchs_ways_of_saying_that_memory_is_short_are_one_error():
    for error in (
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ):
        with pytest.raises(MemoryError), memory_errors():
            raise error
    with pytest.raises(RuntimeError, match="launch failure"), memory_errors():
        raise RuntimeError("CUDA error: unspecified launch failure")


def test_without_a_gpu_the_engine_says_why():
    from samu_batch.model import ModelSpec
    from samu_engines.torch_cuda import TorchCudaEngine

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    spec = ModelSpec.load("samu-lite")
    with pytest.raises(RuntimeError, match="sees no GPU that it can use"):
        TorchCudaEngine(spec, device=None, threads=None)
    with pytest.raises(RuntimeError, match="NVIDIA GPUs alone"):
        TorchCudaEngine(spec, device="cpu", threads=None)
