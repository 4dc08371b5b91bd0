"""Ids are folder names, all different, and never leave the RUN."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samu_batch.map_names import OWN_NAMES, assign_ids, map_suffix, name_of

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
names = st.text(max_size=150) | st.sampled_from(["a", "A", "a-0", "run.json", "..", ".", "", "x" * 101, "EMD-1234"])


@given(st.lists(st.tuples(names, st.text(min_size=1)), unique_by=lambda named: named[1], max_size=20))
def test_any_names_become_different_folder_names(named):
    ids = assign_ids(named)
    assert len({map_id.casefold() for map_id in ids}) == len(named)
    for map_id, (name, _) in zip(ids, named, strict=True):
        assert NAME.fullmatch(map_id)
        assert map_id.lower() not in OWN_NAMES
        taken = sum(other.casefold() == name.casefold() for other, _ in named) > 1
        if NAME.fullmatch(name) and name.lower() not in OWN_NAMES and not taken and name not in ids:
            pytest.fail(f"{name!r} became {map_id!r}")


def test_a_name_that_looks_like_a_hashed_one_is_told_apart():
    hashed = assign_ids([("a b", "/x/a b.mrc")])[0]
    ids = assign_ids([("a b", "/x/a b.mrc"), (hashed, f"/y/{hashed}.mrc")])
    assert len(set(ids)) == 2
    assert all(NAME.fullmatch(map_id) for map_id in ids)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/a/foo.mrc", "foo"),
        ("/a/emd_1234.map.gz", "emd_1234"),
        ("/a/foo.CCP4.GZ", "foo"),
        ("/a/foo.bar.map", "foo.bar"),
        ("/a/foo", "foo"),
        ("/a/foo.mrcs", "foo.mrcs"),
        ("https://x.org/p/emd%5F3.map.gz?a=/b.mrc#c", "emd_3"),
        ("https://x.org/", ""),
    ],
)
def test_names_come_from_files(source, name):
    assert name_of(source) == name


@pytest.mark.parametrize(
    ("name", "suffix"), [("a.map.gz", ".map"), ("a.MRC", ".mrc"), ("a.ccp4", ".ccp4"), ("a.rec", ".mrc"), ("a", ".mrc")]
)
def test_a_map_keeps_its_suffix(name, suffix):
    assert map_suffix(Path("/x") / name) == suffix
