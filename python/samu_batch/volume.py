"""Volumes, and the two crossings between map files and volumes: ingest and export.

A volume is float32, ZYX, at one spacing, in Zarr chunks as large as a cube's core. Voxel (0, 0, 0) of a map and of the
volume made from it have the same centre.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from samu_batch import _rust
from samu_batch._rust import Cube, CubeGrid, Region, Survey, Volume, Voxels
from samu_batch.errors import TooLargeError
from samu_batch.files import writing_aside
from samu_batch.mrc_export import export_header
from samu_batch.mrc_words import HEADER_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from samu_batch.mrc import MapHeader
    from samu_batch.task import Grid

__all__ = [
    "Cube",
    "CubeGrid",
    "Region",
    "Volume",
    "export_map",
    "ingest_map",
    "model_grid",
    "refuse_too_large",
    "stored_bytes",
    "target_volume",
    "voxels_of",
]

Shape = tuple[int, int, int]
Triple = tuple[float, float, float]

LABEL = "samu-batch: enhanced; not for refinement or deposition as primary map"
NEGLIGIBLE_SHIFT = 0.005
"""Voxels that the far end of an axis may move by before it is worth resampling."""


def model_grid(shape: Shape, spacing: Triple, *, target: float) -> tuple[Shape, Triple]:
    """Return shape and scale of the volume at ``target`` spacing that covers a map.

    Parameters
    ----------
    shape, spacing
        Of the map: ZYX voxels, and angstrom per voxel.
    target
        Spacing of the model in angstrom.

    Returns
    -------
    shape, scale
        ``n = ceil((N - 1) s) + 1`` voxels along each axis, with the scale ``s = spacing / target``; the map's own shape
        and 1.0 where resampling would move no voxel by 0.005 of a voxel.
    """
    scale = tuple(s / target for s in spacing)
    if all(n * abs(s - 1) < NEGLIGIBLE_SHIFT for n, s in zip(shape, scale, strict=True)):
        return shape, (1.0, 1.0, 1.0)
    # A spacing of float32 precision must not push an exact multiple over the next integer.
    covering = tuple(math.ceil((n - 1) * s - 1e-4) + 1 for n, s in zip(shape, scale, strict=True))
    return covering, scale  # type: ignore[return-value]  # zip keeps the length of three


def refuse_too_large(shape: Shape, *, spacing: float, limit: int) -> None:
    """Raise :class:`TooLargeError` for a volume of more than ``limit`` voxels, before anything is allocated."""
    voxels = math.prod(shape)
    if voxels > limit:
        raise TooLargeError(
            f"{voxels} voxels at {spacing:g} A ({' x '.join(map(str, reversed(shape)))}) are more than the limit of"
            f" {limit}; raise it with --max-voxels"
        )


def voxels_of(header: MapHeader, path: Path | None = None) -> Voxels:
    """Return where the voxels of a map lie; ``path`` is its unpacked file if that is another one."""
    return Voxels(
        path or header.path, offset=header.offset, dtype=header.dtype, shape=header.file_shape, axes=header.axes
    )


def ingest_map(
    voxels: Voxels,
    store: Path | None,
    *,
    header: MapHeader,
    spacing: float,
    chunk: int,
    threads: int,
    memory: int,
) -> Volume:
    """Resample a map to ``spacing`` angstrom, into ``store`` on disk or, with None, in memory.

    Raises
    ------
    TruncatedError, StoreError
        The map is shorter than its header says; the store cannot be written.
    """
    shape, scale = model_grid(header.shape, header.spacing, target=spacing)
    volume = Volume.create(
        store, shape=shape, chunk=chunk, spacing=(spacing, spacing, spacing), origin=header.placement()
    )
    _rust.ingest(voxels, volume, scale=scale, threads=threads, memory=memory)
    return volume


def target_volume(source: Volume, store: Path | None, grid: CubeGrid) -> Volume:
    """Create the volume that the cores of ``grid`` are written to, as large as ``source`` and where that lies."""
    return Volume.create(
        store, shape=source.shape, chunk=grid.core, lead=grid.lead, spacing=source.spacing, origin=source.origin
    )


def stored_bytes(grid: CubeGrid) -> int:
    """Return the bytes of both volumes of a map, source and target, in whole chunks."""
    chunks = [math.prod(-(-n // grid.core) for n in lengths) for lengths in (grid.shape, _led(grid))]
    return 4 * grid.core**3 * sum(chunks)


def _led(grid: CubeGrid) -> list[int]:
    return [n + lead for n, lead in zip(grid.shape, grid.lead, strict=True)]


def export_map(
    volume: Volume, path: Path, *, like: MapHeader, grid: Grid = "input", threads: int, memory: int
) -> Survey:
    """Write ``volume`` as a mode 2 map with the header of ``like``, whole or not at all.

    ``grid="input"`` gives the shape, cell, start, origin and axis order of ``like``; ``grid="model"`` the volume's own
    grid, X Y Z order, with ORIGIN at the first voxel of ``like``.

    Returns
    -------
    Survey
        Statistics of the voxels written.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    if grid == "input":
        shape, axes = like.file_shape, like.axes
        expected, forward = model_grid(like.shape, like.spacing, target=volume.spacing[0])
        if expected != volume.shape:
            raise ValueError(f"volume of shape {volume.shape} is not that of the map, {expected}")
        scale = tuple(1 / s for s in forward)
    else:
        shape, axes, scale = volume.shape, (0, 1, 2), (1.0, 1.0, 1.0)
    with writing_aside(path) as partial:
        with partial.open("wb") as file:
            file.truncate(HEADER_BYTES + 4 * math.prod(shape))
        voxels = Voxels(partial, offset=HEADER_BYTES, dtype="<f4", shape=shape, axes=axes)
        survey = _rust.export(volume, voxels, scale=scale, threads=threads, memory=memory)  # type: ignore[arg-type]
        header = export_header(like, survey, label=LABEL, grid=grid, shape=volume.shape, spacing=volume.spacing[0])
        with partial.open("r+b") as file:
            file.write(header)
    return survey
