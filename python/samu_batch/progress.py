"""How far a run is: what finished, what each worker does, how fast it goes and how long it will take.

Cubes take the time, so they are what is counted: of the maps that finished, and of those in work what workers told.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from samu_batch.pace import Pace, Sizes, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from samu_batch.events import MapEvent
    from samu_batch.task import MapReport


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """How far a run is at one moment.

    Attributes
    ----------
    maps, finished, failed
        Maps to do, those with a report, and how many of these failed by kind.
    cubes, cubes_total
        Cubes dealt with, the empty ones included, and of all maps (those of unknown size as the mean of the others).
    cubes_per_second
        Of those that the engines had, all workers together; None before there are any.
    elapsed, seconds_left
        Seconds since the begin, and to the end; None before the pace is known.
    workers
        By worker, the maps that it has in work: first what is furthest.
    """

    maps: int
    finished: int
    failed: dict[str, int]
    cubes: int
    cubes_total: int
    cubes_per_second: float | None
    elapsed: float
    seconds_left: float | None
    workers: dict[str, list[MapEvent]]

    @property
    def share(self) -> float:
        """Done part of the work, 0 to 1."""
        return self.cubes / self.cubes_total if self.cubes_total else self.finished / max(1, self.maps)


class RunProgress:
    """Counts the maps and cubes of a run, and tells the time to finish. Told and asked from any thread.

    Parameters
    ----------
    cubes
        Predicted cubes of each map by its id; None where they are not known yet.
    now
        The clock, in seconds.
    """

    def __init__(self, cubes: Mapping[str, int | None], *, now: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._now = now
        self._begin = now()
        self._maps = len(cubes)
        self._finished = 0
        self._failed: Counter[str] = Counter()
        self._sizes = Sizes(cubes)
        self._states: dict[str, dict[str, MapEvent]] = {}
        self._tallies: dict[str, dict[str, Tally]] = {}
        self._finished_cubes = 0
        self._run = Tally()
        self._pace = Pace()

    def tell(self, event: MapEvent) -> None:
        """Note where a map is. What is told of one that finished is too late and counts no more."""
        with self._lock:
            if event.id not in self._sizes.left:
                return
            if event.stage == "waiting":
                self._drop(event.id)
                return
            others = self._states.get(event.id, {}) if event.stage == "enhance" else {}
            self._states[event.id] = others | {event.worker: event}  # others help with the cubes alone
            if event.stage in ("ingest", "enhance") and event.total:
                self._sizes.learn(event.id, event.total)
            if event.stage == "enhance" and event.done:
                tallies, tally = self._tallies.setdefault(event.id, {}), Tally(event.done, event.skipped)
                self._run += tally - tallies.get(event.worker, Tally())
                tallies[event.worker] = tally
                self._pace.note(event.worker, self._now(), own=tally, run=self._run)

    def finish(self, report: MapReport) -> None:
        """Note a map's report."""
        with self._lock:
            self._finished += 1
            if not report.done:
                self._failed[report.kind] += 1
            worker = next(iter(self._states.get(report.id, ())), "")
            told = self._told(report.id)
            tally = Tally(report.cubes, report.cubes_skipped or 0) if report.cubes else told
            self._drop(report.id)
            self._sizes.finish(report.id, report.cubes)
            self._finished_cubes += tally.done
            self._run += tally
            if tally.done > told.done:
                self._pace.note(worker, self._now(), own=tally, run=self._run)

    def snapshot(self) -> Snapshot:
        """Return how far the run is now."""
        with self._lock:
            return Snapshot(
                maps=self._maps,
                finished=self._finished,
                failed=dict(self._failed.most_common()),
                cubes=self._run.done,
                cubes_total=round(self._run.done + self._left),
                cubes_per_second=self._pace.sent_per_second,
                elapsed=self._now() - self._begin,
                seconds_left=self._seconds_left(),
                workers=self._by_worker(),
            )

    def _drop(self, map_id: str) -> None:
        self._run -= self._told(map_id)
        self._states.pop(map_id, None)
        self._tallies.pop(map_id, None)

    def _told(self, map_id: str) -> Tally:
        """Return what was told of a map in work; several workers may share it."""
        return sum(self._tallies.get(map_id, {}).values(), start=Tally())

    @property
    def _left(self) -> float:
        """Cubes that are still to be dealt with."""
        return self._finished_cubes + self._sizes.total - self._run.done

    def _seconds_left(self) -> float | None:
        """Return the time for what is left if all workers share it, or if longer the longest of what they hold already.

        Maps begin longest first: those that do not lie with a worker yet are short, and fill up what is uneven.
        """
        pace = self._pace.per_worker
        if pace is None:
            return None
        queues: dict[str, float] = defaultdict(float)
        for map_id, states in self._states.items():
            part = (self._sizes.of(map_id) - self._told(map_id).done) / len(states)
            for worker in states:
                queues[worker] += part
        return max(0.0, self._left / self._pace.workers, *queues.values()) / pace

    def _by_worker(self) -> dict[str, list[MapEvent]]:
        workers: dict[str, list[MapEvent]] = {name: [] for name in self._pace.starts}
        for states in self._states.values():
            for worker, event in states.items():
                workers.setdefault(worker, []).append(event)
        return {name: sorted(workers[name], key=_furthest_first) for name in sorted(workers, key=_by_number)}


STAGES = ("fetch", "unpack", "survey", "ingest", "enhance", "export")


def _furthest_first(event: MapEvent) -> tuple[bool, int]:
    """Order maps of a worker: the one in the engine, then those before and after it."""
    in_engine = event.stage == "enhance" and event.done > 0
    return not in_engine, -STAGES.index(event.stage) if event.stage in STAGES else 0


def _by_number(name: str) -> tuple[str, int]:
    """Order ``gpu-10`` after ``gpu-9``."""
    head = name.rstrip("0123456789")
    return head, int(name[len(head) :] or 0)


def duration(seconds: float) -> str:
    """Return seconds as people say them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
