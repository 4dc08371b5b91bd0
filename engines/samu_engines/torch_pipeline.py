"""Batches through a torch device: the next is copied there and the last one back while one is computed.

The order of things is the same on every device; what only a GPU has, streams, events, pinned memory and graphs, is in
:class:`CudaLanes`, and :class:`HostLanes` does without.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

SLOTS = 2


class Lanes(Protocol):
    """Three lanes of work on a device, and what they need: a lane does its work in order, and waits for marks."""

    device: torch.device

    def on(self, lane: str) -> AbstractContextManager[object]:
        """Let what follows be done by a lane: ``upload``, ``compute`` or ``download``."""
        ...

    def mark(self, lane: str) -> Any:
        """Return a mark that is reached when the lane has done what it was given so far."""
        ...

    def wait(self, lane: str, mark: Any) -> None:
        """Let a lane do nothing more before a mark is reached."""
        ...

    def reached(self, mark: Any) -> None:
        """Wait, here, for a mark; None is reached."""
        ...

    def on_host(self, shape: tuple[int, ...]) -> Tensor:
        """Return memory of the host that the device copies from and to by itself."""
        ...

    def recorded(self, network: Callable[[Tensor], Tensor], source: Tensor) -> tuple[Callable[[], None], Tensor]:
        """Return what runs a network on ``source``, always the same memory, and where it leaves its output."""
        ...


class HostLanes:
    """The CPU: everything is done at once."""

    device = torch.device("cpu")

    def on(self, lane: str) -> AbstractContextManager[object]:
        """Do nothing."""
        return nullcontext()

    def mark(self, lane: str) -> Any:
        """Return nothing."""

    def wait(self, lane: str, mark: Any) -> None:
        """Do nothing."""

    def reached(self, mark: Any) -> None:
        """Do nothing."""

    def on_host(self, shape: tuple[int, ...]) -> Tensor:
        """Return memory."""
        return torch.zeros(shape)

    def recorded(self, network: Callable[[Tensor], Tensor], source: Tensor) -> tuple[Callable[[], None], Tensor]:
        """Run the network anew each time."""
        target = torch.empty_like(source)

        def run() -> None:
            target.copy_(network(source))

        return run, target


class CudaLanes:
    """Three CUDA streams of the present GPU; networks run as CUDA graphs, which share their memory."""

    WARM_UPS = 3
    """Runs before a graph is captured, in which convolutions choose their algorithms."""

    def __init__(self) -> None:
        self.device = torch.device("cuda")
        self._streams = {lane: torch.cuda.Stream() for lane in ("upload", "compute", "download")}
        self._memory = torch.cuda.graph_pool_handle()

    def on(self, lane: str) -> AbstractContextManager[object]:
        """Make a stream the current one."""
        stream: AbstractContextManager[object] = torch.cuda.stream(self._streams[lane])
        return stream

    def mark(self, lane: str) -> Any:
        """Return an event."""
        return self._streams[lane].record_event()

    def wait(self, lane: str, mark: Any) -> None:
        """Let a stream wait for an event."""
        self._streams[lane].wait_event(mark)

    def reached(self, mark: Any) -> None:
        """Wait for an event."""
        if mark is not None:
            mark.synchronize()

    def on_host(self, shape: tuple[int, ...]) -> Tensor:
        """Return pinned memory."""
        return torch.zeros(shape, pin_memory=True)

    def recorded(self, network: Callable[[Tensor], Tensor], source: Tensor) -> tuple[Callable[[], None], Tensor]:
        """Capture a CUDA graph."""
        stream = self._streams["compute"]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(self.WARM_UPS):
                network(source)
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Other threads, which read and write maps, may call CUDA meanwhile.
        with torch.cuda.graph(graph, pool=self._memory, stream=stream, capture_error_mode="thread_local"):
            target = network(source)
        return graph.replay, target


@dataclass
class _Slot:
    """Memory of a batch in flight, on the host and on the device."""

    sent: Tensor
    received: Tensor
    uploaded: Tensor
    computed: Tensor
    cubes: int = 0
    done: Any = None


class TorchPipeline:
    """Runs ``network`` on parts of up to ``batch`` cubes of edge ``cube``, two of them in flight.

    Raises
    ------
    MemoryError
        The device's memory is too short, now or while streaming.
    """

    def __init__(self, network: Callable[[Tensor], Tensor], lanes: Lanes, *, batch: int, cube: int) -> None:
        self._lanes = lanes
        self._network = network
        shape = (batch, 1, cube, cube, cube)
        self._sizes = sizes_up_to(batch)
        self._recorded: dict[int, tuple[Callable[[], None], Tensor]] = {}
        with torch.inference_mode(), memory_errors():
            self._source = torch.zeros(shape, device=lanes.device)
            self._slots = [self._slot(shape) for _ in range(SLOTS)]
            self._runner(batch)  # so that memory is known to suffice

    def stream(self, parts: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Yield what the network makes of each part, in order."""
        for slot in self._slots:
            self._lanes.reached(slot.done)  # a stream that was left early may still use it
        idle, busy = deque(self._slots), deque[_Slot]()
        for cubes in parts:
            slot = idle.popleft()
            with torch.inference_mode(), memory_errors():
                self._submit(slot, cubes)
            busy.append(slot)
            if not idle:
                yield self._finished(busy, idle)
        while busy:
            yield self._finished(busy, idle)

    def _submit(self, slot: _Slot, cubes: NDArray[np.float32]) -> None:
        lanes = self._lanes
        n = slot.cubes = len(cubes)
        size = next(size for size in self._sizes if size >= n)
        run, target = self._runner(size)
        slot.sent[:n].copy_(torch.from_numpy(cubes))  # behind them lie cubes of earlier parts: they pad this one
        with lanes.on("upload"):
            slot.uploaded[:size].copy_(slot.sent[:size], non_blocking=True)
        lanes.wait("compute", lanes.mark("upload"))
        with lanes.on("compute"):
            self._source[:size].copy_(slot.uploaded[:size])
            run()
            slot.computed[:n].copy_(target[:n])
        lanes.wait("download", lanes.mark("compute"))
        with lanes.on("download"):
            slot.received[:n].copy_(slot.computed[:n], non_blocking=True)
        slot.done = lanes.mark("download")

    def _finished(self, busy: deque[_Slot], idle: deque[_Slot]) -> NDArray[np.float32]:
        slot = busy.popleft()
        with memory_errors():  # a GPU tells late of what went wrong
            self._lanes.reached(slot.done)
        idle.append(slot)
        enhanced: NDArray[np.float32] = slot.received[: slot.cubes].numpy().copy()
        return enhanced

    def _runner(self, size: int) -> tuple[Callable[[], None], Tensor]:
        if size not in self._recorded:
            self._recorded[size] = self._lanes.recorded(self._network, self._source[:size])
        return self._recorded[size]

    def _slot(self, shape: tuple[int, ...]) -> _Slot:
        on_device = (torch.zeros(shape, device=self._lanes.device) for _ in range(2))
        return _Slot(self._lanes.on_host(shape), self._lanes.on_host(shape), *on_device)


def sizes_up_to(batch: int) -> list[int]:
    """Return the batches that the network is recorded for: powers of two, and the largest; others are padded."""
    return [*(1 << power for power in range(batch.bit_length()) if 1 << power < batch), batch]


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn torch's ways of saying that memory is too short into MemoryError."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryError(str(error)) from error
    except RuntimeError as error:
        if any(words in str(error) for words in ("out of memory", "ALLOC_FAILED", "can't allocate memory")):
            raise MemoryError(str(error)) from error
        raise
