"""The engine of this process: loaded once, and shared by the maps that are in flight here."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import cache
from itertools import chain, count, islice
from typing import TYPE_CHECKING, Any

from samu_batch.engine import load_engine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from samu_batch.engine import Engine
    from samu_batch.task import MapOptions


def process_engine(options: MapOptions) -> Engine:
    """Return this process's engine for ``options``, loaded once and shared behind a lock.

    Raises
    ------
    EngineError
        The engine cannot be loaded.
    """
    with _loading:
        return _cached_engine(options.model, options.engine, options.device, options.threads)


_loading = threading.Lock()


@cache
def _cached_engine(model: str, engine: str, device: str | None, threads: int) -> Engine:
    return _OneAtATime(load_engine(model, engine=engine, device=device, threads=threads))


class _Turns:
    """A lock that is given in the order in which it was asked for: no map waits for ever."""

    def __init__(self) -> None:
        self._tickets = count()
        self._serving = 0
        self._changed = threading.Condition()

    @contextmanager
    def mine(self) -> Iterator[None]:
        with self._changed:
            ticket = next(self._tickets)
            self._changed.wait_for(lambda: self._serving == ticket)
        try:
            yield
        finally:
            with self._changed:
                self._serving += 1
                self._changed.notify_all()


class _OneAtATime:
    """An engine that serves one map at a time, so that others are ingested and exported meanwhile."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._turns = _Turns()
        self.spec = engine.spec

    @property
    def batch(self) -> int:
        return self._engine.batch

    def stream(self, batches: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        waiting = iter(batches)
        first = list(islice(waiting, 1))  # before the turn: an engine does not wait for a map to be read
        with self._turns.mine():
            yield from self._engine.stream(chain(first, waiting))

    def run(self, cubes: NDArray[np.float32]) -> NDArray[np.float32]:
        with self._turns.mine():
            return self._engine.run(cubes)

    def describe(self) -> dict[str, Any]:
        return self._engine.describe()

    def close(self) -> None:
        self._engine.close()
