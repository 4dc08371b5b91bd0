"""What a map will cost, from its header or its LIST columns, before anything runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from samu_batch.errors import SamuError
from samu_batch.gz import is_gzip
from samu_batch.locate import local_path
from samu_batch.mrc import read_header
from samu_batch.volume import CubeGrid, model_grid, refuse_too_large

if TYPE_CHECKING:
    from pathlib import Path

    from samu_batch.entries import Entry
    from samu_batch.model import ModelSpec
    from samu_batch.task import MapOptions

HOST_BASE = 150_000_000
"""Resident bytes of a worker before its first map: the interpreter, numpy and the command itself."""


@dataclass(frozen=True)
class MapCost:
    """Predicted cost of one map: voxels at the model's spacing, cubes, bytes of memory, scratch and output.

    ``cubes`` is an upper bound: empty cubes are not sent to the engine.
    """

    shape: tuple[int, int, int]
    voxels: int
    cubes: int
    memory: int
    scratch: int
    output: int


def map_cost(path: Path, *, spec: ModelSpec, options: MapOptions) -> MapCost:
    """Predict the cost of a local map from its header.

    Raises
    ------
    SamuError
        The header cannot be read, or the map is larger than ``options.max_voxels``.
    """
    header = read_header(path)
    shape, _ = model_grid(header.shape, header.spacing, target=spec.spacing)
    refuse_too_large(shape, spacing=spec.spacing, limit=options.max_voxels)
    stored = 2 * 4 * math.prod(math.ceil(n / spec.core) * spec.core for n in shape)
    in_memory = stored <= options.memory * 3 // 4
    written = math.prod(shape if options.grid == "model" else header.shape)
    unpacked = header.end if is_gzip(path) else 0
    return MapCost(
        shape=shape,
        voxels=math.prod(shape),
        cubes=len(CubeGrid(shape, cube=spec.cube, core=spec.core)),
        memory=HOST_BASE + (stored if in_memory else 0) + min(stored, options.memory // 4),
        scratch=unpacked + (0 if in_memory else stored),
        output=1024 + 4 * written,
    )


def predicted_voxels(entry: Entry, *, spacing: float, options: MapOptions) -> int | None:
    """Return a map's voxels at ``spacing`` angstrom: 0 if it will be refused, None where it is not fetched yet."""
    path = local_path(entry, options)
    if path is None:
        return None
    try:
        header = read_header(path)
        shape, _ = model_grid(header.shape, header.spacing, target=spacing)
        refuse_too_large(shape, spacing=spacing, limit=options.max_voxels)
    except SamuError:
        return 0
    return math.prod(shape)
