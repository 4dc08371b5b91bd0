"""Progress of a run on stderr: a bar on a terminal, plain lines and a heartbeat elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from samu_batch.batch import Decision
    from samu_batch.task import MapReport

HEARTBEAT_SECONDS = 60.0


class Progress:
    """Counts finished maps, weighted by their predicted cost, and tells the time to finish.

    Use as a context manager. ``quiet`` keeps failures only.
    """

    def __init__(self, decisions: Sequence[Decision], *, quiet: bool = False) -> None:
        self._weights = {d.task.entry.id: max(d.voxels, 1) for d in decisions}
        self._total = sum(self._weights.values())
        self._count = len(decisions)
        self._finished = self._failed = self._weight = 0
        self._quiet = quiet
        self._start = time.monotonic()
        self._stop = threading.Event()
        self._terminal = sys.stderr.isatty()
        self._bar = _bar(self._total) if self._terminal and not quiet else None

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

    def watch(self, reports: Iterator[MapReport]) -> Iterator[MapReport]:
        """Pass reports on and show each."""
        for report in reports:
            self._finished += 1
            self._failed += not report.done
            self._weight += self._weights.get(report.id, 1)
            self._show(report)
            yield report

    def _show(self, report: MapReport) -> None:
        if self._quiet and report.done:
            return
        seconds = sum(report.seconds.values())
        cubes = f", {report.cubes - (report.cubes_skipped or 0)} of {report.cubes} cubes" if report.cubes else ""
        outcome = f"done in {seconds:.1f} s{cubes}" if report.done else f"{report.kind}: {report.message}"
        notes = [f"  note: {sentence}" for sentence in (*report.warnings, *report.guesses)]
        lines = [f"[{self._finished}/{self._count}] {report.id} {outcome}{self._remaining()}", *notes]
        if self._bar is not None:
            self._bar.console.print("\n".join(lines), highlight=False, markup=False)
            self._bar.update(self._bar.task_ids[0], completed=self._weight, maps=f"{self._finished}/{self._count}")
        else:
            print("\n".join(lines), file=sys.stderr, flush=True)

    def _remaining(self) -> str:
        left = self._total - self._weight
        if not left or not self._weight or self._bar is not None:
            return ""
        return f"; about {_duration(left / self._weight * (time.monotonic() - self._start))} left"

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            elapsed = _duration(time.monotonic() - self._start)
            state = f"{self._finished} of {self._count} maps finished, {self._failed} failed, {elapsed} so far"
            print(f"[{state}{self._remaining()}]", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _bar(total: int):  # type: ignore[no-untyped-def]  # rich is imported only where it is shown
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
    bar.add_task("maps", total=total, maps="0")
    return bar
