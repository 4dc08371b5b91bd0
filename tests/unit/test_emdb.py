"""EMDB ids in every spelling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samu_batch.emdb import DEFAULT_MIRRORS, EmdbId, map_path


@given(
    number=st.integers(1, 999_999),
    prefix=st.sampled_from(["EMD", "emd", "EMDB", "emdb", "Emd"]),
    separator=st.sampled_from(["-", "_", ":", " ", "", "\u2013", "\u2212"]),
    blanks=st.sampled_from(["", " ", "\t"]),
)
def test_every_usual_spelling_is_one_id(number, prefix, separator, blanks):
    emdb_id = EmdbId(number)
    assert EmdbId.parse(f"{blanks}{prefix}{separator}{number:04d}{blanks}") == emdb_id
    assert EmdbId.parse(f"{number:04d}") == emdb_id
    assert EmdbId.parse(str(emdb_id)) == emdb_id


@pytest.mark.parametrize(
    "text",
    ["", "EMD-", "EMD-93", "93", "0000", "EMD-01234", "1234567", "EMD-12a4", "PDB-1234", "x1234", "12.34", "١٢٣٤"],
)
def test_a_typing_error_is_no_id(text):
    with pytest.raises(ValueError, match=r"EMDB id"):
        EmdbId.parse(text)


@pytest.mark.parametrize("number", [0, -1, 1_000_000])
def test_numbers_have_bounds(number):
    with pytest.raises(ValueError, match=str(number)):
        EmdbId(number)


def test_paths_below_a_mirror():
    assert map_path(EmdbId(93)) == "EMD-0093/map/emd_0093.map.gz"
    assert map_path(EmdbId(123456)) == "EMD-123456/map/emd_123456.map.gz"
    assert all(mirror.startswith("https://") and not mirror.endswith("/") for mirror in DEFAULT_MIRRORS)
