"""A published OME-Zarr 0.5: a pyramid of sharded float32 arrays, in angstrom, whole or not at all.

Source: the NGFF specification 0.5 (https://ngff.openmicroscopy.org/0.5) over Zarr v3.
"""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samu_batch.files import sync
from samu_batch.mrc import read_header

if TYPE_CHECKING:
    import zarr

    from samu_batch.mrc import MapHeader

CHUNK = 64
SHARD = 256
SMALLEST = 64
"""The pyramid ends with the first level that has no axis longer than this."""


def publish(exported: Path, path: Path, *, like: MapHeader) -> None:
    """Write the map at ``exported`` as an OME-Zarr group at ``path``.

    Parameters
    ----------
    exported
        A mode 2 map as :func:`samu_batch.volume.export_map` writes it; its grid is the group's.
    like
        Header of the input, for the position of the first voxel.

    Raises
    ------
    OSError
        The group cannot be written.
    """
    import zarr

    header = read_header(exported)
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    group = zarr.open_group(partial, mode="w", zarr_format=3)
    level = _first_level(group, exported, header)
    levels = [level]
    while max(level.shape) > SMALLEST:
        level = _halved(group, level, number=len(levels))
        levels.append(level)
    group.attrs["ome"] = _metadata(path.name, levels, spacing=header.spacing, origin=like.placement())
    for folder, _, files in os.walk(partial, topdown=False):
        for name in files:
            sync(Path(folder, name))
        sync(Path(folder))
    shutil.rmtree(path, ignore_errors=True)
    partial.rename(path)
    sync(path.parent)


def _array(group: zarr.Group, shape: tuple[int, ...], *, number: int) -> zarr.Array[Any]:
    from zarr.codecs import ZstdCodec

    return group.create_array(
        str(number),
        shape=shape,
        chunks=(CHUNK,) * 3,
        shards=(SHARD,) * 3,
        dtype="float32",
        compressors=ZstdCodec(level=3),
        dimension_names=("z", "y", "x"),
    )


def _first_level(group: zarr.Group, exported: Path, header: MapHeader) -> zarr.Array[Any]:
    """Copy the map shard by shard; its file order becomes ZYX."""
    stored = np.memmap(exported, dtype="<f4", mode="r", offset=header.offset, shape=header.file_shape)
    voxels = stored.transpose(np.argsort(header.axes))
    array = _array(group, voxels.shape, number=0)
    for box in _shards(voxels.shape):
        array[box] = voxels[box]
    return array


def _halved(group: zarr.Group, finer: zarr.Array[Any], *, number: int) -> zarr.Array[Any]:
    """Average 2 x 2 x 2 voxels; an odd last voxel counts twice."""
    array = _array(group, tuple(-(-n // 2) for n in finer.shape), number=number)
    for box in _shards(array.shape):
        source = tuple(slice(2 * s.start, min(2 * s.stop, n)) for s, n in zip(box, finer.shape, strict=True))
        block = np.asarray(finer[source])
        block = np.pad(block, [(0, n % 2) for n in block.shape], mode="edge")
        nz, ny, nx = (n // 2 for n in block.shape)
        array[box] = block.reshape(nz, 2, ny, 2, nx, 2).mean(axis=(1, 3, 5))
    return array


def _shards(shape: tuple[int, ...]) -> list[tuple[slice, ...]]:
    axes = [[slice(start, min(start + SHARD, n)) for start in range(0, n, SHARD)] for n in shape]
    return list(itertools.product(*axes))


def _metadata(
    name: str, levels: list[zarr.Array[Any]], *, spacing: tuple[float, ...], origin: tuple[float, ...]
) -> dict[str, Any]:
    datasets = []
    for number in range(len(levels)):
        factor = 2**number
        scale = [s * factor for s in spacing]
        # The mean of two voxels lies between them.
        translation = [o + s * (factor - 1) / 2 for o, s in zip(origin, spacing, strict=True)]
        datasets.append(
            {
                "path": str(number),
                "coordinateTransformations": [
                    {"type": "scale", "scale": scale},
                    {"type": "translation", "translation": translation},
                ],
            }
        )
    axes = [{"name": axis, "type": "space", "unit": "angstrom"} for axis in "zyx"]
    return {"version": "0.5", "multiscales": [{"name": name, "axes": axes, "datasets": datasets}]}
