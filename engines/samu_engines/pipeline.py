"""Batches through one GPU: the next is copied there and the last one back while one is computed.

::

    host, pinned -> [upload] -> device -> [compute: source, network, target] -> device -> [download] -> host, pinned

Each stage is a CUDA stream; two slots of buffers are in flight, and events hand them from stage to stage. The network
reads ``source`` and writes ``target``, always the same memory, so that one CUDA graph runs it. The CUDA runtime is an
argument, so that the order of things is tested without a GPU.
"""

from __future__ import annotations

import ctypes
import logging
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import ModuleType

    from numpy.typing import NDArray

log = logging.getLogger("samu_batch")

SLOTS = 2


class Cuda:
    """The functions of the CUDA runtime, which raise instead of returning a status.

    Raises
    ------
    MemoryError
        The GPU's memory is too short.
    RuntimeError
        Anything else; the message names the function.
    """

    def __init__(self, runtime: ModuleType) -> None:
        self._runtime = runtime

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(self._runtime, name)
        statuses = self._runtime.cudaError_t

        def call(*arguments: Any) -> Any:
            status, *values = function(*arguments)
            if status == statuses.cudaErrorMemoryAllocation:
                raise MemoryError(f"the GPU's memory is too short ({name})")
            if status != statuses.cudaSuccess:
                raise RuntimeError(f"{name} failed: {self._runtime.cudaGetErrorString(status)[1].decode()}")
            return values[0] if values else None

        return call


@dataclass
class _Slot:
    """Buffers of a batch in flight, the events that hand it on, and how many cubes it holds."""

    sent: NDArray[np.float32]
    received: NDArray[np.float32]
    uploaded_to: int
    computed_to: int
    uploaded: Any
    computed: Any
    downloaded: Any
    cubes: int = 0


