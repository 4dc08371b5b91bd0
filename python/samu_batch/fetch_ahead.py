"""Downloads in threads: all of a list, or ahead of the engines, so that none waits for a map.

Maps come in the order in which they are there: a download that stalls holds no other map up. What cannot be had comes
as well, with the reason, and gets its receipt as every map does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from samu_batch.ahead import each_ahead
from samu_batch.errors import SamuError
from samu_batch.fetch import fetch_map
from samu_batch.locate import fetch_in_passing, forget_nothing, local_path

if TYPE_CHECKING:
    import threading
    from collections.abc import Generator, Iterable, Sequence
    from pathlib import Path

    from samu_batch.batch import Decision
    from samu_batch.entries import Entry

AHEAD = 16
"""Maps that are fetched or lie ready: more than a server's connections, for some wait to try again."""

ROOM = 8 << 30
"""Bytes that may lie ready before the next download begins."""


class Fetched(NamedTuple):
    """An entry, and its map on this machine or the reason why it is not there."""

    entry: Entry
    found: Path | SamuError


def fetch_all(
    entries: Iterable[Entry], cache: Path, *, mirrors: Sequence[str], offline: bool = False
) -> Generator[Fetched]:
    """Fetch maps into ``cache``, several at once, and tell of each as it arrives."""

    def bring(entry: Entry, stop: threading.Event) -> Fetched:
        try:
            return Fetched(entry, fetch_map(entry, cache, mirrors=mirrors, offline=offline, stop=stop))
        except SamuError as error:
            return Fetched(entry, error)

    return each_ahead(entries, bring, count=AHEAD)


def fetch_ahead(decisions: Iterable[Decision]) -> Generator[Decision]:
    """Yield every decision when its map is on this machine, or could not be fetched (``task.not_fetched`` says why).

    Up to ``AHEAD`` are worked on in threads; leaving early stops them, and what they have brought is resumed later.
    """
    ready: dict[str, int] = {}
    begun: dict[str, Decision] = {}

    def bring(decision: Decision, stop: threading.Event) -> Decision:
        task = decision.task
        if task.entry.kind == "file" or task.options.offline or local_path(task.entry, task.options) is not None:
            return decision
        begun[task.entry.id] = decision
        try:
            ready[task.entry.id] = fetch_in_passing(task, stop=stop).stat().st_size
        except SamuError as error:
            return replace(decision, task=replace(task, not_fetched=error))
        return decision

    try:
        for decision in each_ahead(decisions, bring, count=AHEAD, full=lambda: sum(list(ready.values())) > ROOM):
            ready.pop(decision.task.entry.id, None)
            begun.pop(decision.task.entry.id, None)
            yield decision
    finally:
        for decision in begun.values():
            forget_nothing(decision.task)
