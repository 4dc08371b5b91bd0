"""The resampler against scipy's cubic spline, and what the Lanczos kernel keeps and leaves of sines."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from samu_batch import _rust
from samu_batch._rust import Volume, Voxels

BUDGETS = [1, 1 << 30]
"""Bytes: one that cuts a volume into the smallest pencils, and one that never does."""


def ingested(folder, voxels, shape, scale, *, axes=(0, 1, 2), memory=1 << 30):
    """Resample ``voxels`` (ZYX) through a file of the given axis order onto a volume of ``shape``."""
    path = folder / "voxels"
    np.ascontiguousarray(np.transpose(voxels, axes)).astype("<f4").tofile(path)
    stored = tuple(voxels.shape[axis] for axis in axes)
    source = Voxels(path, offset=0, dtype="<f4", shape=stored, axes=axes)
    volume = Volume.create(None, shape=shape, chunk=10, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0))
    _rust.ingest(source, volume, scale=scale, threads=2, memory=memory)
    return volume


def scipys(voxels, shape, scale):
    """Return scipy's order 3 spline, mirrored prefilter, zeros beyond half a voxel outside the box."""
    places = [np.arange(n) / s for n, s in zip(shape, scale, strict=True)]
    coefficients = ndimage.spline_filter(voxels.astype(np.float64), order=3, mode="mirror")
    grid = np.meshgrid(*places, indexing="ij")
    result = ndimage.map_coordinates(coefficients, grid, order=3, mode="mirror", prefilter=False)
    for axis, (place, n) in enumerate(zip(places, voxels.shape, strict=True)):
        result[(slice(None),) * axis + (place > n - 0.5,)] = 0
    return result


@pytest.mark.parametrize("memory", BUDGETS)
@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))), ids=str)
@pytest.mark.parametrize("scale", [(1.2, 1.2, 1.2), (1.05, 2.7, 1.0), (1.0, 1.31, 1.9)], ids=str)
def test_upsampling_is_scipys_cubic_spline(tmp_path, scale, axes, memory):
    voxels = np.random.default_rng(1).normal(size=(23, 17, 31)).astype(np.float32)
    # One more than covers the box, so that the zeros outside are seen.
    shape = tuple(int((n - 1) * s + s / 2) + 2 if s > 1 else n for n, s in zip(voxels.shape, scale, strict=True))
    ours = ingested(tmp_path, voxels, shape, scale, axes=axes, memory=memory).read()
    np.testing.assert_allclose(ours, scipys(voxels, shape, scale), atol=3e-6)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_the_shortest_axes_are_splines_too(tmp_path, n):
    voxels = np.random.default_rng(1).normal(size=(n, 5, 4)).astype(np.float32)
    scale = (1.5 if n > 1 else 1.0, 1.5, 1.5)
    shape = tuple(int((n - 1) * s) + 1 for n, s in zip(voxels.shape, scale, strict=True))
    ours = ingested(tmp_path, voxels, shape, scale).read()
    np.testing.assert_allclose(ours, scipys(voxels, shape, scale), atol=3e-6)


def amplitudes(folder, frequency, *, axis, scale, memory):
    """Return what is left of a sine of amplitude 1, in cycles a source voxel, along one axis and away from its ends."""
    n = 300
    scales = tuple(scale if a == axis else 1.0 for a in range(3))
    shape = tuple(int((n - 1) * scale) + 1 if a == axis else 3 for a in range(3))

    def resampled(wave):
        voxels = np.moveaxis(np.broadcast_to(wave, (3, 3, n)), 2, axis)
        return np.moveaxis(ingested(folder, voxels, shape, scales, memory=memory).read(), axis, 2)[1, 1, 8:-8]

    phase = 2 * np.pi * frequency * np.arange(n)
    return np.hypot(resampled(np.cos(phase)), resampled(np.sin(phase)))


@pytest.mark.parametrize("memory", BUDGETS)
@pytest.mark.parametrize("scale", [0.9, 0.61, 0.37])
@pytest.mark.parametrize("axis", range(3))
def test_downsampling_keeps_what_fits_the_target_and_leaves_the_rest(tmp_path, axis, scale, memory):
    nyquist = scale / 2
    for share in (0.1, 0.3, 0.5):
        kept = amplitudes(tmp_path, share * nyquist, axis=axis, scale=scale, memory=memory)
        np.testing.assert_allclose(kept, 1, atol=0.05)
    for frequency in (1.4 * nyquist, 1.7 * nyquist):
        if frequency < 0.5:
            assert amplitudes(tmp_path, frequency, axis=axis, scale=scale, memory=memory).max() < 0.1


def test_downsampling_keeps_a_constant(tmp_path):
    voxels = np.full((40, 30, 20), 3.25, dtype=np.float32)
    ours = ingested(tmp_path, voxels, (24, 18, 12), (0.6, 0.6, 0.6)).read()
    np.testing.assert_allclose(ours, 3.25, rtol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1.3, 0.7])
def test_the_result_does_not_depend_on_threads(tmp_path, scale):
    voxels = np.random.default_rng(2).normal(size=(31, 29, 37)).astype(np.float32)
    shape = tuple(int((n - 1) * scale) + 1 for n in voxels.shape)
    whole = ingested(tmp_path, voxels, shape, (scale,) * 3)
    source = Voxels(tmp_path / "voxels", offset=0, dtype="<f4", shape=voxels.shape, axes=(0, 1, 2))
    alone = Volume.create(None, shape=shape, chunk=10, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0))
    _rust.ingest(source, alone, scale=(scale,) * 3, threads=1, memory=1 << 30)
    np.testing.assert_array_equal(alone.read(), whole.read())


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_none_is_refused(tmp_path, scale):
    with pytest.raises(ValueError, match="scale"):
        ingested(tmp_path, np.ones((3, 3, 3)), (3, 3, 3), (scale, 1.0, 1.0))
