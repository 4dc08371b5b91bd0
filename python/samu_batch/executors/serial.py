"""One map after another in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from samu_batch.task import MapReport, MapTask


class SerialExecutor:
    """Runs every task in turn, here."""

    in_this_process = True

    def map(
        self, process: Callable[[MapTask], MapReport], tasks: Iterable[MapTask], *, alone: bool = True
    ) -> Iterator[MapReport]:
        """Yield the report of each task, in order; ``alone`` they all are."""
        return map(process, tasks)
