"""The paper's tables: how much of them could be read, and that nothing doubtful passes for certain."""

import re
from collections import Counter
from pathlib import Path

import pytest

tables = pytest.importorskip("samu_training.tables", reason="samu-training is not installed")

FOLDER = Path(__file__).parents[2] / "training" / "tables"
COUNTS = {"train": (247, 243, 83), "validation": (62, 62, 16), "test": (75, 75, 23), "model_building": (20, 20, 5)}
DISJOINT = ("train", "validation", "test")


def table(name):
    return tables.read_table(FOLDER / f"{name}.csv")


def whole(row):
    return None not in (row.pdb_id, row.emdb_id, row.resolution)


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_those_that_the_readme_states(name):
    rows = table(name)
    counts = len(rows), sum(map(whole, rows)), sum(bool(row.unverified) for row in rows)
    assert counts == COUNTS[name]
    line = next(line for line in (FOLDER / "README.md").read_text().splitlines() if f"`{name}.csv` |" in line)
    assert tuple(int(cell) for cell in line.split("|")[4:7]) == counts


@pytest.mark.parametrize("name", COUNTS)
def test_every_doubtful_row_is_flagged(name):
    for row in table(name):
        lost = not whole(row)
        assert ("lost" in row.unverified) == lost
        if row.pdb_id:
            assert ("O or 0" in row.unverified) == bool(re.search("[O0]", row.pdb_id)), row.name
            assert ("I or 1" in row.unverified) == bool(re.search("[I1]", row.pdb_id)), row.name


@pytest.mark.parametrize("name", COUNTS)
def test_second_character_of_a_pdb_id_is_a_letter(name):
    assert all(row.pdb_id[1].isalpha() for row in table(name) if row.pdb_id)


@pytest.mark.parametrize("name", COUNTS)
def test_resolutions_are_within_what_the_paper_states(name):
    assert all(4.0 <= row.resolution <= 7.9 for row in table(name) if row.resolution is not None)


def test_no_entry_stands_twice():
    rows = [row for name in DISJOINT for row in table(name)]
    for ids in ([row.pdb_id for row in rows if row.pdb_id], [row.emdb_id for row in rows if row.emdb_id]):
        assert [each for each, count in Counter(ids).items() if count > 1] == []


def test_entries_for_model_building_are_test_entries():
    assert set(table("model_building")) <= set(table("test"))


@pytest.mark.parametrize("line", ["60F,EMD-1234,4,", "6OFJ,EMD-12,4,", "6OFJ,EMD-1234,4 A,"])
def test_a_cell_that_is_no_id_is_refused_with_its_line(tmp_path, line):
    path = tmp_path / "table.csv"
    path.write_text(f"{','.join(tables.COLUMNS)}\n{line}\n")
    with pytest.raises(ValueError, match="line 2"):
        tables.read_table(path)
