"""Work ahead of the consumer in threads, through bounded queues."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
R = TypeVar("R")

STOP_SECONDS = 2.0

_END = object()


@contextmanager
def ahead(items: Iterable[T], *, depth: int = 2) -> Iterator[Iterator[T]]:
    """Iterate ``items`` in a thread of its own, at most ``depth`` items ahead.

    An exception of ``items`` is raised where the consumer next asks. Leaving the block early stops the thread at its
    next item and waits for it, so that nothing runs on behind the consumer's back.
    """
    waiting: queue.Queue[object] = queue.Queue(maxsize=depth)
    left = threading.Event()

    def put(item: object) -> bool:
        while not left.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    return
        except BaseException as error:  # handed to the consumer, whatever it is
            put(_Failure(error))
        else:
            put(_END)
        finally:
            if isinstance(items, Generator):
                items.close()  # what it holds, an engine's lock among it, is free when the block is left

    thread = threading.Thread(target=work, name="samu-ahead", daemon=True)
    thread.start()
    try:
        yield _drain(waiting)
    finally:
        left.set()
        thread.join()


def each_ahead(
    items: Iterable[T],
    work: Callable[[T, threading.Event], R],
    *,
    count: int,
    full: Callable[[], bool] = lambda: False,
) -> Generator[R]:
    """Yield ``work(item, stop)`` of every item, in the order in which they finish.

    ``count`` of them are worked on, each in a thread, or lie ready; while ``full`` no other is begun. An exception of
    ``work`` is raised here. Leaving early sets the event ``stop`` and waits for the threads, but not long: one that a
    server holds up ends with the process.
    """
    waiting, stop = iter(items), threading.Event()
    finished: queue.SimpleQueue[tuple[threading.Thread, R | _Failure]] = queue.SimpleQueue()
    threads: set[threading.Thread] = set()

    def run(item: T) -> None:
        try:
            result: R | _Failure = work(item, stop)
        except BaseException as error:  # handed to the consumer, whatever it is
            result = _Failure(error)
        finished.put((threading.current_thread(), result))

    try:
        while True:
            while len(threads) < count and not (threads and full()) and (item := next(waiting, _END)) is not _END:
                thread = threading.Thread(target=run, args=(item,), name="samu-ahead", daemon=True)
                threads.add(thread)
                thread.start()
            if not threads:
                return
            thread, result = finished.get()
            threads.remove(thread)
            if isinstance(result, _Failure):
                raise result.error
            yield result
    finally:
        stop.set()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in threads:
            if thread.is_alive():  # a signal may have come while the last one was about to start
                thread.join(max(0.0, deadline - time.monotonic()))


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def _drain(waiting: queue.Queue[object]) -> Iterator:  # type: ignore[type-arg]  # items of any type, as ahead() says
    while (item := waiting.get()) is not _END:
        if isinstance(item, _Failure):
            raise item.error
        yield item
