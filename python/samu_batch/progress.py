"""Progress of a run on stderr: a bar on a terminal, plain lines and a heartbeat elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from samu_batch.batch import Decision
    from samu_batch.events import MapEvent
    from samu_batch.task import MapReport

HEARTBEAT_SECONDS = 60.0


class Progress:
    """Counts finished maps, weighted by their predicted cost, and tells the time to finish.

    Use as a context manager. ``quiet`` keeps failures only.
    """

    def __init__(self, decisions: Sequence[Decision], *, quiet: bool = False) -> None:
        self._weights = _weights(decisions)
        self._total = sum(self._weights.values())
        self._count = len(decisions)
        self._finished = self._failed = 0
        self._weight = 0.0
        self._events: dict[str, MapEvent] = {}
        self._quiet = quiet
        self._start = time.monotonic()
        self._stop = threading.Event()
        self._bar = _bar(self._total, self._count) if sys.stderr.isatty() and not quiet else None

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        elif not self._quiet:
            threading.Thread(target=self._beat, name="samu-heartbeat", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._bar is not None:
            self._bar.stop()

    def tell(self, event: MapEvent) -> None:
        """Note where a map is; from any thread."""
        if event.id in self._weights:
            self._events[event.id] = event
            self._advance()

    def watch(self, reports: Iterator[MapReport]) -> Iterator[MapReport]:
        """Pass reports on and show each."""
        for report in reports:
            self._finished += 1
            self._failed += not report.done
            self._weight += self._weights.pop(report.id, 0.0)
            self._events.pop(report.id, None)
            self._show(report)
            yield report

    def _show(self, report: MapReport) -> None:
        self._advance()
        if self._quiet and report.done:
            return
        seconds = sum(report.seconds.values())
        cubes = f", {report.cubes - (report.cubes_skipped or 0)} of {report.cubes} cubes" if report.cubes else ""
        outcome = f"done in {seconds:.1f} s{cubes}" if report.done else f"{report.kind}: {report.message}"
        notes = [f"  note: {sentence}" for sentence in (*report.warnings, *report.guesses)]
        lines = [f"[{self._finished}/{self._count}] {report.id} {outcome}{self._remaining()}", *notes]
        if self._bar is not None:
            self._bar.console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
        else:
            print("\n".join(lines), file=sys.stderr, flush=True)

    def _advance(self) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done(), maps=f"{self._finished}/{self._count}")

    def _done(self) -> float:
        """Return the weight of what is done, the finished part of each map in work included."""
        parts = [
            self._weights.get(event.id, 0.0) * event.done / event.total
            for event in tuple(self._events.values())
            if event.stage == "enhance" and event.total
        ]
        return self._weight + sum(parts)

    def _remaining(self) -> str:
        done = self._done()
        if not done or done >= self._total or self._bar is not None:
            return ""
        return f"; about {duration((self._total - done) / done * (time.monotonic() - self._start))} left"

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            elapsed = duration(time.monotonic() - self._start)
            in_engine = [event for event in tuple(self._events.values()) if event.stage == "enhance" and event.total]
            present = "".join(f", {event.done} of {event.total} cubes of {event.id}" for event in in_engine)
            state = f"{self._finished} of {self._count} maps finished{present}, {self._failed} failed, {elapsed} so far"
            print(f"[{state}{self._remaining()}]", file=sys.stderr, flush=True)


def _weights(decisions: Sequence[Decision]) -> dict[str, float]:
    """Return the predicted cost of each map; one that is not fetched yet counts as the mean of the others."""
    known = [decision.cubes for decision in decisions if decision.cubes]
    mean = sum(known) / len(known) if known else 1.0
    return {d.task.entry.id: float(mean if d.cubes is None else d.cubes) for d in decisions}


def duration(seconds: float) -> str:
    """Return seconds as people say them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _bar(total: float, count: int) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.fields[maps]} maps"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    bar.add_task("maps", total=total, maps=f"0/{count}")
    return bar
