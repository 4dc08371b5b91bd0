"""Headers: what is read, what is repaired, what is refused."""

import csv
import gzip
import itertools
import os
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samu_batch.errors import (
    MapFormatError,
    NotFoundError,
    TruncatedError,
    UnreadableError,
    UnsupportedGeometryError,
)
from samu_batch.mrc import parse_header, read_header

AXES = list(itertools.permutations((0, 1, 2)))
RAMP = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)


@settings(deadline=None)
@given(
    shape=st.tuples(*[st.integers(2, 9)] * 3),
    axes=st.sampled_from(AXES),
    spacing=st.tuples(*[st.floats(0.25, 20, width=32)] * 3),
    nstart=st.tuples(*[st.integers(-500, 500)] * 3),
    origin=st.tuples(*[st.floats(-1000, 1000, width=32)] * 3),
    sampling=st.none() | st.tuples(*[st.integers(1, 400)] * 3),
    mode=st.sampled_from([0, 1, 2, 6, 12]),
    order=st.sampled_from("<>"),
    extended=st.sampled_from([0, 80, 1024]),
    zipped=st.booleans(),
)
def test_any_header_is_read_as_it_was_written(tmp_path_factory, make_map, shape, axes, spacing, zipped, **options):
    voxels = np.arange(np.prod(shape)).reshape(shape) % 100
    folder = tmp_path_factory.mktemp("map")
    extended = b"x" * options.pop("extended")
    path = make_map(folder / "a.map", voxels, spacing=spacing, axes=axes, extended=extended, **options)
    if zipped:
        (folder / "a.map.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
        header = read_header(folder / "a.map.gz")
    else:
        header = read_header(path)
    assert header.shape == shape
    assert header.axes == axes
    assert header.nstart == options["nstart"]
    assert header.origin == options["origin"]
    assert header.sampling == (options["sampling"] or shape)[::-1]
    np.testing.assert_allclose(header.spacing, spacing, rtol=1e-6)
    assert header.guesses == ()
    stored = np.memmap(path, header.dtype, mode="r", offset=header.offset, shape=header.file_shape)
    np.testing.assert_array_equal(stored.transpose(np.argsort(axes)), voxels)
    assert header.end == path.stat().st_size


def test_a_permuted_map_holds_what_gemmi_sees(tmp_path, make_map):
    gemmi = pytest.importorskip("gemmi")
    for axes in AXES:
        path = make_map(
            tmp_path / "a.ccp4", RAMP, axes=axes, nstart=(3, -2, 1), spacing=(1, 2, 3), sampling=(20, 20, 20)
        )
        header = read_header(path)
        seen = gemmi.read_ccp4_map(str(path))
        seen.setup(0.0)
        z, y, x = header.nstart
        assert seen.grid.get_value(x + 4, y + 3, z + 2) == RAMP[2, 3, 4]
        assert seen.grid.unit_cell.parameters[:3] == header.cell


REPAIRS = {
    "no MAP word": ({"map": b"\0\0\0\0"}, "MAP"),
    "no machine stamp": ({"machst": (0, 0, 0, 0)}, "machine stamp"),
    "wrong machine stamp": ({"machst": (0x11, 0x11, 0, 0)}, "machine stamp"),
    "zero m": ({"mx": 0, "mz": 0}, "intervals MX of 0 read as the 6"),
    "zero angles": ({"cellb": (0, 0, 0)}, "angles"),
    "an extended header that is not there": ({"nsymbt": 4096}, "NSYMBT"),
    "a negative extended header": ({"nsymbt": -80}, "NSYMBT"),
}


@pytest.mark.parametrize(("words", "said"), REPAIRS.values(), ids=REPAIRS)
class TestRepairs:
    def test_made_where_the_length_proves_them(self, tmp_path, make_map, words, said):
        path = make_map(tmp_path / "a.mrc", RAMP, **words)
        header = read_header(path)
        assert any(said in guess for guess in header.guesses)
        assert (header.shape, header.offset) == (RAMP.shape, 1024)

    def test_refused_where_it_does_not(self, tmp_path, make_map, words, said):
        path = make_map(tmp_path / "a.mrc", RAMP, **words)
        with path.open("ab") as file:
            file.write(b"more")
        with pytest.raises((MapFormatError, TruncatedError), match=r"do not prove it|its header asks for"):
            read_header(path)


def test_zero_m_is_the_size_along_its_own_axis(tmp_path, make_map):
    path = make_map(tmp_path / "a.mrc", RAMP, axes=(2, 0, 1), mx=0, my=0, mz=0)
    assert read_header(path).sampling == RAMP.shape[::-1]


def test_bytes_behind_the_voxels_are_ignored_and_told(tmp_path, make_map):
    path = make_map(tmp_path / "a.mrc", RAMP)
    with path.open("ab") as file:
        file.write(b"tail")
    assert read_header(path).guesses == ("4 bytes behind the last voxel are ignored",)


@pytest.mark.parametrize(
    ("stamp", "flags", "highest", "dtype"),
    [(1146047817, 0, 100, "|u1"), (1146047817, 1, 100, "|i1"), (0, 0, 100, "|i1"), (0, 0, 255, "|u1")],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_bytes_are_signed_unless_imod_or_the_maximum_says_otherwise(
    tmp_path, make_map, stamp, flags, highest, dtype, order
):
    # IMOD's words 39 and 40 lie 44 bytes into the second block of extra space, which begins at byte 112.
    extra = bytearray(84)
    extra[40:48] = np.array([stamp, flags], f"{order}i4").tobytes()
    path = make_map(tmp_path / "a.mrc", RAMP, mode=0, order=order, extra2=bytes(extra), dmin=0, dmax=highest)
    header = read_header(path)
    assert header.dtype == dtype
    assert any("unsigned" in guess for guess in header.guesses) == (stamp == 0 and highest == 255)


REFUSED = {
    "skewed cell": ({"cellb": (90, 90, 120)}, UnsupportedGeometryError, "120"),
    "axes twice": ({"mapc": 1, "mapr": 1}, UnsupportedGeometryError, "axis order"),
    "no axes": ({"mapc": 0, "mapr": 0, "maps": 0}, UnsupportedGeometryError, "axis order"),
    "stack of images": ({"ispg": 0, "mz": 1}, UnsupportedGeometryError, "stack of 4 images"),
    "stack of volumes": ({"ispg": 401, "mz": 2}, UnsupportedGeometryError, "stack of volumes"),
    "transform": ({"mode": 4}, MapFormatError, "complex"),
    "unknown mode": ({"mode": 7}, MapFormatError, "mode 7"),
    "no voxels": ({"nz": 0}, MapFormatError, "6 x 5 x 0"),
    "negative size": ({"nx": -6}, MapFormatError, "-6"),
    "no cell": ({"cella": (0, 0, 0)}, MapFormatError, "voxel size unknown"),
    "negative cell": ({"cella": (6, -5, 4)}, MapFormatError, "-5"),
    "infinite cell": ({"cella": (6, np.inf, 4)}, MapFormatError, "inf"),
    "negative m": ({"my": -5}, MapFormatError, "-5"),
    "origin that is no number": ({"origin": (0, np.nan, 0)}, MapFormatError, "nan"),
    "more voxels than any disk holds": (
        dict.fromkeys(("nx", "ny", "nz"), 2**31 - 1),
        TruncatedError,
        str(4 * (2**31 - 1) ** 3 + 1024),
    ),
}


@pytest.mark.parametrize(("words", "error", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_treated_is_refused(tmp_path, make_map, words, error, said):
    path = make_map(tmp_path / "a.mrc", RAMP, **words)
    with pytest.raises(error, match=said):
        read_header(path)


def test_a_single_image_and_a_stack_by_name_are_refused(tmp_path, make_map):
    with pytest.raises(UnsupportedGeometryError, match="image, not a volume"):
        read_header(make_map(tmp_path / "a.mrc", RAMP[:1]))
    with pytest.raises(UnsupportedGeometryError, match="stack of 4 images"):
        read_header(make_map(tmp_path / "a.mrcs", RAMP))


@pytest.mark.parametrize("words", [{"ispg": 0}, {"ispg": 401}, {"ispg": 0, "mx": 1, "my": 1, "mz": 1}])
def test_volumes_with_the_space_group_of_images_are_volumes(tmp_path, make_map, words):
    assert read_header(make_map(tmp_path / "a.mrc", RAMP, **words)).shape == RAMP.shape


@pytest.mark.parametrize("missing", [1, 200, 479])
def test_a_truncated_map_tells_both_lengths(tmp_path, make_map, missing):
    path = make_map(tmp_path / "a.mrc", RAMP)
    whole = path.read_bytes()
    path.write_bytes(whole[:-missing])
    with pytest.raises(TruncatedError, match=rf"{len(whole) - missing} bytes, .* {len(whole)}"):
        read_header(path)


def test_a_map_that_ends_in_its_header_is_truncated(tmp_path, make_map):
    path = make_map(tmp_path / "a.mrc", RAMP)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(TruncatedError, match="600 bytes"):
        read_header(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>" + b"<p>not found</p>" * 100, "HTML"),
        (b"<html>no</html>", "HTML"),
        (b"PK\x03\x04" + bytes(2000), "ZIP"),
        (b"EMD-1234\n" * 300, "text"),
        (b"\x07\x01" * 1000, "begins with 07 01"),
        (bytes(4096), "begins with 00 00"),
    ],
)
def test_what_is_no_map_is_called_by_its_name(tmp_path, content, said):
    path = tmp_path / "a.map"
    path.write_bytes(content)
    with pytest.raises(MapFormatError, match=said):
        read_header(path)


def test_missing_and_unreadable_files(tmp_path, make_map):
    with pytest.raises(NotFoundError, match="does not exist"):
        read_header(tmp_path / "a.map")
    with pytest.raises(UnreadableError, match="not a regular file"):
        read_header(tmp_path)
    os.mkfifo(tmp_path / "pipe.map")
    with pytest.raises(UnreadableError, match="not a regular file"):
        read_header(tmp_path / "pipe.map")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_file_is_unreadable(tmp_path, make_map):
    path = make_map(tmp_path / "a.map", RAMP)
    path.chmod(0)
    with pytest.raises(UnreadableError, match="cannot be read"):
        read_header(path)


@pytest.mark.parametrize(
    ("suffix", "origin", "start", "placed", "conflict"),
    [
        (".map", (0, 0, 0), (1, 2, 3), (2, 4, 6), False),
        (".mrc", (0, 0, 0), (1, 2, 3), (2, 4, 6), False),
        (".map", (5, 5, 5), (1, 2, 3), (2, 4, 6), True),
        (".ccp4.gz", (5, 5, 5), (1, 2, 3), (2, 4, 6), True),
        (".mrc", (5, 5, 5), (1, 2, 3), (5, 5, 5), True),
        (".mrc", (2, 4, 6.01), (1, 2, 3), (2, 4, 6.01), False),
        (".mrc", (5, 0, 0), (0, 0, 0), (5, 0, 0), True),
    ],
)
def test_the_first_voxel_lies_where_viewers_put_it(tmp_path, make_map, suffix, origin, start, placed, conflict):
    path = make_map(tmp_path / f"a{suffix}", RAMP, spacing=(2, 2, 2), nstart=start, origin=origin)
    header = read_header(path)
    np.testing.assert_allclose(header.placement(), placed, rtol=1e-6)
    assert header.origin_conflict == conflict
    np.testing.assert_allclose(header.placement(".map"), np.multiply(start, 2))


def test_files_of_mrcfile_are_read_alike(tmp_path):
    for name, voxels in {"a": RAMP, "b": RAMP.astype(np.int16), "c": RAMP.astype(np.float16)}.items():
        with mrcfile.new(tmp_path / f"{name}.mrc") as mrc:
            mrc.set_data(voxels)
            mrc.voxel_size = (1.5, 2.5, 3.5)
        header = read_header(tmp_path / f"{name}.mrc")
        np.testing.assert_allclose(header.spacing, (3.5, 2.5, 1.5))
        assert np.dtype(header.dtype) == voxels.dtype
        assert header.guesses == ()


@pytest.fixture(scope="module")
def whole_map(tmp_path_factory, make_map):
    return make_map(tmp_path_factory.mktemp("whole") / "a.mrc", RAMP).read_bytes()


@settings(deadline=None, max_examples=300)
@given(damage=st.binary(max_size=8) | st.binary(min_size=1000, max_size=1100), start=st.integers(0, 1023))
def test_damaged_headers_never_surprise(whole_map, damage, start):
    damaged = damage if len(damage) > 8 else whole_map[:start] + damage + whole_map[start + len(damage) :]
    try:
        header = parse_header(damaged[:1024], path=Path("damaged.mrc"), length=len(damaged))
    except (TruncatedError, MapFormatError, UnsupportedGeometryError):
        return
    assert header.end <= len(damaged)
    assert all(np.isfinite(header.spacing))
    assert min(header.spacing) > 0


def test_real_maps_are_read_as_their_manifest_says(samu_data):
    with (samu_data / "manifest.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "map"]
    assert rows
    for row in rows:
        header = read_header(samu_data / row["file"])
        assert header.file_shape == tuple(map(int, row["shape"].split("x"))), row["file"]
        np.testing.assert_allclose(header.spacing[::-1], [float(s) for s in row["voxel_size"].split("x")], rtol=1e-3)
        assert tuple(3 - axis for axis in header.axes[::-1]) == tuple(map(int, row["axes"].split())), row["file"]
        assert header.nstart[::-1] == tuple(map(int, row["nstart"].split())), row["file"]
        np.testing.assert_allclose(header.origin[::-1], [float(o) for o in row["origin"].split()], atol=0.01)
        assert header.mode == int(row["mode"])
