"""Laws 3 and 4: the identity engine gives the input back, and nothing moves."""

import itertools
import math

import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samu_batch.engine import load_engine
from samu_batch.enhance import enhance_map
from samu_batch.entries import Entry
from samu_batch.task import MapOptions, MapTask

ORDERS = list(itertools.permutations((1, 2, 3)))
SHAPES = [(52, 61, 47), (101, 23, 64)]
PLACES = {
    "none": {},
    "nstart": {"nstart": (-12, 5, 40)},
    "origin": {"origin": (-31.5, 12.25, 80.0)},
    "both": {"nstart": (-12, 5, 40), "origin": (-31.5, 12.25, 80.0)},
}


@pytest.fixture(scope="module")
def identity():
    return load_engine("identity", engine="identity")


def write_map(path, voxels, *, spacing=(1.0, 1.0, 1.0), order=(1, 2, 3), nstart=(0, 0, 0), origin=(0.0, 0.0, 0.0)):
    """Write ``voxels`` (file order: sections, rows, columns) with spacings, n*start and origin along X, Y, Z."""
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(voxels)
        header = mrc.header
        header.mapc, header.mapr, header.maps = order
        size = dict(zip(order, voxels.shape[::-1], strict=True))
        start = {axis: nstart[axis - 1] for axis in order}
        header.nxstart, header.nystart, header.nzstart = (start[axis] for axis in order)
        header.mx, header.my, header.mz = (size[axis] for axis in (1, 2, 3))
        header.cella = tuple(size[axis] * spacing[axis - 1] for axis in (1, 2, 3))
        header.origin = origin
    return path


def enhanced(path, engine, folder, **options):
    task = MapTask(
        entry=Entry(id=path.stem, source=str(path), kind="file", columns={}, line=None),
        options=MapOptions(model="identity", engine="identity", scratch=folder, **options),
        output=folder / f"{path.stem}_enhanced{path.suffix}",
        receipt=folder / "receipt.json",
    )
    report = enhance_map(task, engine)
    assert report.done, report.message
    return task.output


HEADER_KEPT = (
    "nx",
    "ny",
    "nz",
    "nxstart",
    "nystart",
    "nzstart",
    "mx",
    "my",
    "mz",
    "cella",
    "cellb",
    "mapc",
    "mapr",
    "maps",
    "origin",
)


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("order", ORDERS, ids=lambda order: "".join("XYZ"[axis - 1] for axis in order))
def test_at_the_models_spacing_the_input_comes_back_bit_for_bit(tmp_path, identity, order, place):
    for number, shape in enumerate(SHAPES):
        voxels = np.random.default_rng(number).normal(size=shape).astype(np.float32)
        path = write_map(tmp_path / f"map{number}.mrc", voxels, order=order, **place)
        with mrcfile.open(enhanced(path, identity, tmp_path)) as after, mrcfile.open(path) as before:
            np.testing.assert_array_equal(after.data, voxels)
            assert all(after.header[word] == before.header[word] for word in HEADER_KEPT)


@given(
    shape=st.tuples(*[st.integers(2, 130)] * 3).filter(lambda shape: math.prod(shape) < 400_000),
    order=st.sampled_from(ORDERS),
    memory=st.sampled_from([1 << 22, 1 << 30]),
    dtype=st.sampled_from([np.int8, np.int16, np.uint16, np.float32]),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_shape_order_type_and_budget(tmp_path, identity, shape, order, memory, dtype):
    voxels = np.random.default_rng(0).integers(0, 100, size=shape).astype(dtype)
    voxels.flat[0] = 1
    path = write_map(tmp_path / "map.mrc", voxels, order=order)
    np.testing.assert_array_equal(mrcfile.read(enhanced(path, identity, tmp_path, memory=memory)), voxels)


def gaussian(shape, centre, spacing, width):
    grids = np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, spacing, strict=True)), indexing="ij")
    square = sum((g - c) ** 2 for g, c in zip(grids, centre, strict=True))
    return np.exp(-square / (2 * width**2)).astype(np.float32)


def centre_of_mass(voxels, spacing):
    total = voxels.sum(dtype=np.float64)
    return [
        float((voxels.sum(axis=tuple({0, 1, 2} - {axis}), dtype=np.float64) * np.arange(n) * s).sum() / total)
        for axis, (n, s) in enumerate(zip(voxels.shape, spacing, strict=True))
    ]


@pytest.mark.parametrize("grid", ["input", "model"])
@pytest.mark.parametrize("spacing", [0.6, 0.83, 1.0, 1.31, 1.7, 2.2, 2.7])
def test_a_gaussian_stays_where_it_is(tmp_path, identity, spacing, grid):
    zyx = (spacing, spacing * 0.97, spacing * 1.04)
    shape = tuple(math.ceil(70 / s) for s in zyx)
    centre, width = (33.3, 36.2, 34.9), 4.0
    before = gaussian(shape, centre, zyx, width)
    path = write_map(tmp_path / "map.mrc", before, spacing=zyx[::-1])
    with mrcfile.open(enhanced(path, identity, tmp_path, grid=grid)) as mrc:
        after = mrc.data.copy()
        x, y, z = (float(mrc.voxel_size[axis]) for axis in "xyz")
    moved = [abs(a - b) for a, b in zip(centre_of_mass(after, (z, y, x)), centre, strict=True)]
    assert max(m / s for m, s in zip(moved, (z, y, x), strict=True)) < 0.01
    if grid == "input":
        assert np.abs(after - before).max() < 0.08


@pytest.mark.parametrize("spacing", [1.1, 1.4, 2.0, 2.7])
def test_a_band_limited_map_comes_back_within_interpolation_error(tmp_path, identity, spacing):
    # Nothing finer than 3 voxels of either grid, away from the faces.
    shape = (48, 52, 44)
    rng = np.random.default_rng(3)
    voxels = np.fft.rfftn(rng.normal(size=shape))
    frequency = np.sqrt(
        sum(np.fft.fftfreq(n)[(slice(None), *(None,) * (2 - axis))] ** 2 for axis, n in enumerate(shape[:2]))
        + np.fft.rfftfreq(shape[2]) ** 2
    )
    voxels = np.fft.irfftn(voxels * (frequency < 1 / 6), s=shape, axes=(0, 1, 2))
    window = np.ones(shape)
    for axis, n in enumerate(shape):
        window *= np.hanning(n)[(slice(None), *(None,) * (2 - axis))]
    voxels = (voxels * window / voxels.std()).astype(np.float32)
    path = write_map(tmp_path / "map.mrc", voxels, spacing=(spacing,) * 3)
    after = mrcfile.read(enhanced(path, identity, tmp_path))
    assert np.abs(after - voxels).max() < 0.02 * np.abs(voxels).max()
