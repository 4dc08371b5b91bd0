"""Gzip: every byte verified, nothing unbounded."""

import gzip
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samu_batch import gz
from samu_batch.errors import MapFormatError, NotFoundError, StoreError, TruncatedError

CONTENT = np.random.default_rng(0).integers(0, 9, 3 << 20, dtype=np.uint8).tobytes()
ZIPPED = gzip.compress(CONTENT[: 1 << 16], 1)


@settings(deadline=None)
@given(
    parts=st.lists(st.binary(max_size=300), min_size=1, max_size=5),
    padding=st.lists(st.integers(0, 600), min_size=5, max_size=5),
)
def test_members_and_zero_padding(tmp_path_factory, parts, padding):
    path = tmp_path_factory.mktemp("gz") / "a.gz"
    zipped = b"".join(gzip.compress(part) + bytes(n) for part, n in zip(parts, padding, strict=False))
    path.write_bytes(zipped)
    target = path.with_name("a")
    unpacked = gz.unpack(path, target, limit=2000)
    assert target.read_bytes() == b"".join(parts)
    assert unpacked == gz.Unpacked(target, len(b"".join(parts)), hashlib.sha256(zipped).hexdigest())
    assert gz.check(path) == unpacked.sha256


def test_more_than_one_piece(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(CONTENT, 1))
    assert b"".join(gz.decompressed(path)) == CONTENT
    assert max(map(len, gz.decompressed(path))) <= gz.PIECE
    assert gz.beginning(path, 1024) == CONTENT[:1024]


@settings(deadline=None)
@given(length=st.integers(2, len(ZIPPED) - 1))
def test_a_truncated_file_never_counts(tmp_path_factory, length):
    path = tmp_path_factory.mktemp("gz") / "a.gz"
    path.write_bytes(ZIPPED[:length])
    with pytest.raises(TruncatedError, match=f"ends after {length} bytes"):
        gz.unpack(path, path.with_name("a"), limit=1 << 20)
    assert not path.with_name("a").exists()


@settings(deadline=None)
@given(position=st.integers(10, len(ZIPPED) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_never_counts(tmp_path_factory, position, bit):
    path = tmp_path_factory.mktemp("gz") / "a.gz"
    damaged = bytearray(ZIPPED)
    damaged[position] ^= 1 << bit
    path.write_bytes(damaged)
    with pytest.raises((MapFormatError, TruncatedError)):
        gz.unpack(path, path.with_name("a"), limit=1 << 20)
    assert not path.with_name("a").exists()


def test_garbage_behind_the_last_member_is_told(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(ZIPPED + b"garbage")
    with pytest.raises(MapFormatError, match="damaged after 65536 bytes"):
        gz.check(path)


def test_a_bomb_is_stopped_at_its_limit(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes(64 << 20)))
    with pytest.raises(MapFormatError, match="more than the 1000000 bytes"):
        gz.unpack(path, tmp_path / "a", limit=1_000_000)
    assert list(tmp_path.iterdir()) == [path]


def test_errors_say_whose_fault_it_is(tmp_path):
    with pytest.raises(NotFoundError):
        gz.check(tmp_path / "a.gz")
    path = tmp_path / "a.gz"
    path.write_bytes(ZIPPED)
    with pytest.raises(StoreError, match="cannot be written") as caught:
        gz.unpack(path, tmp_path / "none" / "a", limit=1 << 20)
    assert caught.value.errno == 2


def test_gzip_is_known_by_its_bytes_not_its_name(tmp_path):
    (tmp_path / "a.map").write_bytes(ZIPPED)
    (tmp_path / "b.map.gz").write_bytes(b"plain")
    assert gz.is_gzip(tmp_path / "a.map")
    assert not gz.is_gzip(tmp_path / "b.map.gz")
