"""Volumes on disk are Zarr v3 arrays that others read, and read what others wrote."""

import copy
import json
import pickle

import numpy as np
import pytest
import zarr

from samu_batch import _rust
from samu_batch._rust import CubeGrid, Region, Volume, Voxels
from samu_batch.errors import NotFoundError, StoreError
from samu_batch.volume import stored_bytes, target_volume

SHAPES = [(20, 20, 20), (23, 17, 31), (1, 9, 40)]
SPACING, ORIGIN = (1.0, 1.25, 1.5), (-3.0, 0.5, 40.25)


def filled(place, voxels, *, chunk=10, folder):
    path = folder / "voxels"
    voxels.astype("<f4").tofile(path)
    volume = Volume.create(place, shape=voxels.shape, chunk=chunk, spacing=SPACING, origin=ORIGIN)
    source = Voxels(path, offset=0, dtype="<f4", shape=voxels.shape, axes=(0, 1, 2))
    _rust.ingest(source, volume, scale=(1.0, 1.0, 1.0), threads=2, memory=1 << 30)
    return volume


def noise(shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_zarr_python_reads_what_we_wrote(tmp_path, shape):
    voxels = noise(shape)
    filled(tmp_path / "volume", voxels, folder=tmp_path)
    array = zarr.open_array(tmp_path / "volume", mode="r")
    np.testing.assert_array_equal(array[:], voxels)
    assert array.chunks == (10, 10, 10)
    assert array.fill_value == 0
    assert array.metadata.dimension_names == ("z", "y", "x")
    assert array.attrs.asdict() == {"spacing": list(SPACING), "origin": list(ORIGIN), "lead": [0, 0, 0]}


@pytest.mark.parametrize("shape", [(60, 70, 33), (20, 128, 129)], ids=str)
def test_zarr_python_reads_what_cores_wrote_behind_the_lead(tmp_path, shape):
    grid = CubeGrid(shape, cube=48, core=32, padding=0)
    source = filled(tmp_path / "source", noise(shape), chunk=32, folder=tmp_path)
    target = target_volume(source, tmp_path / "target", grid)
    for numbers, cubes in _rust.CubeReader(source, grid, batch=3, scale=None, threads=2):
        _rust.write_cores(target, grid, numbers, cubes, threads=2)
    chunks = [path for name in ("source", "target") for path in (tmp_path / name / "c").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in chunks) == stored_bytes(grid)
    array = zarr.open_array(tmp_path / "target", mode="r")
    assert array.chunks == (32, 32, 32)
    assert tuple(array.attrs["lead"]) == target.lead == grid.lead != (0, 0, 0)
    behind = tuple(slice(lead, None) for lead in grid.lead)
    np.testing.assert_array_equal(array[behind], noise(shape))
    again = pickle.loads(pickle.dumps(target))
    assert (again.shape, again.lead) == (shape, grid.lead)
    np.testing.assert_array_equal(again.read(Region((3, 5, 7), (15, 21, 22))), noise(shape)[3:18, 5:26, 7:29])


def test_a_map_is_not_resampled_into_a_volume_whose_chunks_begin_before_it(tmp_path):
    volume = Volume.create(None, shape=(20, 20, 20), chunk=10, spacing=SPACING, origin=ORIGIN, lead=(0, 3, 0))
    noise((20, 20, 20)).astype("<f4").tofile(tmp_path / "voxels")
    voxels = Voxels(tmp_path / "voxels", offset=0, dtype="<f4", shape=(20, 20, 20), axes=(0, 1, 2))
    with pytest.raises(ValueError, match="before the first chunk"):
        _rust.ingest(voxels, volume, scale=(1.0, 1.0, 1.0), threads=1, memory=1 << 30)
    with pytest.raises(ValueError, match="before the volume"):
        Volume.create(None, shape=(20, 20, 20), chunk=10, spacing=SPACING, origin=ORIGIN, lead=(0, 10, 0))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_we_read_what_zarr_python_wrote(tmp_path, shape):
    voxels = noise(shape)
    array = zarr.create_array(
        tmp_path / "volume",
        shape=shape,
        chunks=(10, 10, 10),
        dtype="float32",
        fill_value=0.0,
        compressors=None,
        attributes={"spacing": SPACING, "origin": ORIGIN},
    )
    array[:] = voxels
    volume = Volume.open(tmp_path / "volume")
    np.testing.assert_array_equal(volume.read(), voxels)
    assert (volume.shape, volume.chunk, volume.spacing, volume.origin) == (shape, 10, SPACING, ORIGIN)


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_region_is_read_with_zeros_outside(tmp_path, on_disk):
    voxels = noise((23, 17, 31))
    volume = filled(tmp_path / "volume" if on_disk else None, voxels, folder=tmp_path)
    around = np.pad(voxels, 8)
    for start, shape in [((-7, -7, -7), (20, 20, 20)), ((8, 3, 19), (12, 5, 20)), ((22, 16, 30), (9, 9, 9))]:
        wanted = around[tuple(slice(s + 8, s + 8 + n) for s, n in zip(start, shape, strict=True))]
        np.testing.assert_array_equal(volume.read(Region(start, shape)), wanted)
    assert not volume.read(Region((100, 0, -50), (3, 3, 3))).any()


def test_chunks_of_zeros_are_no_files(tmp_path):
    voxels = np.zeros((20, 20, 20), dtype=np.float32)
    voxels[12, 3, 15] = -1
    volume = filled(tmp_path / "volume", voxels, folder=tmp_path)
    chunks = [path.relative_to(tmp_path / "volume").as_posix() for path in (tmp_path / "volume").rglob("*")]
    assert sorted(chunks) == ["c", "c/1", "c/1/0", "c/1/0/1", "zarr.json"]
    assert (tmp_path / "volume/c/1/0/1").stat().st_size == 4 * 10**3
    np.testing.assert_array_equal(volume.read(), voxels)


def test_a_volume_on_disk_pickles_as_its_path(tmp_path):
    voxels = noise((11, 12, 13))
    volume = filled(tmp_path / "volume", voxels, folder=tmp_path)
    again = pickle.loads(pickle.dumps(volume))
    assert again.path == volume.path == str(tmp_path / "volume")
    np.testing.assert_array_equal(again.read(), voxels)
    assert len(pickle.dumps(volume)) < 1000


def test_a_volume_in_memory_does_not_pickle(tmp_path):
    with pytest.raises(TypeError, match="in memory"):
        pickle.dumps(filled(None, noise((5, 5, 5)), folder=tmp_path))


@pytest.mark.parametrize(
    "value",
    [Region((-1, 2, 3), (4, 5, 6)), Voxels("map", offset=7, dtype=">i2", shape=(1, 2, 3), axes=(2, 0, 1))],
    ids=repr,
)
def test_regions_and_voxels_are_values(value):
    for other in (copy.copy(value), pickle.loads(pickle.dumps(value))):
        assert other == value
        assert hash(other) == hash(value)
        assert repr(other) == repr(value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data_type", "float64"),
        ("fill_value", 1.0),
        ("attributes", {"spacing": [1, 1, 1]}),
        ("codecs", [{"name": "bytes", "configuration": {"endian": "big"}}]),
    ],
)
def test_an_array_of_another_layout_is_refused(tmp_path, name, value):
    filled(tmp_path / "volume", noise((5, 5, 5)), folder=tmp_path)
    metadata = tmp_path / "volume" / "zarr.json"
    metadata.write_text(json.dumps(json.loads(metadata.read_text()) | {name: value}))
    with pytest.raises(StoreError, match="not a volume"):
        Volume.open(tmp_path / "volume")


def test_no_volume_and_no_voxels_are_refused(tmp_path):
    with pytest.raises(NotFoundError):
        Volume.open(tmp_path / "volume")
    with pytest.raises(ValueError, match="shape"):
        Volume.create(None, shape=(3, 0, 3), chunk=10, spacing=SPACING, origin=ORIGIN)


def test_a_damaged_chunk_is_an_error_of_the_store(tmp_path):
    volume = filled(tmp_path / "volume", noise((10, 10, 10)), folder=tmp_path)
    (tmp_path / "volume/c/0/0/0").write_bytes(b"short")
    with pytest.raises(StoreError, match="c/0/0/0"):
        volume.read()
