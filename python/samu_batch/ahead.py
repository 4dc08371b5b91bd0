"""Work ahead of the consumer in a thread, through a bounded queue."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

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


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def _drain(waiting: queue.Queue[object]) -> Iterator:  # type: ignore[type-arg]  # items of any type, as ahead() says
    while (item := waiting.get()) is not _END:
        if isinstance(item, _Failure):
            raise item.error
        yield item
