"""The live display of a run on a terminal."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from samu_batch.lines import failures, number, outcome, state
from samu_batch.progress import duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import ConsoleOptions, RenderableType

    from samu_batch.progress import RunProgress, Snapshot
    from samu_batch.task import MapReport

REFRESHES_PER_SECOND = 4


class Terminal:
    """A bar and what each worker does, below the lines of finished maps; redrawn as it changes."""

    def __init__(self, progress: RunProgress) -> None:
        self._progress = progress
        self._console = Console(stderr=True)
        # stdout is left as it is: others may read it from a file.
        self._live = Live(
            Frame(progress), console=self._console, refresh_per_second=REFRESHES_PER_SECOND, redirect_stdout=False
        )

    def __enter__(self) -> Terminal:
        plain = sys.stderr
        self._live.start()
        _move_logs(plain, sys.stderr)
        return self

    def __exit__(self, *_: object) -> None:
        above = sys.stderr
        self._live.stop()
        _move_logs(above, sys.stderr)

    def show(self, report: MapReport) -> None:
        """Say above the bar that a map finished."""
        self._console.print(outcome(report, self._progress.snapshot()), highlight=False, markup=False, soft_wrap=True)


class Frame:
    """What a run looks like now, in at most half of the terminal's lines."""

    def __init__(self, progress: RunProgress) -> None:
        self._progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        now = self._progress.snapshot()
        yield _bar(now)
        lines = [*failures(now), *_workers(now, most=max(1, console.height // 2 - 2))]
        for line in lines:
            text = Text(line, style="red" if line in failures(now) else "dim")
            text.truncate(options.max_width, overflow="ellipsis")
            yield text


def _bar(now: Snapshot) -> Table:
    table = Table.grid(expand=True, padding=(0, 2, 0, 0))
    for share in (None, 1, None, None, None):
        table.add_column(no_wrap=True, ratio=share)
    speed = "" if now.cubes_per_second is None else f"{number(now.cubes_per_second)} cubes/s"
    left = f"{duration(now.seconds_left)} left" if now.seconds_left else f"{duration(now.elapsed)} so far"
    bar = ProgressBar(total=1.0, completed=now.share)
    table.add_row(f"{now.finished}/{now.maps} maps", bar, f"{100 * now.share:.0f} %", speed, left)
    return table


def _workers(now: Snapshot, *, most: int) -> list[str]:
    """Return a line for each worker that has maps, and one for the others."""
    busy = {name: events for name, events in now.workers.items() if events}
    width = max(map(len, busy), default=0)
    lines = [f"{name:<{width}}  {' · '.join(map(state, events))}".strip() for name, events in busy.items()]
    if len(lines) > most:
        lines[most - 1 :] = [f"… and {len(lines) - most + 1} more workers"]
    idle = len(now.workers) - len(busy)
    nothing = "1 worker has nothing to do" if idle == 1 else f"{idle} workers have nothing to do"
    return [*lines, nothing] if busy and idle else lines


def _move_logs(before: TextIO, after: TextIO) -> None:
    """Lead what is logged to stderr above the bar, and back."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is before:
            handler.setStream(after)
