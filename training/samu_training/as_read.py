"""Maps as the network is shown them: read, resampled and normalised by the code that ``samu-batch enhance`` runs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from samu_batch import _rust
from samu_batch.mrc import read_header
from samu_batch.unpack import unpack_map
from samu_batch.volume import ingest_map, model_grid, refuse_too_large, voxels_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from samu_batch._rust import Volume

SPACING = 1.0
PERCENTILE = 99.9
CUBE, CORE = 64, 50
MAX_VOXELS = 512_000_000
CHUNK, MEMORY = 64, 256 << 20


def read_volume(path: Path, *, max_voxels: int = MAX_VOXELS) -> tuple[Volume, float]:
    """Return a map at 1 A, in memory, and its 99.9th percentile, by which it is to be divided.

    Raises
    ------
    SamuError
        The map cannot be read, or is larger than ``max_voxels`` at 1 A.
    """
    with tempfile.TemporaryDirectory(prefix="samu-training-") as scratch:
        unpacked = unpack_map(read_header(path), Path(scratch))
        header = unpacked.header
        shape, _ = model_grid(header.shape, header.spacing, target=SPACING)
        refuse_too_large(shape, spacing=SPACING, limit=max_voxels)
        voxels = voxels_of(header, unpacked.path)
        volume = ingest_map(voxels, None, header=header, spacing=SPACING, chunk=CHUNK, threads=1, memory=MEMORY)
        return volume, _rust.percentile(voxels, PERCENTILE, threads=1)


def read_normalised(path: Path) -> tuple[NDArray[np.float32], tuple[float, float, float]]:
    """Return a map divided by its percentile, not clipped, and where its first voxel lies (angstrom, ZYX)."""
    volume, scale = read_volume(path)
    return volume.read() / scale, volume.origin
