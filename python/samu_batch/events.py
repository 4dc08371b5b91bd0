"""What is told of a map while it is in work: small events, from whoever works on it to whoever shows or watches it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

SECONDS_BETWEEN = 0.5


@dataclass(frozen=True)
class MapEvent:
    """Where one map is.

    Attributes
    ----------
    id
        Of its entry.
    stage
        ``fetch``, ``unpack``, ``survey``, ``ingest``, ``enhance``, ``export``; ``waiting`` when it was taken from a
        worker that was lost and will begin again.
    done, total
        Bytes while it is fetched (0 for an unknown total), cubes while it is ingested and enhanced, else 0.
    skipped
        Of the cubes done, those that were empty and not sent to the engine.
    worker
        Whoever works on it; nothing where that is this process. Of a map that several work on, each tells the cubes
        that it did itself, and the total of all.
    """

    id: str
    stage: str
    done: int = 0
    total: int = 0
    skipped: int = 0
    worker: str = ""


Listener = Callable[[MapEvent], None]
"""Told the events of maps; called from the thread that works on one."""


def nobody(event: MapEvent) -> None:
    """Tell nobody."""


class Throttled:
    """Passes on the latest event of each map, all of them together, at most once every ``seconds``.

    What was told last is never kept back for longer than that. It may be told from any thread.
    """

    def __init__(self, send: Callable[[list[MapEvent]], None], *, seconds: float = SECONDS_BETWEEN) -> None:
        self._send = send
        self._seconds = seconds
        self._lock = threading.Lock()
        self._latest: dict[str, MapEvent] = {}
        self._sent = -seconds
        self._timer: threading.Timer | None = None

    def __call__(self, event: MapEvent) -> None:
        """Note an event; it goes out with the next batch."""
        with self._lock:
            self._latest[event.id] = event
            if self._timer is None:
                self._timer = threading.Timer(max(0.0, self._sent + self._seconds - time.monotonic()), self._flush)
                self._timer.daemon = True
                self._timer.start()

    def forget(self, map_id: str) -> None:
        """Drop what was not yet told of a map: after this, nothing more of it goes out."""
        with self._lock:
            self._latest.pop(map_id, None)

    def _flush(self) -> None:
        with self._lock:
            events, self._latest, self._timer = list(self._latest.values()), {}, None
            self._sent = time.monotonic()
            if events:
                self._send(events)
