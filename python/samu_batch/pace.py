"""How many cubes are left, and how fast they go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Tally:
    """Cubes that were dealt with, and those of them that were empty and skipped."""

    done: int = 0
    skipped: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.done + other.done, self.skipped + other.skipped)

    def __sub__(self, other: Tally) -> Tally:
        return Tally(self.done - other.done, self.skipped - other.skipped)


class Sizes:
    """Cubes of the maps that are not finished. One of unknown size counts as the mean of those that are known."""

    def __init__(self, cubes: Mapping[str, int | None]) -> None:
        self.left = dict(cubes)
        known = [number for number in cubes.values() if number]
        self._known, self._count = sum(known), len(known)
        self._sum = self._known
        self._unknown = sum(number is None for number in cubes.values())

    @property
    def total(self) -> float:
        """Cubes of all of them."""
        return self._sum + self._unknown * self._mean

    @property
    def _mean(self) -> float:
        return self._known / self._count if self._count else 1.0

    def of(self, map_id: str) -> float:
        """Return the cubes of one."""
        cubes = self.left[map_id]
        return self._mean if cubes is None else cubes

    def learn(self, map_id: str, cubes: int) -> None:
        """Note how many cubes a map really has."""
        before = self.left[map_id]
        if before == cubes:
            return
        self.left[map_id] = cubes
        self._sum += cubes - (before or 0)
        self._known += cubes - (before or 0)
        self._count += not before
        self._unknown -= before is None

    def finish(self, map_id: str, cubes: int | None) -> None:
        """Take a map out; its cubes, if it has any, count for the mean."""
        if cubes:
            self.learn(map_id, cubes)
        before = self.left.pop(map_id, 0)
        self._sum -= before or 0
        self._unknown -= before is None


class Pace:
    """Cubes per second since each worker was first seen to have dealt with some, so that its start does not count."""

    def __init__(self) -> None:
        self.starts: dict[str, float] = {}
        self._before = self._last = Tally()
        self._time = 0.0

    @property
    def workers(self) -> int:
        """How many there are."""
        return len(self.starts)

    @property
    def per_worker(self) -> float | None:
        """Cubes per second, the empty ones included: one that is skipped takes no time, but there will be more."""
        busy = sum(self._time - start for start in self.starts.values())
        done = self._last.done - self._before.done
        return done / busy if busy > 0 and done > 0 else None

    @property
    def sent_per_second(self) -> float | None:
        """Cubes per second of all workers, without those that were skipped."""
        if self.per_worker is None:
            return None
        tally = self._last - self._before
        return self.per_worker * self.workers * (tally.done - tally.skipped) / tally.done

    def note(self, worker: str, now: float, *, own: Tally, run: Tally) -> None:
        """Note that a worker has dealt with cubes: those of its map, and those of the whole run."""
        if worker and "" in self.starts:  # so far only maps too short to be told of had finished
            self.starts[worker] = self.starts.pop("")
        if worker not in self.starts and (worker or not self.starts):
            self.starts[worker] = now
            self._before += own
        self._time, self._last = now, run
