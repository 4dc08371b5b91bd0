"""Taking turns at a server: few connections at once, and none while it asks to be left alone.

The turns are files under locks, so that all processes that share a folder share them.
"""

from __future__ import annotations

import os
import random
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from samu_batch.errors import FetchError
from samu_batch.files import NO_LOCKS, owned

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator
    from io import BufferedRandom
    from pathlib import Path

CONNECTIONS = 6
"""Connections to one server at once: what a browser opens."""

POLL_SECONDS = 0.1


class Turns:
    """The turns at the server of ``url``, for all who name ``folder``; who waits is sent away when ``stop`` is set.

    Raises
    ------
    FetchError
        By every method: it is time to stop.
    OSError
        ``folder`` cannot be written.
    """

    def __init__(self, url: str, folder: Path, *, stop: threading.Event) -> None:
        name = f".turn-{quote(urlsplit(url).netloc, safe='')}"
        self._slots = [folder / f"{name}-{number}" for number in range(CONNECTIONS)]
        self._quiet = folder / f"{name}-quiet"
        self._stop = stop

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until the server may be asked, and be one of the few that do."""
        file = self._take()
        try:
            yield
        finally:
            if file is not None:
                self._give_back(file)

    def leave_alone(self, seconds: float) -> None:
        """Let nobody ask the server for so long."""
        until = time.time() + seconds
        if self._quiet_until() < until:
            self._quiet.touch()
            with suppress(FileNotFoundError):  # another process has just ended a silence
                os.utime(self._quiet, (until, until))

    def wait(self, seconds: float = 0.0) -> None:
        """Wait between two tries, or just look whether it is time to stop."""
        if self._stop.wait(seconds):
            raise FetchError("stopped")

    def _take(self) -> BufferedRandom | None:
        """Return the file of a turn, which is ours until it is closed; None where the file system has no locks."""
        while True:
            if (rest := self._quiet_until() - time.time()) > 0:
                self.wait(min(1.0, rest) * random.uniform(1, 1.1))  # not all in the same instant
                continue
            self._quiet.unlink(missing_ok=True)
            for slot in random.sample(self._slots, CONNECTIONS):
                try:
                    if (file := owned(slot, wait=False)) is not None:
                        return file
                except OSError as error:
                    if error.errno not in NO_LOCKS:
                        raise
                    return None
            self.wait(POLL_SECONDS * random.uniform(0.5, 1.5))

    def _give_back(self, file: BufferedRandom) -> None:
        """Leave no file behind, be it our own or that of a process that was killed."""
        with file, suppress(OSError):
            os.unlink(file.name)  # noqa: PTH108
        for left in self._slots:
            with suppress(OSError):
                if left.exists() and (found := owned(left, wait=False)) is not None:
                    with found:
                        left.unlink()

    def _quiet_until(self) -> float:
        try:
            return self._quiet.stat().st_mtime
        except FileNotFoundError:
            return 0.0
