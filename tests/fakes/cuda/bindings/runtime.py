"""CUDA's runtime, but for its speed: what is enqueued runs late, in any order that streams and events allow.

Memory is the host's. The order is drawn at random from ``chance``, so that what is not ordered by a stream, an event or
a wait goes wrong sooner or later. ``limit`` is the memory of the device in bytes.
"""

import ctypes
import random
from collections import deque
from enum import IntEnum

cudaStreamNonBlocking, cudaEventDisableTiming, cudaHostAllocDefault = 1, 2, 0

chance = random.Random(0)
limit = 1 << 32
memory, streams = {}, []


class cudaError_t(IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorMemoryAllocation = 2
    cudaErrorStreamCaptureUnsupported = 900


class cudaMemcpyKind(IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2
    cudaMemcpyDeviceToDevice = 3


class cudaStreamCaptureMode(IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


OK = (cudaError_t.cudaSuccess,)


class Stream:
    refuses = False
    """To be captured."""

    def __init__(self):
        self.waiting, self.captured = deque(), None
        streams.append(self)

    def __int__(self):
        return 1000 + streams.index(self)

    def add(self, do, ready=lambda: True):
        if self.captured is not None:
            self.captured.append((do, ready))
            return
        self.waiting.append((do, ready))
        for _ in range(chance.randrange(3)):
            advance()


class Event:
    recorded = reached = 0


def advance():
    """Let one of the streams that can go on do so; return whether one could."""
    able = [stream for stream in streams if stream.waiting and stream.waiting[0][1]()]
    if able:
        chance.choice(able).waiting.popleft()[0]()
    return bool(able)


def until(condition):
    while not condition():
        assert advance(), "the streams wait for each other for ever"


def enqueue(handle, do):
    """What a library does with the stream that it is given."""
    streams[handle - 1000].add(do)
    return True


def cudaMalloc(size):
    if sum(len(block) for block in memory.values()) + size > limit:
        return (cudaError_t.cudaErrorMemoryAllocation, None)
    block = ctypes.create_string_buffer(b"\xff" * size, size)  # NaN, as memory may be
    memory[ctypes.addressof(block)] = block
    return (*OK, ctypes.addressof(block))


def cudaHostAlloc(size, flags):
    return cudaMalloc(size)


def cudaFree(address):
    assert not any(stream.waiting for stream in streams), "memory is freed while streams run"
    del memory[address]
    return OK


def cudaFreeHost(address):
    return cudaFree(address)


def cudaMemset(address, value, size):
    ctypes.memset(address, value, size)
    return OK


def cudaMemcpyAsync(target, source, size, kind, stream):
    stream.add(lambda: ctypes.memmove(target, source, size))
    return OK


def cudaStreamCreateWithFlags(flags):
    return (*OK, Stream())


def cudaStreamDestroy(stream):
    assert not stream.waiting
    return OK


def cudaStreamSynchronize(stream):
    until(lambda: not stream.waiting)
    return OK


def cudaDeviceSynchronize():
    until(lambda: not any(stream.waiting for stream in streams))
    return OK


def cudaEventCreateWithFlags(flags):
    return (*OK, Event())


def cudaEventDestroy(event):
    return OK


def cudaEventRecord(event, stream):
    event.recorded += 1
    number = event.recorded
    stream.add(lambda: setattr(event, "reached", number))
    return OK


def cudaStreamWaitEvent(stream, event, flags):
    number = event.recorded
    stream.add(lambda: None, lambda: event.reached >= number)
    return OK


def cudaEventSynchronize(event):
    number = event.recorded
    until(lambda: event.reached >= number)
    return OK


def cudaStreamBeginCapture(stream, mode):
    stream.captured = []
    return OK


def cudaStreamEndCapture(stream):
    captured, stream.captured = stream.captured, None
    if Stream.refuses:
        return (cudaError_t.cudaErrorStreamCaptureUnsupported, None)
    return (*OK, captured)


def cudaGraphInstantiate(graph, flags):
    return (*OK, graph)


def cudaGraphLaunch(graph, stream):
    for do, ready in graph:
        stream.add(do, ready)
    return OK


def cudaGraphDestroy(graph):
    return OK


def cudaGraphExecDestroy(graph):
    return OK


def cudaGetLastError():
    return OK


def cudaGetErrorString(status):
    return (*OK, cudaError_t(status).name.encode())
