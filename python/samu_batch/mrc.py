"""MRC/CCP4 maps: where the voxels lie, in the file and in space.

Everything is ZYX, as numpy indexes a volume, and angstrom; only ``cell`` and ``sampling`` are XYZ, as in the file. The
format: Cheng et al. 2015, J. Struct. Biol. 192, 146 (MRC2014).
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samu_batch import gz
from samu_batch.errors import MapFormatError, TruncatedError
from samu_batch.files import reading
from samu_batch.map_names import map_suffix
from samu_batch.mrc_words import HEADER_BYTES, check_is_volume, labels_of, voxel_dtype, words_in

if TYPE_CHECKING:
    from os import PathLike

Shape = tuple[int, int, int]
Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class MapHeader:
    """A map's header, with every guess settled.

    Attributes
    ----------
    path
        The map file as it was named, possibly gzip.
    shape, spacing
        Voxels and angstrom per voxel (cell / sampling), ZYX.
    origin
        The ORIGIN words: angstrom, ZYX.
    nstart
        Grid position of the first voxel, ZYX voxels.
    axes
        ``axes[i]`` is the ZYX axis of dimension ``i`` of the file, in the order sections, rows, columns.
    mode, dtype, offset
        The MRC mode, the numpy type of the voxels as stored ('<f4', '>i2', '|u1'), and the first voxel's byte.
    cell, sampling
        Unit cell in angstrom and its grid intervals, XYZ.
    space_group
        The ISPG word.
    labels
        The text labels in use.
    guesses
        One sentence for each thing that was repaired or ignored, and why.
    """

    path: Path
    shape: Shape
    spacing: Triple
    origin: Triple
    nstart: Shape
    axes: Shape
    mode: int
    dtype: str
    offset: int
    cell: Triple
    sampling: Shape
    space_group: int
    labels: tuple[str, ...]
    guesses: tuple[str, ...]

    @property
    def file_shape(self) -> Shape:
        """Sections, rows, columns."""
        s, r, c = self.axes
        return self.shape[s], self.shape[r], self.shape[c]

    @property
    def voxels_count(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def bytes_per_voxel(self) -> int:
        """Bytes per voxel as stored."""
        return np.dtype(self.dtype).itemsize

    @property
    def end(self) -> int:
        """The byte behind the last voxel."""
        return self.offset + self.voxels_count * self.bytes_per_voxel

    @property
    def start(self) -> Triple:
        """Position of the first voxel by n*start: angstrom, ZYX."""
        z, y, x = (n * s for n, s in zip(self.nstart, self.spacing, strict=True))
        return z, y, x

    @property
    def origin_conflict(self) -> bool:
        """Whether ORIGIN is set and lies more than 0.01 voxel from where n*start puts the first voxel."""
        apart = (abs(o - p) / s for o, p, s in zip(self.origin, self.start, self.spacing, strict=True))
        return any(self.origin) and max(apart) > 0.01

    def placement(self, suffix: str | None = None) -> Triple:
        """Return where viewers put the first voxel (angstrom, ZYX) of a file with this suffix, by default its own.

        ``.map`` and ``.ccp4`` are placed by n*start, others by ORIGIN unless that is zero (ChimeraX's rule).
        """
        by_start = (suffix or map_suffix(self.path)).lower() in (".map", ".ccp4")
        return self.start if by_start or not any(self.origin) else self.origin


def read_header(path: str | PathLike[str]) -> MapHeader:
    """Read and check the header of a map, plain or gzip; of a gzip file only the beginning is read.

    Raises
    ------
    NotFoundError, UnreadableError
        There is no such file, or it may not be read.
    TruncatedError
        The file is shorter than its header says (of a gzip file :func:`unpack_map` finds out).
    MapFormatError, UnsupportedGeometryError
        It is no MRC/CCP4 map; it is no single volume in a right-angled cell.
    """
    path = Path(path)
    if gz.is_gzip(path):
        return parse_header(gz.beginning(path, HEADER_BYTES), path=path, length=None)
    with reading(path) as file:
        return parse_header(file.read(HEADER_BYTES), path=path, length=os.fstat(file.fileno()).st_size)


def parse_header(raw: bytes, *, path: Path, length: int | None) -> MapHeader:
    """Make a header of the first 1024 bytes of a map of ``length`` bytes (raises as :func:`read_header`).

    With ``length`` unknown (None) nothing is held against it, and the guesses are not yet proved.
    """
    guesses: list[str] = []
    words = words_in(raw, name=str(path), guesses=guesses)
    dtype, note = voxel_dtype(words, name=str(path))
    file_shape = _positive_sizes(words, path)
    check_is_volume(words, name=str(path))
    cell, sampling = _cell_of(words, path, guesses)
    needed = math.prod(file_shape) * np.dtype(dtype).itemsize
    offset = _offset_of(words, needed=needed, length=length, path=path, guesses=guesses)
    if guesses and length is not None and length != offset + needed:
        raise MapFormatError(
            f"{path}: {'; '.join(guesses)}; but {length} bytes do not prove it, {offset + needed} would"
        )
    if length is not None and length > offset + needed:
        guesses.append(f"{length - offset - needed} bytes behind the last voxel are ignored")
    x, y, z = (c / m for c, m in zip(cell, sampling, strict=True))
    axes = 3 - int(words["maps"]), 3 - int(words["mapr"]), 3 - int(words["mapc"])
    return MapHeader(
        path=path,
        shape=_in_zyx(file_shape, axes),
        spacing=(z, y, x),
        origin=_origin_of(words, path),
        nstart=_in_zyx((int(words["nzstart"]), int(words["nystart"]), int(words["nxstart"])), axes),
        axes=axes,
        mode=int(words["mode"]),
        dtype=dtype,
        offset=offset,
        cell=cell,
        sampling=sampling,
        space_group=int(words["ispg"]),
        labels=labels_of(words),
        guesses=(*guesses, *([note] if note else [])),
    )


def _positive_sizes(words: np.void, path: Path) -> Shape:
    sections, rows, columns = (int(words[key]) for key in ("nz", "ny", "nx"))
    if min(sections, rows, columns) < 1:
        raise MapFormatError(f"{path}: {columns} x {rows} x {sections} voxels are no volume")
    return sections, rows, columns


def _cell_of(words: np.void, path: Path, guesses: list[str]) -> tuple[Triple, Shape]:
    """Return the unit cell in angstrom and its grid intervals, XYZ."""
    x, y, z = (float(words["cella"][key]) for key in "xyz")
    if not all(math.isfinite(edge) and edge > 0 for edge in (x, y, z)):
        raise MapFormatError(f"{path}: a cell of {x:g} x {y:g} x {z:g} angstrom leaves the voxel size unknown")
    if not any(words["cellb"].item()):
        guesses.append("cell angles of 0 read as 90 degrees")
    sizes = dict(zip((int(words[key]) for key in ("mapc", "mapr", "maps")), ("nx", "ny", "nz"), strict=True))
    sampling = [int(words[key]) for key in ("mx", "my", "mz")]
    if min(sampling) < 0:
        raise MapFormatError(f"{path}: a cell of {' x '.join(map(str, sampling))} grid intervals")
    for axis, m in enumerate(sampling):
        if m == 0:
            sampling[axis] = int(words[sizes[axis + 1]])
            guesses.append(f"grid intervals M{'XYZ'[axis]} of 0 read as the {sampling[axis]} voxels of that axis")
    return (x, y, z), (sampling[0], sampling[1], sampling[2])


def _offset_of(words: np.void, *, needed: int, length: int | None, path: Path, guesses: list[str]) -> int:
    """Return the byte of the first voxel."""
    extended = int(words["nsymbt"])
    if extended >= 0 and (length is None or HEADER_BYTES + extended + needed <= length):
        return HEADER_BYTES + extended
    if extended < 0 or length == HEADER_BYTES + needed:
        guesses.append(f"an extended header of {extended} bytes (NSYMBT) is not there")
        return HEADER_BYTES
    raise TruncatedError(f"{path}: {length} bytes, its header asks for {HEADER_BYTES + extended + needed}")


def _origin_of(words: np.void, path: Path) -> Triple:
    z, y, x = (float(words["origin"][key]) for key in "zyx")
    if not all(map(math.isfinite, (z, y, x))):
        raise MapFormatError(f"{path}: ORIGIN is {x:g} {y:g} {z:g}")
    return z, y, x


def _in_zyx(file_order: Shape, axes: Shape) -> Shape:
    """Sort sections, rows, columns into Z, Y, X."""
    zyx = dict(zip(axes, file_order, strict=True))
    return zyx[0], zyx[1], zyx[2]
