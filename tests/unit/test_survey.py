"""Statistics and percentiles of map files of every voxel type, against numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samu_batch import _rust
from samu_batch._rust import Voxels
from samu_batch.errors import EmptyMapError, NotFoundError, TruncatedError

DTYPES = ["|i1", "|u1", "<i2", ">i2", "<u2", ">u2", "<f2", ">f2", "<f4", ">f4"]


def written(path, voxels, *, dtype="<f4", offset=0):
    path.write_bytes(b"\xff" * offset + voxels.astype(dtype).tobytes())
    return Voxels(path, offset=offset, dtype=dtype, shape=voxels.shape, axes=(0, 1, 2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("voxels")


@pytest.mark.parametrize("dtype", DTYPES)
def test_statistics_and_percentiles_of_every_voxel_type(tmp_path, dtype):
    rng = np.random.default_rng(5)
    # More voxels than are read at a time, in a number that no vector divides, and zeros among them.
    voxels = (rng.normal(scale=30, size=(73, 61, 67)) * (rng.random((73, 61, 67)) < 0.6)).astype(dtype[1:])
    file = written(tmp_path / "map", voxels, dtype=dtype, offset=1024 + 3)
    survey = _rust.survey(file, threads=2)
    exact = voxels.astype(np.float64)
    assert (survey.minimum, survey.maximum) == (exact.min(), exact.max())
    assert (survey.nonzero, survey.nonfinite) == (np.count_nonzero(voxels), 0)
    assert survey.mean == pytest.approx(exact.mean(), rel=1e-12)
    assert survey.rms == pytest.approx(exact.std(), rel=1e-9)
    assert _rust.count_above(file, 20.0, threads=2) == np.count_nonzero(exact > 20)
    for percent in (0, 12.5, 50, 99, 99.9, 100):
        assert _rust.percentile(file, percent, threads=2) == np.percentile(exact[exact != 0], percent)


FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(values=st.lists(FINITE, min_size=1, max_size=60), percent=st.floats(0, 100))
@settings(deadline=None)
def test_the_percentile_is_numpys_of_the_nonzero_voxels(folder, values, percent):
    voxels = np.array([*values, 1.5], dtype=np.float32).reshape(1, 1, -1)
    nonzero = voxels[voxels != 0].astype(np.float64)
    assert _rust.percentile(written(folder / "map", voxels), percent, threads=1) == np.percentile(nonzero, percent)


@pytest.mark.parametrize("count", [1, 7, 8, 15, 16, 17, 33])
def test_what_is_not_a_number_is_counted_and_left_out(tmp_path, count):
    voxels = np.arange(1, count + 1, dtype=np.float32)
    voxels[::5] = np.nan
    voxels[3::7] = -np.inf
    survey = _rust.survey(written(tmp_path / "map", voxels.reshape(1, 1, -1)), threads=1)
    finite = voxels[np.isfinite(voxels)]
    assert survey.nonfinite == count - finite.size
    assert survey.nonzero == count
    if finite.size:
        assert (survey.minimum, survey.maximum) == (finite.min(), finite.max())
        assert survey.mean == pytest.approx(finite.mean(dtype=np.float64))


def test_a_survey_does_not_depend_on_threads(tmp_path):
    file = written(tmp_path / "map", np.random.default_rng(0).normal(size=(90, 80, 70)))
    assert repr(_rust.survey(file, threads=1)) == repr(_rust.survey(file, threads=3))


def test_a_map_of_zeros_has_no_percentile(tmp_path):
    with pytest.raises(EmptyMapError, match="zero"):
        _rust.percentile(written(tmp_path / "map", np.zeros((3, 4, 5))), 50, threads=1)


def test_a_short_or_missing_file_is_refused(tmp_path):
    file = written(tmp_path / "map", np.ones((3, 4, 5)))
    (tmp_path / "map").write_bytes(bytes(239))
    with pytest.raises(TruncatedError, match="240"):
        _rust.survey(file, threads=1)
    (tmp_path / "map").unlink()
    with pytest.raises(NotFoundError):
        _rust.survey(file, threads=1)


@pytest.mark.parametrize("dtype", ["f4", "<f8", "|i2", "<c8", ""])
def test_a_type_that_maps_do_not_have_is_refused(tmp_path, dtype):
    with pytest.raises(ValueError, match="voxel type"):
        Voxels(tmp_path / "map", offset=0, dtype=dtype, shape=(1, 1, 1), axes=(0, 1, 2))
