"""How many cubes at once: found from the memory that is free, and halved where it turns out to be too short."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger("samu_batch")

Stream = Callable[["Iterable[NDArray[np.float32]]"], "Iterator[NDArray[np.float32]]"]
"""Yields what a network makes of each batch, in order; raises MemoryError where memory is too short."""

MOST = 32
"""Cubes of 64^3 voxels; more at once make no GPU faster."""
SHARE = 0.8
"""Of the free memory; the rest is for what fragments, and for a worker that started at the same time."""


def of_edge(edge: int, cubes: int) -> int:
    """Return how many cubes of an edge hold at most as many voxels as so many of 64^3; one at least."""
    return max(1, min(cubes, cubes * 64**3 // edge**3))


def find_batch(peak_of: Callable[[int], int], free: int, *, most: int) -> int:
    """Return how many cubes fit.

    Parameters
    ----------
    peak_of
        Runs so many cubes at once, and returns the bytes that this took at most.
    free
        Bytes that were free before anything ran.
    most
        The largest answer.

    Raises
    ------
    MemoryError
        Not even one cube fits.
    """
    one = peak_of(1)
    try:
        two = peak_of(2)
    except MemoryError:
        return 1
    each = max(1, two - one)
    return max(1, min(most, int(SHARE * free - one) // each + 1))


class Halving:
    """A stream of batches of any size, in parts of at most ``batch`` cubes; half as many whenever memory is too short.

    Parameters
    ----------
    prepare
        Gets ready for so many cubes at once and returns the stream of such parts; either may raise MemoryError. What it
        had got ready before is of no more use when it is called again.
    batch
        Cubes to begin with.

    Attributes
    ----------
    batch
        The most cubes at once, now.
    largest
        The most cubes at once of those that came back since the last halving.

    Raises
    ------
    MemoryError
        Not even one cube fits.
    """

    def __init__(self, prepare: Callable[[int], Stream], *, batch: int) -> None:
        self.batch = batch
        self.largest = 0
        self._prepare = prepare
        self._stream: Stream | None = self._prepared()

    def stream(self, batches: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Yield what comes of each batch, whole and in order, however often memory is too short."""
        waiting = iter(batches)
        begun: deque[NDArray[np.float32]] = deque()  # taken, and not given back yet
        while True:
            # Not while an error is handled: it holds on to the memory of what ran.
            self._stream = self._stream or self._prepared()
            try:
                yield from self._attempt(self._stream, begun, waiting)
            except MemoryError as error:
                self._stream = None
                self._halve(error)
            else:
                return

    def _attempt(
        self, stream: Stream, begun: deque[NDArray[np.float32]], waiting: Iterator[NDArray[np.float32]]
    ) -> Iterator[NDArray[np.float32]]:
        """Send what was begun once more, then the rest."""

        def parts() -> Iterator[NDArray[np.float32]]:
            for cubes in chain(tuple(begun), self._taken(waiting, begun)):
                yield from (cubes[start : start + self.batch] for start in range(0, len(cubes), self.batch))

        done: list[NDArray[np.float32]] = []
        for part in stream(parts()):
            self.largest = max(self.largest, len(part))
            done.append(part)
            if sum(map(len, done)) == len(begun[0]):
                begun.popleft()
                yield done[0] if len(done) == 1 else np.concatenate(done)
                done = []

    @staticmethod
    def _taken(
        waiting: Iterator[NDArray[np.float32]], begun: deque[NDArray[np.float32]]
    ) -> Iterator[NDArray[np.float32]]:
        for cubes in waiting:
            begun.append(cubes)
            yield cubes

    def _prepared(self) -> Stream:
        while True:
            try:
                return self._prepare(self.batch)
            except MemoryError as error:
                self._halve(error)

    def _halve(self, error: MemoryError) -> None:
        if self.batch == 1:
            raise error
        log.info(
            "%d cubes at once are too many for the memory: %d from now on (%s)", self.batch, self.batch // 2, error
        )
        self.batch //= 2
        self.largest = 0
