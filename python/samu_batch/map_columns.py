"""The columns of a LIST that tell what a map will cost before it is fetched.

``box`` and ``voxel`` have the order X Y Z, as people and viewers do: ``256x256x300`` voxels, ``1.05x1.05x1.06``
angstrom. ``download`` and ``unpacked`` are bytes: of the file that is fetched, and of the map that is in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

Shape = tuple[int, int, int]
Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Extent:
    """What a map's cost follows from.

    Attributes
    ----------
    shape, spacing
        ZYX voxels, and angstrom per voxel.
    unpacked, download
        Bytes of the map where it must be unpacked, and of the file where it must be fetched; else 0.
    """

    shape: Shape
    spacing: Triple
    unpacked: int = 0
    download: int = 0


def extent_of(columns: Mapping[str, str]) -> Extent | None:
    """Return the extent that the columns of an entry tell; None where they do not, or mean something else.

    Without ``unpacked`` the map is taken for 4 bytes a voxel.
    """
    try:
        box = [int(word) for word in columns["box"].lower().split("x")]
        voxel = [float(word) for word in columns["voxel"].lower().split("x")]
        unpacked = int(columns.get("unpacked") or 1024 + 4 * math.prod(box))
        download = int(columns.get("download") or 0)
    except (KeyError, ValueError):
        return None
    if len(box) != 3 or len(voxel) != 3 or not all(size > 0 and math.isfinite(size) for size in (*box, *voxel)):
        return None
    return Extent(
        shape=(box[2], box[1], box[0]), spacing=(voxel[2], voxel[1], voxel[0]), unpacked=unpacked, download=download
    )


def joined(zyx: Shape | Triple | None) -> str:
    """Return three numbers of ZYX as a ``box`` or ``voxel`` cell; nothing for None."""
    return "x".join(f"{value:.9g}" for value in reversed(zyx)) if zyx else ""
