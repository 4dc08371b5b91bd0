"""How long a scheduler lets this job run, and which maps may still begin.

A map that its time limit would cut off is left to the next run of the same command; one that no run of this length can
finish fails as ``time-limit``, with the time that it needs.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from samu_batch.batch import clear
from samu_batch.errors import TimeLimitError
from samu_batch.journal import failed_outside
from samu_batch.progress import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from samu_batch.batch import Decision
    from samu_batch.task import MapReport

VARIABLES = (("SLURM_JOB_START_TIME", "SLURM_JOB_END_TIME"), ("SAMU_JOB_START_TIME", "SAMU_JOB_END_TIME"))
"""Begin and end in seconds since 1970: newer Slurms set the first, the scripts of ``samu-batch array`` the second."""


def notice_seconds(limit: float | None) -> int:
    """Return how long before the end a task is told to stop: two minutes, or a tenth of a short ``limit`` (seconds)."""
    return 120 if limit is None else min(120, int(limit) // 10)


@dataclass(frozen=True)
class TimeLimit:
    """Begin and end of a job, in seconds since 1970."""

    start: float
    end: float

    @property
    def usable(self) -> float:
        """Seconds between begin and notice."""
        return self.end - self.start - notice_seconds(self.end - self.start)

    def left(self, now: float) -> float:
        """Return the seconds from ``now`` to the notice."""
        return self.start + self.usable - now

    @classmethod
    def of_job(cls, environment: Mapping[str, str]) -> TimeLimit | None:
        """Return the limit of the job that this process belongs to; None where there is none that can be known."""
        for start, end in VARIABLES:
            if (limit := cls._from(environment.get(start, ""), environment.get(end, ""))) is not None:
                return limit
        return cls._from(*_asked_of_slurm(environment)) if "SLURM_JOB_ID" in environment else None

    @classmethod
    def _from(cls, start: str, end: str) -> TimeLimit | None:
        return cls(float(start), float(end)) if start.isdecimal() and end.isdecimal() else None


def _asked_of_slurm(environment: Mapping[str, str]) -> tuple[str, str]:
    # The number of an array's last task is that of the whole array: only both numbers mean this task.
    array, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array and task else environment["SLURM_JOB_ID"]
    command = ["squeue", "--noheader", "--jobs", job, "--format", "%S %e"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env={**environment, "SLURM_TIME_FORMAT": "%s"}
        )
    except (OSError, subprocess.TimeoutExpired):
        return "", ""
    start, _, end = answer.stdout.strip().partition(" ")
    return start, end


class Allowance:
    """Lets maps begin while the time limit leaves them enough; ``held`` counts those that were not begun.

    Parameters
    ----------
    limit
        The job's.
    pace
        Seconds per cube, as the engine takes them; None where it is not known. The first maps
        that finish tell a better one.
    in_flight
        Maps that share one engine.
    workers
        Workers that a huge map is spread over.
    huge
        Cubes above which a map is; None where none is.
    """

    def __init__(
        self,
        limit: TimeLimit,
        *,
        pace: float | None,
        in_flight: int = 1,
        workers: int = 1,
        huge: int | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.held = 0
        self._limit = limit
        self._alone = pace
        self._pace = None if pace is None else pace * in_flight
        self._seconds = self._cubes = 0.0
        self._workers = workers
        self._huge = huge
        self._now = now

    def refuse(self, decisions: Iterable[Decision]) -> Iterator[MapReport]:
        """Fail the maps that need more than the whole limit, and yield their reports."""
        for decision in decisions:
            if self._too_long(decision):
                needed = self._cubes_each(decision.cubes) * (self._alone or 0.0)
                error = TimeLimitError(
                    f"needs about {duration(needed)}; the time limit leaves {duration(self._limit.usable)} in all"
                )
                clear(decision.task)
                yield failed_outside(decision.task, error)

    def admit(self, decisions: Iterable[Decision]) -> Iterator[Decision]:
        """Yield the decisions whose maps can be finished in what is left when they are asked for."""
        for decision in decisions:
            if self._too_long(decision):
                continue
            if self._cubes_each(decision.cubes) * (self._pace or 0.0) > self._limit.left(self._now()):
                self.held += 1
            else:
                yield decision

    def watch(self, reports: Iterable[MapReport]) -> Iterator[MapReport]:
        """Pass reports on and learn the pace from them."""
        for report in reports:
            if report.done and report.cubes:
                self._seconds += sum(report.seconds.values()) - report.seconds.get("fetch", 0.0)
                self._cubes += self._cubes_each(report.cubes)
                self._pace = self._seconds / self._cubes
            yield report

    def _too_long(self, decision: Decision) -> bool:
        return self._cubes_each(decision.cubes) * (self._alone or 0.0) > self._limit.usable

    def _cubes_each(self, cubes: int | None) -> float:
        """Return the cubes of a map that one worker does."""
        cubes = cubes or 0
        return cubes / self._workers if self._huge is not None and cubes > self._huge else cubes
