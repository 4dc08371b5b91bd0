"""Law 1: geometry is one value. Cores tile the volume exactly once; a cube reads its core and a halo around it."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samu_batch.volume import CubeGrid, Region

SHAPES = st.tuples(*[st.integers(1, 60)] * 3)


@st.composite
def grids(draw):
    core = draw(st.integers(1, 25))
    return CubeGrid(draw(SHAPES), cube=core + 2 * draw(st.integers(0, 9)), core=core)


@given(grid=grids())
@settings(deadline=None)
def test_cores_tile_the_volume_exactly_once(grid):
    written = np.zeros(grid.shape, dtype=int)
    for cube in grid:
        written[cube.write.slices] += 1
        assert min(cube.write.shape) > 0
    assert (written == 1).all()


@given(grid=grids())
@settings(deadline=None)
def test_cubes_are_a_sequence_and_read_a_halo_around_their_core(grid):
    assert list(grid) == [grid[number] for number in range(len(grid))]
    assert grid[-1] == grid[len(grid) - 1]
    assert len(grid) == np.prod(grid.counts)
    for number, cube in enumerate(grid):
        assert number == np.ravel_multi_index(cube.index, grid.counts)
        assert cube.read.shape == (grid.cube,) * 3
        assert cube.read.start == tuple(start - grid.halo for start in cube.write.start)
        assert cube.write.start == tuple(i * grid.core for i in cube.index)
    with pytest.raises(IndexError):
        grid[len(grid)]


@given(grid=grids())
@settings(deadline=None)
def test_a_grid_is_a_value(grid):
    same = CubeGrid(grid.shape, cube=grid.cube, core=grid.core)
    for other in (same, pickle.loads(pickle.dumps(grid))):
        assert other == grid
        assert hash(other) == hash(grid)
        assert repr(other) == repr(grid)
    assert grid != CubeGrid(grid.shape, cube=grid.cube + 2, core=grid.core)


def test_the_papers_lattice():
    grid = CubeGrid((120, 50, 51), cube=64, core=50)
    assert (grid.halo, grid.counts, len(grid)) == (7, (3, 1, 2), 6)
    last = grid[5]
    assert last.index == (2, 0, 1)
    assert last.read == Region((93, -7, 43), (64, 64, 64))
    assert last.write == Region((100, 0, 50), (20, 50, 1))


@pytest.mark.parametrize(("cube", "core"), [(64, 51), (50, 64), (64, 0)])
def test_a_core_that_is_not_at_the_centre_is_refused(cube, core):
    with pytest.raises(ValueError, match="centre"):
        CubeGrid((10, 10, 10), cube=cube, core=core)