class Pipeline:
    """Buffers, streams and one CUDA graph for batches of up to ``batch`` cubes of edge ``cube``.

    Attributes
    ----------
    source, target
        Addresses that the network reads and writes: float32 (batch, 1, cube, cube, cube).
    """

    def __init__(self, runtime: ModuleType, *, batch: int, cube: int) -> None:
        self._runtime = runtime
        self._cuda = Cuda(runtime)
        self._owned = ExitStack()
        self._batch = batch
        self._shape = (batch, 1, cube, cube, cube)
        self._graph: Any = None
        self._execute: Callable[[int], bool] | None = None
        try:
            self._upload, self._compute, self._download = (self._stream() for _ in range(3))
            self.source, self.target = self._on_device(), self._on_device()
            self._slots = [self._slot() for _ in range(SLOTS)]
            self._cuda.cudaDeviceSynchronize()
        except BaseException:
            self._owned.close()
            raise

    def record(self, execute: Callable[[int], bool]) -> bool:
        """Take what enqueues the network on a stream, run it once, and capture it; return whether that could be done.

        Raises
        ------
        RuntimeError
            It does not run at all.
        """
        self._execute = execute
        self._run_network()
        self._cuda.cudaStreamSynchronize(self._compute)
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        try:
            self._cuda.cudaStreamBeginCapture(self._compute, mode)
            try:
                self._run_network()
            finally:
                graph = self._cuda.cudaStreamEndCapture(self._compute)
            self._owned.callback(self._cuda.cudaGraphDestroy, graph)
            ready = self._cuda.cudaGraphInstantiate(graph, 0)
            self._owned.callback(self._cuda.cudaGraphExecDestroy, ready)
        except RuntimeError as error:
            self._runtime.cudaGetLastError()  # or the next call would tell of it
            log.info("the network runs without a CUDA graph: %s", error)
            return False
        self._graph = ready
        return True

    def stream(self, batches: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Yield what the network makes of each batch of any size, in order; the last part of each is padded."""
        parts_of: deque[int] = deque()
        done: list[NDArray[np.float32]] = []
        for part in self._stream_parts(self._parts(batches, parts_of)):
            done.append(part)
            if len(done) == parts_of[0]:
                parts_of.popleft()
                yield done[0] if len(done) == 1 else np.concatenate(done)
                done = []

    def close(self) -> None:
        """Wait for what runs, and free everything."""
        self._cuda.cudaDeviceSynchronize()
        self._owned.close()

    def _parts(self, batches: Iterable[NDArray[np.float32]], parts_of: deque[int]) -> Iterator[NDArray[np.float32]]:
        for cubes in batches:
            begins = range(0, len(cubes), self._batch)
            parts_of.append(len(begins))
            yield from (cubes[begin : begin + self._batch] for begin in begins)

    def _stream_parts(self, parts: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        # A stream that was left early may still use its slots: what it does is on the same streams, and so comes first.
        idle, busy = deque(self._slots), deque[_Slot]()
        for part in parts:
            slot = idle.popleft()
            busy.append(slot)
            self._submit(slot, part)
            if not idle:
                yield self._finished(busy, idle)
        while busy:
            yield self._finished(busy, idle)

    def _submit(self, slot: _Slot, cubes: NDArray[np.float32]) -> None:
        kinds = self._runtime.cudaMemcpyKind
        slot.cubes = len(cubes)
        slot.sent[: slot.cubes] = cubes  # behind them lie cubes of earlier batches: they pad this one
        size = slot.sent[: slot.cubes].nbytes
        copy, record, wait = self._cuda.cudaMemcpyAsync, self._cuda.cudaEventRecord, self._cuda.cudaStreamWaitEvent
        copy(slot.uploaded_to, slot.sent.ctypes.data, size, kinds.cudaMemcpyHostToDevice, self._upload)
        record(slot.uploaded, self._upload)
        wait(self._compute, slot.uploaded, 0)
        copy(self.source, slot.uploaded_to, size, kinds.cudaMemcpyDeviceToDevice, self._compute)
        self._run_network()
        copy(slot.computed_to, self.target, size, kinds.cudaMemcpyDeviceToDevice, self._compute)
        record(slot.computed, self._compute)
        wait(self._download, slot.computed, 0)
        copy(slot.received.ctypes.data, slot.computed_to, size, kinds.cudaMemcpyDeviceToHost, self._download)
        record(slot.downloaded, self._download)

    def _finished(self, busy: deque[_Slot], idle: deque[_Slot]) -> NDArray[np.float32]:
        slot = busy[0]
        self._cuda.cudaEventSynchronize(slot.downloaded)
        idle.append(busy.popleft())
        return slot.received[: slot.cubes].copy()

    def _run_network(self) -> None:
        if self._graph is not None:
            self._cuda.cudaGraphLaunch(self._graph, self._compute)
        elif self._execute is None or not self._execute(int(self._compute)):
            raise RuntimeError("the network could not be enqueued")

    def _slot(self) -> _Slot:
        host, device, event = self._on_host, self._on_device, self._event
        return _Slot(host(), host(), device(), device(), event(), event(), event())

    def _stream(self) -> Any:
        stream = self._cuda.cudaStreamCreateWithFlags(self._runtime.cudaStreamNonBlocking)
        self._owned.callback(self._cuda.cudaStreamDestroy, stream)
        return stream

    def _event(self) -> Any:
        event = self._cuda.cudaEventCreateWithFlags(self._runtime.cudaEventDisableTiming)
        self._owned.callback(self._cuda.cudaEventDestroy, event)
        return event

    def _on_device(self) -> int:
        size = 4 * int(np.prod(self._shape))
        address = self._cuda.cudaMalloc(size)
        self._owned.callback(self._cuda.cudaFree, address)
        self._cuda.cudaMemset(address, 0, size)
        return int(address)

    def _on_host(self) -> NDArray[np.float32]:
        count = int(np.prod(self._shape))
        address = self._cuda.cudaHostAlloc(4 * count, self._runtime.cudaHostAllocDefault)
        self._owned.callback(self._cuda.cudaFreeHost, address)
        memory = (ctypes.c_float * count).from_address(int(address))
        array: NDArray[np.float32] = np.ctypeslib.as_array(memory).reshape(self._shape)
        array[:] = 0
        return array
