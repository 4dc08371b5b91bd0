"""Cubes are cut with their halos, normalised, and stitched by their cores; empty ones are passed over (law 6)."""

import numpy as np
import pytest

from samu_batch import _rust
from samu_batch._rust import CubeGrid, CubeReader, Volume, Voxels
from samu_batch.cubes import spread_above
from samu_batch.model import ModelSpec

CUBE, CORE = 12, 8


def filled(voxels, folder, *, place=None):
    path = folder / "voxels"
    voxels.astype("<f4").tofile(path)
    volume = empty(voxels.shape, place=place)
    source = Voxels(path, offset=0, dtype="<f4", shape=voxels.shape, axes=(0, 1, 2))
    _rust.ingest(source, volume, scale=(1.0, 1.0, 1.0), threads=2, memory=1 << 30)
    return volume


def empty(shape, *, place=None, lead=(0, 0, 0)):
    spacing, origin = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
    return Volume.create(place, shape=shape, chunk=CORE, spacing=spacing, origin=origin, lead=lead)


def read(volume, grid, *, batch=5, scale=None, part=(0, 1)):
    """Return the cubes by number, and how many were passed over."""
    reader = CubeReader(volume, grid, batch=batch, scale=scale, threads=2, part=part)
    cubes = {}
    for numbers, batch_read in reader:
        assert batch_read.dtype == np.float32
        assert batch_read.shape == (len(numbers), 1, grid.cube, grid.cube, grid.cube)
        assert 0 < len(numbers) <= batch
        assert not cubes.keys() & set(numbers)
        cubes.update(zip(numbers, batch_read[:, 0], strict=True))
    return cubes, reader.skipped


@pytest.mark.parametrize("on_disk", [True, False])
@pytest.mark.parametrize("padding", [None, 0, 1])
@pytest.mark.parametrize("shape", [(30, 20, 27), (8, 8, 8), (3, 60, 50)], ids=str)
def test_each_cube_is_what_it_reads_of_the_volume(tmp_path, shape, padding, on_disk):
    voxels = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    volume = filled(voxels, tmp_path, place=tmp_path / "volume" if on_disk else None)
    grid = CubeGrid(shape, cube=CUBE, core=CORE, padding=padding)
    cubes, skipped = read(volume, grid)
    assert (len(cubes), skipped) == (len(grid), 0)
    for number, cube in cubes.items():
        np.testing.assert_array_equal(cube, volume.read(grid[number].read))


@pytest.mark.parametrize("on_disk", [True, False])
@pytest.mark.parametrize("parts", [1, 2, 3, 8])
def test_each_cube_is_in_one_part_and_the_same_there(tmp_path, parts, on_disk):
    voxels = np.random.default_rng(0).normal(size=(50, 60, 70)).astype(np.float32)
    voxels[:20] = 0
    volume = filled(voxels, tmp_path, place=tmp_path / "volume" if on_disk else None)
    grid = CubeGrid(voxels.shape, cube=CUBE, core=CORE)
    whole, skipped = read(volume, grid)
    read_in_parts = [read(volume, grid, part=(part, parts)) for part in range(parts)]
    assert sum(passed_over for _, passed_over in read_in_parts) == skipped > 0
    together = {}
    for cubes, passed_over in read_in_parts:
        assert not together.keys() & cubes.keys()
        together |= cubes
        assert abs(len(cubes) + passed_over - len(grid) / parts) <= 25  # a layer of a pencil
    assert together.keys() == whole.keys()
    for number, cube in whole.items():
        np.testing.assert_array_equal(together[number], cube)


def test_a_part_that_is_none_is_refused():
    volume = empty((20, 20, 20))
    with pytest.raises(ValueError, match="part"):
        read(volume, CubeGrid((20, 20, 20), cube=CUBE, core=CORE), part=(2, 2))


def test_normalised_cubes_lie_in_zero_to_one(tmp_path):
    voxels = np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32)
    voxels[3, 4, 5:9] = [2e-6, 1.9e-6, 4, -0.0]
    grid = CubeGrid(voxels.shape, cube=CUBE, core=CORE)
    raw, _ = read(filled(voxels, tmp_path), grid)
    normalised, _ = read(filled(voxels, tmp_path), grid, scale=2.0)
    for number, cube in raw.items():
        wanted = np.clip(cube / np.float32(2), 0, 1)
        wanted[wanted < 1e-6] = 0
        np.testing.assert_array_equal(normalised[number], wanted)


