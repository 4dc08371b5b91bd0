"""Compiled core of samu-batch. Coordinates are ZYX voxels, lengths angstrom, arrays C-ordered float32."""

from os import PathLike
from typing import Iterator, Sequence
import numpy as np
from numpy.typing import NDArray

Triple = tuple[int, int, int]
Triplef = tuple[float, float, float]

class Region:
    """Half-open box of voxels, ZYX. `start` may be negative (a cube's halo reaches outside the map)."""
    def __init__(self, start: Triple, shape: Triple) -> None: ...
    start: Triple
    shape: Triple
    stop: Triple
    slices: tuple[slice, slice, slice]

class Cube:
    index: Triple
    read: Region
    write: Region

class CubeGrid:
    """Cubes `core` voxels apart. Without `padding` the paper's lattice: core i covers [core*i, core*(i+1)) clipped to the
    volume, its cube reads `halo` voxels more on every side. With it as few cubes along an axis as read at least `padding`
    voxels beyond either end, centred; the first and the last write up to the ends. `lead` is that of the chunks that
    cores are written to."""
    def __init__(self, shape: Triple, *, cube: int, core: int, padding: int | None = None) -> None: ...
    shape: Triple
    cube: int
    core: int
    padding: int | None
    halo: int
    lead: Triple
    counts: Triple
    def __len__(self) -> int: ...
    def __getitem__(self, number: int, /) -> Cube: ...
    def __iter__(self) -> Iterator[Cube]: ...

class Voxels:
    """Where a map file's voxels lie. `dtype` is a numpy string ('<f4', '>i2', '|i1', '|u1', '<u2', '<f2').
    `shape` is in file order (sections, rows, columns); `axes[i]` is the ZYX axis (0, 1 or 2) of file dimension i."""
    def __init__(self, path: str | PathLike[str], *, offset: int, dtype: str, shape: Triple, axes: Triple) -> None: ...
    path: str
    offset: int
    dtype: str
    shape: Triple
    axes: Triple

class Survey:
    """One pass over every voxel of a map (float64 sums)."""
    minimum: float
    maximum: float
    mean: float
    rms: float              # standard deviation about the mean, as MRC2014's RMS word
    nonzero: int
    nonfinite: int

def survey(voxels: Voxels, *, threads: int) -> Survey: ...
def percentile(voxels: Voxels, percent: float, *, threads: int) -> float:
    """Linearly interpolated percentile of the non-zero voxels (numpy.percentile's 'linear'), exact, in bounded memory."""

def count_above(voxels: Voxels, level: float, *, threads: int) -> int:
    """Number of voxels above a contour level."""

class Volume:
    """float32 volume in Zarr v3 chunks of `chunk`^3, which begin `lead` voxels before it, on disk or in memory.
    Pickles as its path."""
    @staticmethod
    def create(
        path: str | PathLike[str] | None, *, shape: Triple, chunk: int, spacing: Triplef, origin: Triplef, lead: Triple = (0, 0, 0)
    ) -> Volume: ...
    @staticmethod
    def open(path: str | PathLike[str]) -> Volume: ...
    path: str | None
    shape: Triple
    chunk: int
    lead: Triple
    spacing: Triplef
    origin: Triplef
    def read(self, region: Region | None = None) -> NDArray[np.float32]: ...

def ingest(voxels: Voxels, volume: Volume, *, scale: Triplef, threads: int, memory: int) -> None:
    """Resample a map file onto `volume`. `scale` is input spacing / volume spacing per ZYX axis (1.0 = no resampling).
    `memory` is the budget in bytes."""

def export(volume: Volume, voxels: Voxels, *, scale: Triplef, threads: int, memory: int) -> Survey:
    """Resample `volume` into the '<f4' file `voxels` (which exists, at its full length or shorter). `scale` is volume spacing / file spacing
    per ZYX axis. Returns the statistics of what was written."""

class CubeReader:
    """Batches of cubes that hold any density, in an order that reads each chunk about once.
    Yields `(numbers, cubes)`: the cubes' numbers in the grid, and float32 (N, 1, cube, cube, cube).
    With `scale`, voxels are divided by it, clipped to [0, 1] and values below 1e-6 set to 0.
    `part` `(k, n)` is the k-th of n parts of nearly as many cubes, each cube in one part."""
    def __init__(
        self, volume: Volume, grid: CubeGrid, *, batch: int, scale: float | None, threads: int, part: tuple[int, int] = (0, 1)
    ) -> None: ...
    def __iter__(self) -> Iterator[tuple[list[int], NDArray[np.float32]]]: ...
    def __next__(self) -> tuple[list[int], NDArray[np.float32]]: ...
    skipped: int            # all-zero cubes passed over so far

def write_cores(volume: Volume, grid: CubeGrid, numbers: Sequence[int], cubes: NDArray[np.float32], *, threads: int) -> None:
    """Write the core of each cube as whole chunks: one, but for what lies at the ends. Cores never written read as zeros."""
