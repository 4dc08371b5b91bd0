"""A worker process at work: it tells the driver where its maps are, and ends itself when none of them moves."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextlib import contextmanager
from dataclasses import astuple, replace
from functools import cache
from typing import TYPE_CHECKING

from distributed import WorkerPlugin, get_worker

from samu_batch.events import Throttled
from samu_batch.progress import duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Worker

    from samu_batch.events import Listener, MapEvent

STILL_SECONDS = 1800.0
"""Without any sign of progress (a stage, a batch of cubes, a block of a download) a worker has hung: the slowest stage
of the largest map takes minutes, and so does a batch of the slowest engine."""

STILL = "-still"
"""Suffix of the topic under which a worker says that it ends itself."""

log = logging.getLogger("samu_batch")


@contextmanager
def at_work(topic: str, map_id: str) -> Iterator[Listener]:
    """Give what is to be told of a map while this worker has it."""
    worker = get_worker()
    watchdog: Watchdog = worker.plugins[Watchdog.name]
    told = _telling(topic, str(worker.name))

    def tell(event: MapEvent) -> None:
        watchdog.moved()
        told(event)

    with watchdog.watching():
        try:
            yield tell
        finally:
            told.forget(map_id)


@contextmanager
def waiting_for_others() -> Iterator[None]:
    """Do not expect progress here: it is made by other workers."""
    with get_worker().plugins[Watchdog.name].watching(-1):
        yield


@cache
def _telling(topic: str, name: str) -> Throttled:
    """Return what tells the driver, one for all tasks of a worker."""
    worker = get_worker()
    return Throttled(lambda events: worker.log_event(topic, [astuple(replace(event, worker=name)) for event in events]))


class Watchdog(WorkerPlugin):  # type: ignore[misc]
    """Ends a worker process in which nothing has moved for ``seconds`` while it had work.

    Its maps are then those of a lost worker. Ticks are counted, not time: a process that was stopped for a night has
    not hung. One that holds Python's global lock cannot watch itself; Dask misses its heartbeat.
    """

    name = "samu-watchdog"
    TICKS = 20

    def __init__(self, topic: str, *, seconds: float = STILL_SECONDS) -> None:
        self._topic = topic
        self._seconds = seconds

    def setup(self, worker: Worker) -> None:
        """Watch from now on."""
        self._worker = worker
        self._lock = threading.Lock()
        self._working, self._moved = 0, True
        self._stop = threading.Event()
        threading.Thread(target=self._watch, name="samu-watchdog", daemon=True).start()

    def teardown(self, worker: Worker) -> None:
        """Watch no longer."""
        self._stop.set()

    def moved(self) -> None:
        """Note a sign of progress."""
        self._moved = True

    @contextmanager
    def watching(self, count: int = 1) -> Iterator[None]:
        """Expect progress as long as anything is in work."""
        self._add(count)
        try:
            yield
        finally:
            self._add(-count)

    def _add(self, count: int) -> None:
        with self._lock:
            self._working += count
            self._moved = True

    def _watch(self) -> None:
        still = 0
        while not self._stop.wait(self._seconds / self.TICKS):
            still = 0 if self._moved or not self._working else still + 1
            self._moved = False
            if still == self.TICKS:
                log.error("nothing moved for %s: this worker process is ended", duration(self._seconds))
                self._worker.log_event(self._topic + STILL, self._seconds)
                time.sleep(1)  # until that is said
                os._exit(1)
