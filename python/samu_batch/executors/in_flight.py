"""Which tasks a Dask cluster has in flight, and which run again.

A window of tasks is in flight, never the whole list: the scheduler blames a dead worker's death on everything it held.
Suspects of a lost worker run again one at a time, and a map is blamed only after three losses alone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from queue import Empty, Queue
from typing import TYPE_CHECKING

from distributed.scheduler import KilledWorker

from samu_batch.errors import WorkerLostError
from samu_batch.events import MapEvent
from samu_batch.journal import failed_outside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from distributed import Client, Future

    from samu_batch.events import Listener
    from samu_batch.task import MapReport, MapTask

IN_FLIGHT = 3
"""Tasks of one worker: one ingested, one in the engine, one exported."""

LOSSES_ALONE = 3
LOOK_SECONDS = 1.0
"""How often the workers are counted: some come later, and some go."""


@dataclass(frozen=True)
class InFlight:
    """The tasks in flight on the cluster of ``client``.

    Attributes
    ----------
    work
        Runs one task, in a worker.
    workers
        Counts the workers that take tasks.
    progress
        Is told of a map that has to wait again.
    hung
        Grows when a worker ends itself because nothing moves.
    """

    client: Client
    work: Callable[[MapTask], MapReport]
    workers: Callable[[], int]
    progress: Listener
    hung: Sequence[object]
    running: dict[Future, MapTask] = field(default_factory=dict)

    def side_by_side(self, tasks: Iterable[MapTask]) -> Iterator[MapReport]:
        """Yield reports as they finish, with a few tasks in flight for each worker; at last those of suspects."""
        suspects = []
        for task, report in self._finished(tasks, window=lambda: IN_FLIGHT * self.workers()):
            if report is not None:
                yield report
            else:
                suspects.append(task)
                self.progress(MapEvent(task.entry.id, "waiting"))
        yield from self.in_turn(suspects)

    def in_turn(self, tasks: Iterable[MapTask]) -> Iterator[MapReport]:
        """Run each task with nothing beside it, so that a loss is its own."""
        for task in tasks:
            before = len(self.hung)
            for _ in range(LOSSES_ALONE):
                [(_, report)] = self._finished([task], window=lambda: min(1, self.workers()))
                if report is not None:
                    yield report
                    break
            else:
                why = "was ended because nothing moved any more, or died" if len(self.hung) > before else "died"
                text = f"the worker process {why}, {LOSSES_ALONE} times while it had this map alone"
                yield failed_outside(task, WorkerLostError(text))

    def _finished(
        self, tasks: Iterable[MapTask], *, window: Callable[[], int]
    ) -> Iterator[tuple[MapTask, MapReport | None]]:
        """Yield tasks as they finish with their reports, None where the worker was lost; ``window()`` are in flight."""
        waiting = iter(tasks)
        finished: Queue[Future] = Queue()

        def submit_next() -> bool:
            task = next(waiting, None)
            if task is not None:
                future = self.client.submit(self.work, task, pure=False)
                self.running[future] = task
                future.add_done_callback(finished.put)
            return task is not None

        more, size, looked = True, 0, -LOOK_SECONDS
        while self.running or more:
            if time.monotonic() - looked >= LOOK_SECONDS:
                size, looked = window(), time.monotonic()
            while more and len(self.running) < size:
                more = submit_next()
            try:
                future = finished.get(timeout=LOOK_SECONDS)
            except Empty:
                continue
            lost = future.status == "error" and isinstance(future.exception(), KilledWorker)
            yield self.running.pop(future), None if lost else future.result()
