"""Law 1: geometry is one value. Cores tile the volume exactly once; a cube reads its core and a halo around it."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samu_batch.volume import CubeGrid, Region

SHAPES = st.tuples(*[st.integers(1, 60)] * 3)


PADDINGS = st.integers(0, 9)


@st.composite
def grids(draw, paddings=st.none() | PADDINGS):  # noqa: B008  # a strategy is a value
    core, halo, padding = draw(st.integers(1, 25)), draw(st.integers(0, 9)), draw(paddings)
    padding = None if padding is None else min(padding, halo)
    return CubeGrid(draw(SHAPES), cube=core + 2 * halo, core=core, padding=padding)


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
def test_cubes_are_a_sequence(grid):
    assert list(grid) == [grid[number] for number in range(len(grid))]
    assert grid[-1] == grid[len(grid) - 1]
    assert len(grid) == np.prod(grid.counts)
    for number, cube in enumerate(grid):
        assert number == np.ravel_multi_index(cube.index, grid.counts)
        assert cube.read.shape == (grid.cube,) * 3
    with pytest.raises(IndexError):
        grid[len(grid)]


@given(grid=grids(paddings=st.none()))
@settings(deadline=None)
def test_the_papers_cubes_read_a_halo_around_their_core(grid):
    assert grid.lead == (0, 0, 0)
    for cube in grid:
        assert cube.read.start == tuple(start - grid.halo for start in cube.write.start)
        assert cube.write.start == tuple(i * grid.core for i in cube.index)


@given(grid=grids(paddings=PADDINGS))
@settings(deadline=None)
def test_padded_cubes_read_a_halo_where_the_volume_goes_on_and_the_padding_where_it_ends(grid):
    for cube in grid:
        for axis, end in enumerate(grid.shape):
            read, write = ((region.start[axis], region.stop[axis]) for region in (cube.read, cube.write))
            assert write[0] - read[0] >= (grid.padding if write[0] == 0 else grid.halo)
            assert read[1] - write[1] >= (grid.padding if write[1] == end else grid.halo)


@given(grid=grids())
@settings(deadline=None)
def test_a_grid_is_a_value(grid):
    same = CubeGrid(grid.shape, cube=grid.cube, core=grid.core, padding=grid.padding)
    for other in (same, pickle.loads(pickle.dumps(grid))):
        assert other == grid
        assert hash(other) == hash(grid)
        assert repr(other) == repr(grid)
    assert grid != CubeGrid(grid.shape, cube=grid.cube + 2, core=grid.core, padding=grid.padding)


def test_the_papers_lattice():
    grid = CubeGrid((120, 50, 51), cube=64, core=50)
    assert (grid.halo, grid.counts, len(grid)) == (7, (3, 1, 2), 6)
    last = grid[5]
    assert last.index == (2, 0, 1)
    assert last.read == Region((93, -7, 43), (64, 64, 64))
    assert last.write == Region((100, 0, 50), (20, 50, 1))


def test_a_map_is_padded_no_more_than_needed():
    counts = {
        length: CubeGrid((length,) * 3, cube=128, core=80, padding=0).counts[0] for length in (1, 128, 129, 208, 209)
    }
    assert counts == {1: 1, 128: 1, 129: 2, 208: 2, 209: 3}
    one, *_, last = CubeGrid((250, 128, 60), cube=128, core=80, padding=0)
    assert (one.read, one.write) == (Region((-19, 0, -34), (128,) * 3), Region((0, 0, 0), (85, 128, 60)))
    assert (last.read, last.write) == (Region((141, 0, -34), (128,) * 3), Region((165, 0, 0), (85, 128, 60)))


def test_a_padding_above_the_halo_is_refused():
    with pytest.raises(ValueError, match="padding of 8"):
        CubeGrid((10, 10, 10), cube=64, core=50, padding=8)


@pytest.mark.parametrize(("cube", "core"), [(64, 51), (50, 64), (64, 0)])
def test_a_core_that_is_not_at_the_centre_is_refused(cube, core):
    with pytest.raises(ValueError, match="centre"):
        CubeGrid((10, 10, 10), cube=cube, core=core)
