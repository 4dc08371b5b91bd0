"""One huge map over all workers of a cluster that share the scratch in which its volumes lie."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from distributed import get_client, secede, wait
from distributed.scheduler import KilledWorker

from samu_batch.batch import process_part
from samu_batch.errors import NotFoundError
from samu_batch.executors.worker import at_work, waiting_for_others

if TYPE_CHECKING:
    from samu_batch.cubes import CubeWork
    from samu_batch.events import Listener

FIRST = 1
"""Dask's priority of parts, above that of whole maps: what a huge map holds of the scratch is to be free soon."""


def over_workers(work: CubeWork, progress: Listener, *, topic: str) -> tuple[int, int]:
    """Do a map's cubes from the worker that ingested it: one part on each worker that sees its volumes.

    A part whose worker is lost is done here, so that a map that kills its workers is soon alone to blame.

    Returns
    -------
    cubes, skipped
        As :meth:`CubeWork.do`.
    """
    secede()  # a thread that waits takes no other map's place
    client = get_client()
    seen = client.run(os.path.exists, work.source.path, on_error="return")
    near = [address for address, sees in seen.items() if sees is True]
    parts = [(k, len(near)) for k in range(len(near))]
    futures = [
        client.submit(
            part_on_worker, work, part, topic, workers=[address], allow_other_workers=True, pure=False, priority=FIRST
        )
        for part, address in zip(parts, near, strict=True)
    ]
    with waiting_for_others():
        wait(futures)
    counts = []
    for part, future in zip(parts, futures, strict=True):
        try:
            counts.append(future.result())
        except (KilledWorker, NotFoundError):  # or it came to another machine when its own worker was gone
            counts.append(process_part(work, part, progress))
    return sum(cubes for cubes, _ in counts), sum(skipped for _, skipped in counts)


def part_on_worker(work: CubeWork, part: tuple[int, int], topic: str) -> tuple[int, int]:
    """Do one part, in a worker, and tell the driver about it."""
    with at_work(topic, work.map_id) as told:
        return process_part(work, part, told)
