"""All real maps at hand, with two Dask workers: each is done, or has a receipt whose kind is right."""

import gzip
import json
import os
import subprocess
import sys

import mrcfile
import numpy as np
import pytest

from samu_batch.mrc import read_header

TOO_LARGE = {"emd_1155"}
"""16.4 A voxels: 15.6e9 voxels at 1 A."""


@pytest.fixture(scope="module")
def finished(samu_data, tmp_path_factory):
    """The maps of the data folder by name, and their RUN."""
    maps = {path.name.removesuffix(".mrc.gz"): path for path in sorted((samu_data / "maps").glob("*.mrc.gz"))}
    run = tmp_path_factory.mktemp("real") / "run"
    command = [sys.executable, "-m", "samu_batch", "enhance", *maps.values(), "-o", run, "--engine", "identity"]
    done = subprocess.run([*map(str, command), "--workers", "2"], capture_output=True, text=True, env=os.environ)
    assert done.returncode == (1 if TOO_LARGE & maps.keys() else 0), done.stderr
    return maps, run


def receipt(run, name):
    return json.loads((run / name / "receipt.json").read_text())


def test_every_map_is_done_or_fails_with_the_right_kind(finished):
    maps, run = finished
    kinds = {name: receipt(run, name)["kind"] for name in maps}
    assert kinds == {name: "too-large" if name in TOO_LARGE else "done" for name in maps}
    failed = (run / "failed.txt").read_text().splitlines() if TOO_LARGE & maps.keys() else []
    assert len(failed) == len(TOO_LARGE & maps.keys())


def test_each_lies_on_its_input(finished):
    maps, run = finished
    for name in maps.keys() - TOO_LARGE:
        before, after = read_header(maps[name]), read_header(run / name / f"{name}_enhanced.mrc")
        for fact in ("shape", "axes", "nstart", "sampling"):
            assert getattr(after, fact) == getattr(before, fact), (name, fact)
        np.testing.assert_allclose(after.cell, before.cell, rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(after.placement(), before.placement(), atol=1e-3, err_msg=name)


def test_at_1_angstrom_the_density_is_the_inputs_own(finished):
    maps, run = finished
    same = [name for name in maps.keys() - TOO_LARGE if set(read_header(maps[name]).spacing) == {1.0}]
    assert same
    for name in same:
        header = read_header(maps[name])
        voxels = np.frombuffer(gzip.decompress(maps[name].read_bytes()), header.dtype, offset=header.offset)
        voxels = voxels[: np.prod(header.shape)].reshape(header.file_shape).astype(np.float32)
        np.testing.assert_array_equal(mrcfile.read(run / name / f"{name}_enhanced.mrc"), voxels, err_msg=name)


def test_no_map_moves(finished):
    maps, run = finished
    for name in maps.keys() - TOO_LARGE:
        header = read_header(maps[name])
        voxels = np.frombuffer(gzip.decompress(maps[name].read_bytes()), header.dtype, offset=header.offset)
        before = voxels[: np.prod(header.shape)].reshape(header.file_shape).astype(np.float64)
        after = mrcfile.read(run / name / f"{name}_enhanced.mrc").astype(np.float64)
        # The peak of the cross-correlation, by a parabola through its neighbours.
        product = np.fft.irfftn(np.fft.rfftn(before) * np.fft.rfftn(after).conj(), s=before.shape, axes=(0, 1, 2))
        peak = np.unravel_index(product.argmax(), product.shape)
        assert peak == (0, 0, 0), name
        for axis in range(3):
            left, middle, right = (np.roll(product, -step, axis)[0, 0, 0] for step in (-1, 0, 1))
            assert abs(right - left) / (2 * (2 * middle - left - right)) < 0.01, (name, axis)
