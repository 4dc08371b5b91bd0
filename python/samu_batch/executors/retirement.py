"""A worker whose job has a time limit begins no map that the limit would cut off, and makes room for another job."""

from __future__ import annotations

import os
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from distributed import Status, WorkerPlugin
from tornado.ioloop import PeriodicCallback

from samu_batch.time_limit import TimeLimit

if TYPE_CHECKING:
    from distributed import Worker

LOOK_SECONDS = 1.0


class Retirement(WorkerPlugin):  # type: ignore[misc]
    """Retires a worker when what is left of its job is less than the longest of its last maps took.

    Maps come longest first, so that the next ones take no longer. Dask's own ``--lifetime`` is no substitute: it hands
    the maps in work to other workers while they are still written here.
    """

    name = "samu-retirement"

    def setup(self, worker: Worker) -> None:
        """Look at the clock from now on, where this job's limit can be known."""
        self._worker = worker
        self._begun: dict[Any, float] = {}
        self._took: deque[float] = deque([0.0], maxlen=10)
        self._limit = TimeLimit.of_job(os.environ)
        if self._limit is not None:
            PeriodicCallback(self._look, 1000 * LOOK_SECONDS).start()

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """Note how long maps take."""
        if finish == "executing":
            self._begun[key] = time.monotonic()
        elif start == "executing" and key in self._begun:
            self._took.append(time.monotonic() - self._begun.pop(key))

    def teardown(self, worker: Worker) -> None:
        """Leave nothing behind that goes on writing: a worker that lost its scheduler has maps that others now do."""
        if self._begun:
            os._exit(1)

    async def _look(self) -> None:
        assert self._limit is not None
        if self._worker.status == Status.running and self._limit.left(time.time()) < max(self._took):
            self._worker.status = Status.paused  # begins nothing more
        elif self._worker.status == Status.paused and not self._begun:
            await self._worker.close_gracefully(reason="samu-time-limit")
