"""Ingest and export: voxel (0, 0, 0) of a map and of its volume have the same centre."""

import numpy as np
import pytest

from samu_batch.mrc import read_header
from samu_batch.volume import export_map, ingest_map, model_grid, voxels_of


@pytest.mark.parametrize(
    ("suffix", "place", "first"),
    [
        (".map", {"nstart": (10, -4, 3)}, (15.0, -5.0, 3.0)),
        (".mrc", {"origin": (7.5, -2.0, 11.0)}, (7.5, -2.0, 11.0)),
    ],
)
def test_a_volume_begins_where_its_map_does(tmp_path, make_map, suffix, place, first):
    voxels = np.random.default_rng(0).random((12, 14, 16), dtype=np.float32)
    header = read_header(make_map(tmp_path / f"m{suffix}", voxels, axes=(1, 2, 0), spacing=(1.5, 1.25, 1.0), **place))
    options = {"threads": 1, "memory": 1 << 26}
    volume = ingest_map(voxels_of(header), None, header=header, spacing=1.0, chunk=50, **options)
    assert volume.origin == pytest.approx(first)
    assert volume.spacing == (1.0, 1.0, 1.0)
    assert volume.shape == model_grid(voxels.shape, header.spacing, target=1.0)[0]
    np.testing.assert_allclose(volume.read()[0, 0, 0], voxels[0, 0, 0], atol=1e-5)
    export_map(volume, tmp_path / "model.mrc", like=header, grid="model", **options)
    assert read_header(tmp_path / "model.mrc").placement() == pytest.approx(first)


def test_a_volume_of_another_map_is_refused(tmp_path, make_map):
    paths = [make_map(tmp_path / f"m{n}.mrc", np.ones((n, 10, 10), np.float32)) for n in (10, 11)]
    small, large = map(read_header, paths)
    options = {"threads": 1, "memory": 1 << 26}
    volume = ingest_map(voxels_of(small), None, header=small, spacing=1.0, chunk=50, **options)
    with pytest.raises(ValueError, match="not that of the map"):
        export_map(volume, tmp_path / "out.mrc", like=large, **options)
