"""Maps over worker processes of this machine, or of a Dask cluster elsewhere."""

from __future__ import annotations

import logging
import os
import signal
import uuid
from contextlib import contextmanager
from functools import partial
from multiprocessing import resource_tracker
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import dask
from distributed import Client, Nanny, Scheduler, SpecCluster, WorkerPlugin

from samu_batch.cubes import Spread
from samu_batch.events import MapEvent, nobody
from samu_batch.executors.in_flight import IN_FLIGHT, InFlight
from samu_batch.executors.spread import over_workers
from samu_batch.executors.worker import STILL, STILL_SECONDS, Watchdog, at_work
from samu_batch.scratch import discard_scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from distributed import Future, Worker

    from samu_batch.events import Listener
    from samu_batch.task import MapReport, MapTask

    Crew = tuple[Client, Callable[[], int]]

START_SECONDS = 120

SETTINGS = {
    # A lost worker must be reported at once; what is in flight decides what runs again.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.worker.daemon": False,
    # What Dask watches of itself would cost the driver more than small maps do.
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "10s",
}


class DaskExecutor:
    """Runs tasks on one worker process per device, or on the cluster at ``scheduler``.

    Parameters
    ----------
    devices
        One name per worker: a GPU number, or ``cpu``.
    threads
        CPU threads of each worker.
    scheduler
        Address of a running cluster; its workers must be able to import samu_batch.
    elsewhere
        In the place of all this: gives a client, and a function that counts the workers that take tasks.
    spread_above
        Cubes above which the workers that share a scratch do a map together; None for those of 500^3 voxels.
    still_seconds
        A worker in which nothing moves for so long has hung, and is ended.
    """

    def __init__(
        self,
        devices: Sequence[str] = (),
        *,
        threads: int = 1,
        scheduler: str | None = None,
        elsewhere: Callable[[], AbstractContextManager[Crew]] | None = None,
        spread_above: int | None = None,
        still_seconds: float = STILL_SECONDS,
    ) -> None:
        self._devices = devices
        self._threads = threads
        self._scheduler = scheduler
        self._elsewhere = elsewhere
        self._still_seconds = still_seconds
        self._hung: list[object] = []
        self._topic = f"samu-batch-{uuid.uuid4().hex}"  # a cluster that is joined may serve several runs
        several = len(devices) > 1 or scheduler is not None
        self.spread: Spread | None = (
            Spread(partial(over_workers, topic=self._topic), above=spread_above) if several else None
        )

    def map(
        self,
        process: Callable[[MapTask, Listener], MapReport],
        tasks: Iterable[MapTask],
        *,
        alone: bool = False,
        progress: Listener = nobody,
    ) -> Iterator[MapReport]:
        """Yield the reports of ``tasks`` as they finish; ``alone``: each with nothing beside it.

        ``progress`` is told from a thread of Dask's.

        Raises
        ------
        ConnectionError
            No scheduler answers, or no worker starts.
        """
        running: dict[Future, MapTask] = {}
        try:
            with dask.config.set(SETTINGS), self._crew() as (client, workers):
                client.register_plugin(LogHere(logging.getLogger("samu_batch").level))
                client.register_plugin(Watchdog(self._topic, seconds=self._still_seconds))
                work = partial(_on_worker, process, self._topic)
                client.subscribe_topic(self._topic, _hearing(progress))
                client.subscribe_topic(self._topic + STILL, self._hung.append)
                maps = InFlight(client, work, workers, progress, self._hung, running)
                yield from maps.in_turn(tasks) if alone else maps.side_by_side(tasks)
        finally:
            if self._scheduler is None and self._elsewhere is None:
                for task in running.values():  # the workers are gone, also where they were stopped at work
                    discard_scratch(task)

    @contextmanager
    def _crew(self) -> Iterator[Crew]:
        for name in ("distributed", "asyncio"):  # the latter tells of connections that close while Dask is stopped
            logging.getLogger(name).setLevel(logging.CRITICAL)
        if self._elsewhere is not None:
            with self._elsewhere() as crew:
                yield crew
            return
        if self._scheduler is not None:
            with _joined(self._scheduler) as client:
                yield client, partial(workers_running, client)
            return
        with (
            TemporaryDirectory(prefix="samu-batch-dask-") as folder,
            dask.config.set({"temporary-directory": folder}),
            self._local() as client,
        ):
            yield client, partial(workers_running, client)

    @contextmanager
    def _local(self) -> Iterator[Client]:
        """Start the workers."""
        workers = {f"{device}-{n}": self._worker(device) for n, device in enumerate(self._devices)}
        scheduler = {
            "cls": Scheduler,
            "options": {"dashboard": False, "dashboard_address": "127.0.0.1:0", "port": 0, "host": "127.0.0.1"},
        }
        with interrupts_withheld():
            cluster = SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.CRITICAL)
        with cluster, Client(cluster) as client:
            try:
                client.wait_for_workers(len(workers), timeout=START_SECONDS)
            except TimeoutError as error:
                raise ConnectionError(f"no {len(workers)} workers within {START_SECONDS} s") from error
            yield client

    def _worker(self, device: str) -> dict[str, object]:
        environment = {
            "OMP_NUM_THREADS": str(self._threads),
            "MALLOC_TRIM_THRESHOLD_": "65536",
        }
        if device != "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = device
        options = {
            "nthreads": IN_FLIGHT,
            "env": os.environ.copy() | environment,
            "memory_limit": 0,
            "host": "127.0.0.1",
            "silence_logs": logging.CRITICAL,
        }
        return {"cls": Nanny, "options": options | {"dashboard": False}}


@contextmanager
def interrupts_withheld() -> Iterator[None]:
    """Keep Ctrl-C from the threads made here, and so from the processes that they start: this process stops them."""
    resource_tracker.ensure_running()  # starting it later would let them through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _joined(scheduler: str) -> Client:
    """Join a cluster that runs already."""
    try:
        client = Client(scheduler, timeout=30)
    except (OSError, TimeoutError, ValueError) as error:
        raise ConnectionError(f"no Dask scheduler answers at {scheduler}: {error}") from error
    if not client.scheduler_info(n_workers=-1)["workers"]:
        client.close()
        raise ConnectionError(f"the Dask scheduler at {scheduler} has no workers")
    return client


def workers_running(client: Client) -> int:
    """Return how many workers take tasks: not those that are about to end."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return sum(worker["status"] == "running" for worker in workers)


class LogHere(WorkerPlugin):  # type: ignore[misc]
    """Lets workers, those that begin later among them, say on their stderr what a single process would."""

    name = "samu-log-here"

    def __init__(self, level: int) -> None:
        self._level = level

    def setup(self, worker: Worker) -> None:
        """Take this process's loggers in hand."""
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
        logging.getLogger("samu_batch").setLevel(self._level)


def _hearing(progress: Listener) -> Callable[[tuple[float, Iterable[Iterable[object]]]], None]:
    """Return what passes on to ``progress`` what workers tell."""

    def hear(event: tuple[float, Iterable[Iterable[object]]]) -> None:
        for values in event[1]:
            progress(MapEvent(*values))  # type: ignore[arg-type]  # as the worker packed them

    return hear


def _on_worker(process: Callable[[MapTask, Listener], MapReport], topic: str, task: MapTask) -> MapReport:
    """Run one task, in a worker, and tell the driver about it."""
    with at_work(topic, task.entry.id) as told:
        return process(task, told)
