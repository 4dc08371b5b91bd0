"""One map after another in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from samu_batch.events import nobody

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from samu_batch.cubes import Spread
    from samu_batch.events import Listener
    from samu_batch.task import MapReport, MapTask


class SerialExecutor:
    """Runs every task in turn, here."""

    spread: Spread | None = None

    def map(
        self,
        process: Callable[[MapTask, Listener], MapReport],
        tasks: Iterable[MapTask],
        *,
        alone: bool = True,
        progress: Listener = nobody,
    ) -> Iterator[MapReport]:
        """Yield the report of each task, in order; ``alone`` they all are."""
        return (process(task, progress) for task in tasks)