@pytest.mark.parametrize("scale", [None, 1.0])
def test_empty_cubes_are_passed_over_and_their_cores_stay_zero(tmp_path, scale):
    voxels = np.zeros((40, 40, 40), dtype=np.float32)
    voxels[30:34, 5, 12] = 0.5
    voxels[2:6, 20:24, 20:24] = -0.5 if scale else 0
    grid = CubeGrid(voxels.shape, cube=CUBE, core=CORE)
    holding = [n for n, cube in enumerate(grid) if holds(cube.read, range(30, 34), 5, 12)]
    cubes, skipped = read(filled(voxels, tmp_path), grid, scale=scale)
    assert sorted(cubes) == holding
    assert skipped == len(grid) - len(holding)
    target = empty(voxels.shape)
    ones = np.ones((len(holding), 1, CUBE, CUBE, CUBE), dtype=np.float32)
    _rust.write_cores(target, grid, holding, ones, threads=2)
    wanted = np.zeros_like(voxels)
    for number in holding:
        wanted[grid[number].write.slices] = 1
    np.testing.assert_array_equal(target.read(), wanted)


def holds(region, sections, row, column):
    z, y, x = region.slices
    return y.start <= row < y.stop and x.start <= column < x.stop and any(z.start <= s < z.stop for s in sections)


def test_an_all_zero_volume_has_no_cubes(tmp_path):
    grid = CubeGrid((20, 20, 20), cube=CUBE, core=CORE)
    assert read(empty((20, 20, 20)), grid) == ({}, len(grid))


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("padding", [None, 0, 2])
def test_cores_may_be_written_in_any_order_and_again(order, padding):
    shape = (20, 13, 30)
    grid = CubeGrid(shape, cube=CUBE, core=CORE, padding=padding)
    target = empty(shape, lead=grid.lead)
    rng = np.random.default_rng(0)
    cubes = rng.normal(size=(len(grid), 1, CUBE, CUBE, CUBE)).astype(np.float32)
    for _ in range(2):
        for number in list(range(len(grid)))[::order]:
            _rust.write_cores(target, grid, [number], cubes[number : number + 1], threads=1)
    for number, cube in enumerate(grid):
        before = np.subtract(cube.write.start, cube.read.start)
        core = cubes[number, 0][tuple(slice(b, b + n) for b, n in zip(before, cube.write.shape, strict=True))]
        np.testing.assert_array_equal(target.read(cube.write), core)


def test_what_does_not_belong_together_is_refused():
    grid = CubeGrid((20, 20, 20), cube=CUBE, core=CORE)
    cubes = np.zeros((2, 1, CUBE, CUBE, CUBE), dtype=np.float32)
    with pytest.raises(ValueError, match="voxels of the cubes"):
        _rust.write_cores(empty((20, 20, 20)), grid, [0], cubes, threads=1)
    with pytest.raises(ValueError, match="before the first chunk"):
        _rust.write_cores(empty((20, 20, 20), lead=(1, 0, 0)), grid, [0, 1], cubes, threads=1)
    with pytest.raises(ValueError, match="number"):
        _rust.write_cores(empty((20, 20, 20)), grid, [0, 27], cubes, threads=1)
    with pytest.raises(ValueError, match="shape"):
        _rust.write_cores(empty((20, 20, 21)), grid, [0, 1], cubes, threads=1)
    with pytest.raises(ValueError, match="scale"):
        CubeReader(empty((20, 20, 20)), grid, batch=1, scale=0.0, threads=1)


@pytest.mark.parametrize(
    ("cube", "core", "padding", "cubes"), [(64, 50, None, 1000), (128, 80, None, 343), (128, 80, 0, 216)]
)
def test_a_map_is_spread_above_500_voxels_an_edge_whatever_the_lattice(cube, core, padding, cubes):
    assert spread_above(ModelSpec(name="any", cube=cube, core=core, padding=padding, spacing=1.0)) == cubes
