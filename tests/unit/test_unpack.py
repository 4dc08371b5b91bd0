"""Maps made readable: the header agrees with what was really unpacked."""

import csv
import gzip
import hashlib

import numpy as np
import pytest

from samu_batch.errors import MapFormatError, TruncatedError
from samu_batch.mrc import read_header
from samu_batch.unpack import SURPLUS, unpack_map

VOXELS = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)


@pytest.fixture
def zipped(tmp_path, make_map):
    """`zipped(surplus, **words)` writes a compressed map with bytes added to or taken from its end."""

    def write(surplus=0, **words):
        content = make_map(tmp_path / "plain.map", VOXELS, **words).read_bytes()
        content = content + bytes(surplus) if surplus >= 0 else content[:surplus]
        path = tmp_path / "emd_1234.map.gz"
        path.write_bytes(gzip.compress(content))
        return path

    return write


@pytest.fixture
def scratch(tmp_path):
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def test_a_plain_map_stays_where_it_is(tmp_path, make_map, scratch):
    path = make_map(tmp_path / "a.mrc", VOXELS)
    unpacked = unpack_map(read_header(path), scratch)
    assert unpacked.path == path
    assert unpacked.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert unpacked.bytes == path.stat().st_size
    assert not any(scratch.iterdir())


def test_a_compressed_map_is_unpacked_and_hashed(zipped, scratch):
    path = zipped()
    unpacked = unpack_map(read_header(path), scratch)
    assert unpacked.path == scratch / "emd_1234.map"
    assert unpacked.header.path == path
    assert unpacked.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert unpacked.bytes == path.stat().st_size
    np.testing.assert_array_equal(
        np.fromfile(unpacked.path, "<f4", offset=unpacked.header.offset).reshape(VOXELS.shape), VOXELS
    )


def test_a_whole_gzip_of_half_a_map_is_truncated(zipped, scratch):
    path = zipped(surplus=-100)
    with pytest.raises(TruncatedError, match=r"1404 bytes, its header asks for 1504"):
        unpack_map(read_header(path), scratch)
    assert not any(scratch.iterdir())


def test_guesses_are_settled_by_the_true_length(zipped, scratch):
    header = unpack_map(read_header(zipped(nsymbt=4096, map=b"")), scratch).header
    assert header.offset == 1024
    assert any("NSYMBT" in guess for guess in header.guesses)
    path = zipped(surplus=4, map=b"")
    with pytest.raises(MapFormatError, match="do not prove it"):
        unpack_map(read_header(path), scratch)


def test_a_little_more_is_told_and_much_more_is_refused(zipped, scratch):
    header = unpack_map(read_header(zipped(surplus=SURPLUS)), scratch).header
    assert header.guesses == (f"{SURPLUS} bytes behind the last voxel are ignored",)
    path = zipped(surplus=SURPLUS + 1)
    with pytest.raises(MapFormatError, match="unpacks to more"):
        unpack_map(read_header(path), scratch)


def test_an_input_is_never_changed(zipped, scratch):
    path = zipped()
    before = path.read_bytes(), path.stat().st_mtime_ns
    path.chmod(0o400)
    unpack_map(read_header(path), scratch)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_real_maps_hold_the_density_that_their_manifest_says(samu_data, scratch):
    with (samu_data / "manifest.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "map"]
    for row in rows:
        unpacked = unpack_map(read_header(samu_data / row["file"]), scratch)
        voxels = np.fromfile(unpacked.path, unpacked.header.dtype, offset=unpacked.header.offset).astype(np.float64)
        found = voxels.min(), voxels.max(), voxels.mean(), voxels.std()
        expected = [float(row[name]) for name in ("min", "max", "mean", "std")]
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-6 + 1e-5 * voxels.std(), err_msg=row["file"])
        assert unpacked.bytes == int(row["bytes"])
        unpacked.path.unlink()
