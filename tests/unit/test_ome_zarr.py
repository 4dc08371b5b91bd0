"""A published OME-Zarr holds the exported map's voxels at its place, and other readers agree."""

import shutil

import mrcfile
import numpy as np
import pytest

from samu_batch.mrc import read_header
from samu_batch.ome_zarr import publish

zarr = pytest.importorskip("zarr")


@pytest.fixture
def voxels():
    return np.random.default_rng(0).random((70, 61, 90), dtype=np.float32)


@pytest.fixture
def exported(tmp_path, make_map, voxels):
    return make_map(
        tmp_path / "m.map", voxels, axes=(2, 0, 1), spacing=(1.5, 1.25, 1.0), nstart=(10, -4, 3), labels=("a",)
    )


def test_voxels_axes_and_place(tmp_path, exported, voxels):
    publish(exported, tmp_path / "m.ome.zarr", like=read_header(exported))
    group = zarr.open_group(tmp_path / "m.ome.zarr", mode="r")
    np.testing.assert_array_equal(group["0"][:], voxels)
    [image] = group.attrs["ome"]["multiscales"]
    assert [axis["name"] for axis in image["axes"]] == ["z", "y", "x"]
    assert {axis["unit"] for axis in image["axes"]} == {"angstrom"}
    scale, translation = image["datasets"][0]["coordinateTransformations"]
    assert scale["scale"] == pytest.approx([1.5, 1.25, 1.0])
    assert translation["translation"] == pytest.approx([15.0, -5.0, 3.0])


def test_each_level_is_the_mean_of_the_finer_at_its_centre(tmp_path, exported, voxels):
    publish(exported, tmp_path / "m.ome.zarr", like=read_header(exported))
    group = zarr.open_group(tmp_path / "m.ome.zarr", mode="r")
    padded = np.pad(voxels, [(0, 0), (0, 1), (0, 0)], mode="edge")
    mean = padded.reshape(35, 2, 31, 2, 45, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(group["1"][:], mean, atol=1e-6)
    assert "2" not in group
    [image] = group.attrs["ome"]["multiscales"]
    scale, translation = image["datasets"][1]["coordinateTransformations"]
    assert scale["scale"] == pytest.approx([3.0, 2.5, 2.0])
    assert translation["translation"] == pytest.approx([15.75, -4.375, 3.5])


def test_the_standards_own_model_accepts_it(tmp_path, exported):
    models = pytest.importorskip("ome_zarr_models.v05.image", reason="ome-zarr-models is not installed")
    publish(exported, tmp_path / "m.ome.zarr", like=read_header(exported))
    image = models.Image.from_zarr(zarr.open_group(tmp_path / "m.ome.zarr", mode="r"))
    assert len(image.attributes.ome.multiscales[0].datasets) == 2


def test_it_replaces_an_older_one_whole(tmp_path, exported):
    target = tmp_path / "m.ome.zarr"
    publish(exported, target, like=read_header(exported))
    (target / "stray").write_text("of an older version")
    publish(exported, target, like=read_header(exported))
    assert not (target / "stray").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_a_killed_publication_left_is_removed(tmp_path, exported):
    from samu_batch.files import remove_partials

    target = tmp_path / "m.ome.zarr"
    publish(exported, target, like=read_header(exported))
    shutil.copytree(target, tmp_path / ".m.ome.zarr.partial")
    remove_partials(target)
    assert {path.name for path in tmp_path.iterdir()} == {"m.map", "m.ome.zarr"}
    assert mrcfile.read(exported).size
