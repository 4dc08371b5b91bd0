"""What a map will cost, from its header or its LIST columns, before anything runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from samu_batch.errors import SamuError
from samu_batch.gz import is_gzip
from samu_batch.locate import local_path
from samu_batch.map_columns import Extent, extent_of
from samu_batch.mrc import read_header
from samu_batch.volume import model_grid, refuse_too_large, stored_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from samu_batch.entries import Entry
    from samu_batch.map_columns import Shape
    from samu_batch.model import ModelSpec
    from samu_batch.task import MapOptions

HOST_BASE = 150_000_000
"""Resident bytes of a worker before its first map: the interpreter, numpy and the command itself."""


@dataclass(frozen=True)
class MapCost:
    """Predicted cost of one map: voxels at the model's spacing, cubes, bytes of memory, scratch, output and download.

    ``cubes`` is an upper bound: empty cubes are not sent to the engine.
    """

    shape: tuple[int, int, int]
    voxels: int
    cubes: int
    memory: int
    scratch: int
    output: int
    download: int = 0


def entry_cost(entry: Entry, *, spec: ModelSpec, options: MapOptions) -> MapCost | None:
    """Predict the cost of an entry from its map if that is on this machine, else from the columns of its LIST.

    None where neither tells. Raises as :func:`map_cost`.
    """
    extent = _extent(entry, options)
    return None if extent is None else _cost(extent, spec=spec, options=options)


def map_cost(path: Path, *, spec: ModelSpec, options: MapOptions) -> MapCost:
    """Predict the cost of a local map from its header.

    Raises
    ------
    SamuError
        The header cannot be read, or the map is larger than ``options.max_voxels``.
    """
    return _cost(_extent_of_map(path), spec=spec, options=options)


def _cost(extent: Extent, *, spec: ModelSpec, options: MapOptions) -> MapCost:
    shape = _model_shape(extent, spacing=spec.spacing, options=options)
    grid = spec.grid(shape)
    stored = stored_bytes(grid)
    in_memory = stored <= options.memory * 3 // 4
    written = math.prod(shape if options.grid == "model" else extent.shape)
    return MapCost(
        shape=shape,
        voxels=math.prod(shape),
        cubes=len(grid),
        memory=HOST_BASE + (stored if in_memory else 0) + min(stored, options.memory // 4),
        scratch=extent.unpacked + (0 if in_memory else stored),
        output=1024 + 4 * written,
        download=extent.download,
    )


def predicted_cubes(entry: Entry, *, spec: ModelSpec, options: MapOptions) -> int | None:
    """Return how many cubes a map has: 0 if it will be refused, None where nothing tells them yet."""
    try:
        cost = entry_cost(entry, spec=spec, options=options)
        return None if cost is None else cost.cubes
    except SamuError:
        return 0


def _extent(entry: Entry, options: MapOptions) -> Extent | None:
    path = local_path(entry, options)
    return extent_of(entry.columns) if path is None else _extent_of_map(path)


def _extent_of_map(path: Path) -> Extent:
    header = read_header(path)
    return Extent(shape=header.shape, spacing=header.spacing, unpacked=header.end if is_gzip(path) else 0)


def _model_shape(extent: Extent, *, spacing: float, options: MapOptions) -> Shape:
    shape, _ = model_grid(extent.shape, extent.spacing, target=spacing)
    refuse_too_large(shape, spacing=spacing, limit=options.max_voxels)
    return shape
