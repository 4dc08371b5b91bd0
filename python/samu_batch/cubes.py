"""The cubes of one map: out of one volume, through an engine, into another; all of them, or a part."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from samu_batch import _rust
from samu_batch.ahead import ahead
from samu_batch.events import MapEvent, nobody

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from samu_batch.engine import Engine
    from samu_batch.events import Listener
    from samu_batch.model import ModelSpec
    from samu_batch.task import MapOptions
    from samu_batch.volume import Volume

SPREAD_EDGE = 500
"""A map of more voxels than a cube of this edge, at the model's spacing, is spread over all workers that can share its
volumes. What is left to one worker at the end of a run is never more than that."""


def spread_above(spec: ModelSpec) -> int:
    """Return how many cubes a map with an edge of ``SPREAD_EDGE`` has: one of more is spread."""
    return len(spec.grid((SPREAD_EDGE,) * 3))


def enhance_volume(
    source: Volume,
    target: Volume,
    engine: Engine,
    *,
    scale: float | None,
    batch: int,
    threads: int,
    part: tuple[int, int] = (0, 1),
    progress: Callable[[int, int, int], None] | None = None,
) -> tuple[int, int]:
    """Send every cube of ``source`` that holds density through ``engine`` into ``target``.

    Reading, the engine and writing overlap through queues of two batches.

    Parameters
    ----------
    source, target
        Volumes of one shape, chunked by the engine's core; ``target`` as the engine's grid leads its chunks.
    scale
        The density that becomes 1; None for no normalisation.
    batch
        Cubes that the engine takes at once.
    part
        The k-th of n parts ``(k, n)`` of the cubes; the cores of the others are left alone.
    progress
        Told the cubes dealt with, the grid's total, and those skipped, after every batch.

    Returns
    -------
    cubes, skipped
        Cubes of the part, and how many were all zeros: those are not sent, and their cores stay zero.
    """
    grid = engine.spec.grid(source.shape)
    reader = _rust.CubeReader(source, grid, batch=batch, scale=scale, threads=threads, part=part)
    in_engine: deque[list[int]] = deque()
    written = 0

    def batches() -> Iterator[NDArray[np.float32]]:
        with ahead(reader) as cubes_read:
            for numbers, cubes in cubes_read:
                in_engine.append(numbers)
                yield cubes

    with ahead(engine.stream(batches())) as enhanced_cubes:
        for enhanced in enhanced_cubes:
            numbers = in_engine.popleft()
            _rust.write_cores(target, grid, numbers, enhanced, threads=threads)
            written += len(numbers)
            if progress is not None:
                progress(written + reader.skipped, len(grid), reader.skipped)
    return written + reader.skipped, reader.skipped


@dataclass(frozen=True)
class CubeWork:
    """What is to be done of a map between ingest and export: its cubes, out of one volume into another.

    Where the volumes are on disk it can be pickled, and other processes can do parts of it. A part writes whole chunks
    that no other part writes, so it may be done again.
    """

    map_id: str
    source: Volume
    target: Volume
    scale: float | None
    options: MapOptions

    def do(self, engine: Engine, *, part: tuple[int, int] = (0, 1), progress: Listener = nobody) -> tuple[int, int]:
        """Do the k-th of n parts ``(k, n)``; return its cubes, and how many of them were skipped."""
        return enhance_volume(
            self.source,
            self.target,
            engine,
            scale=self.scale,
            batch=self.options.batch or engine.batch,
            threads=self.options.threads,
            part=part,
            progress=lambda done, total, skipped: progress(MapEvent(self.map_id, "enhance", done, total, skipped)),
        )


@dataclass(frozen=True)
class Spread:
    """Does the cubes of maps in several processes: of those with more than ``above``, or :func:`spread_above`."""

    do: Callable[[CubeWork, Listener], tuple[int, int]]
    above: int | None = None
