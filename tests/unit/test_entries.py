"""What users name: every spelling once, every bad line shown."""

import io
import logging
import os
import threading

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from samu_batch.entries import SHOWN, BadListError, Entry, parse_entries


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Each test runs in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def ids(*arguments, **options):
    return [entry.id for entry in parse_entries(arguments, **options)]


def bad(*arguments, **options):
    with pytest.raises(BadListError) as caught:
        parse_entries(arguments, **options)
    return caught.value


def test_a_list_has_comments_blank_lines_and_any_spelling(here):
    (here / "list.txt").write_text(
        "# a comment\n\nEMD-1234\n  emd_0093   # why\nemdb:123456\r\n5678\nmaps/a.mrc\nhttps://x.org/b.map.gz?v=1#2\n"
    )
    assert parse_entries(["list.txt"]) == [
        Entry("EMD-1234", "EMD-1234", "emdb", line=3),
        Entry("EMD-0093", "EMD-0093", "emdb", line=4),
        Entry("EMD-123456", "EMD-123456", "emdb", line=5),
        Entry("EMD-5678", "EMD-5678", "emdb", line=6),
        Entry("a", str(here / "maps/a.mrc"), "file", line=7),
        Entry("b", "https://x.org/b.map.gz?v=1#2", "url", line=8),
    ]


@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_a_table_adds_columns(here, separator):
    rows = [
        ["ID", "Map", "contour", "structure", "resolution", "remark"],
        ["good one", "x.mrc", "-0.5", "x.pdb", "4.2", "nice"],
        ["", "EMD-1234", "", "", "", ""],
        ["emd_5678", "", "1e-3", "", ""],
    ]
    (here / "list.csv").write_text("\ufeff# made by hand\n" + "\n".join(map(separator.join, rows)) + "\n")
    first, second, third = parse_entries(["list.csv"])
    assert first.id.startswith("good_one-")
    assert first.source == str(here / "x.mrc")
    assert first.columns == {"contour": "-0.5", "structure": str(here / "x.pdb"), "resolution": "4.2", "remark": "nice"}
    assert (second.id, second.columns, second.line) == ("EMD-1234", {}, 4)
    assert (third.id, third.columns) == ("EMD-5678", {"contour": "1e-3"})


def test_a_table_may_have_one_column_and_quoted_cells(here):
    (here / "list.csv").write_text('map\n"a, b.mrc"\n')
    assert parse_entries(["list.csv"])[0].source == str(here / "a, b.mrc")


def test_paths_are_relative_to_their_list(here):
    (here / "lists").mkdir()
    (here / "lists/list.txt").write_text("a.mrc\n../b.map\n/c/d.ccp4\n")
    assert [entry.source for entry in parse_entries(["lists/list.txt", "e.mrc"])] == [
        str(here / "lists/a.mrc"),
        str(here / "b.map"),
        "/c/d.ccp4",
        str(here / "e.mrc"),
    ]


def test_home_is_where_the_user_lives(here, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    (here / "list.txt").write_text("~/a.mrc\n~nobody-of-this-name/b.mrc\n")
    first, second = parse_entries(["list.txt"])
    assert first.source == "/home/ada/a.mrc"
    assert second.source == str(here / "~nobody-of-this-name/b.mrc")


def test_duplicates_in_any_spelling_run_once(here):
    (here / "a.mrc").write_bytes(b"\0")
    (here / "link.mrc").symlink_to("a.mrc")
    (here / "list.txt").write_text("EMD-1234\nemd_1234\n1234\nEMDB-1234\na.mrc\n./a.mrc\nlink.mrc\n")
    assert ids("list.txt", "emdb:1234", str(here / "a.mrc")) == ["EMD-1234", "a"]


def test_what_would_share_a_folder_is_told_apart(here):
    names = ids("x/a.mrc", "y/a.mrc", "z/A.map", "b.mrc", "EMD-1234.map", "EMD-1234")
    assert len({name.casefold() for name in names}) == 6
    assert names[3] == "b"
    assert [name.rsplit("-", 1)[0] for name in names] == ["a", "a", "A", "b", "EMD-1234", "EMD-1234"]
    # The order of the list does not matter.
    assert sorted(ids("EMD-1234", "y/a.mrc", "b.mrc", "x/a.mrc", "EMD-1234.map", "z/A.map")) == sorted(names)


def test_a_bare_number_that_is_a_file_is_the_file(here, caplog):
    (here / "1234").write_bytes(b"\0\0")
    (here / "5678").mkdir()
    with caplog.at_level(logging.WARNING, logger="samu_batch"):
        entries = parse_entries(["1234", "5678", "EMD-1234"])
    assert [(entry.kind, entry.source) for entry in entries] == [
        ("file", str(here / "1234")),
        ("emdb", "EMD-5678"),
        ("emdb", "EMD-1234"),
    ]
    assert "write EMD-1234 for the EMDB entry" in caplog.text


def test_an_id_stays_an_id_beside_a_folder_of_that_name(here):
    (here / "EMD-1234").mkdir()
    assert parse_entries(["EMD-1234"])[0].kind == "emdb"


def test_a_missing_map_is_no_bad_line():
    assert ids("none/a.mrc", "b.map.gz", "none/noise") == ["a", "b", "noise"]


def test_a_list_needs_no_suffix_and_may_come_through_a_pipe(here):
    (here / "mylist").write_text("EMD-1234\n")
    os.mkfifo(here / "pipe")
    writer = threading.Thread(target=lambda: (here / "pipe").write_text("EMD-5678\n"))
    writer.start()
    assert ids("mylist", "pipe") == ["EMD-1234", "EMD-5678"]
    writer.join()


def test_a_list_on_standard_input(here):
    assert ids("-", stdin=io.StringIO("EMD-1234\na.mrc\n")) == ["EMD-1234", "a"]
    assert parse_entries(["-"], stdin=io.StringIO("a.mrc\n"))[0].source == str(here / "a.mrc")
    assert "standard input line 2" in str(bad("-", stdin=io.StringIO("EMD-1234\nnonsense\n")))


def test_a_run_stands_for_its_list(here):
    (here / "run").mkdir()
    (here / "run/run.json").write_text("{}")
    listed = [Entry("EMD-1234", "EMD-1234", "emdb", {"contour": "1"}, 4), Entry("a-0123abcd", "/x/a.mrc", "file")]
    assert parse_entries(["run"], run_entries=lambda path: listed if path.name == "run" else []) == listed


def test_a_list_inside_a_run_keeps_the_ids_of_the_run(here):
    (here / "run").mkdir()
    (here / "run/run.json").write_text("{}")
    (here / "run/failed.txt").write_text("/x/a.mrc  # truncated: 5 bytes\nEMD-1234  # fetch: no\n")
    listed = [
        Entry("EMD-1234", "EMD-1234", "emdb", {"contour": "1"}, 4),
        Entry("a-0123abcd", "/x/a.mrc", "file"),
        Entry("a-89abcdef", "/y/a.mrc", "file"),
    ]
    assert parse_entries(["run/failed.txt"], run_entries=lambda _: listed) == [listed[1], listed[0]]


BAD_LINES = {
    "EMD-12": "4 to 6 digits",
    "emd-1234x": "4 to 6 digits",
    "nonsense": "nor the path of a map",
    "EMD-1234, EMD-5678": "header",
    "other.txt": "nor the path of a map",
    "lists/other.txt": "a list, where a map is expected",
    "ftp://x.org/a.map": "https or http",
    "https://": "https or http",
    "https://[::1/a.map": "https or http",
    "https://x.org:port/a.map": "https or http",
    "folder/": "a folder",
    "folder": "a folder",
    "notes": "write ./notes",
    "9" * 300: "EMDB id",
    "-": "nor the path of a map",
}


@pytest.mark.parametrize(("line", "reason"), BAD_LINES.items())
def test_a_bad_line_is_shown_with_its_number_and_reason(here, line, reason):
    (here / "folder").mkdir()
    (here / "notes").write_text("text")
    (here / "list.txt").write_text(f"EMD-1234\n{line}\n")
    error = bad("list.txt")
    assert "list.txt line 2" in str(error)
    assert reason in error.problems[0].reason


BAD_ROWS = {
    "a.mrc,x,,": "contour 'x'",
    "a.mrc,,nan,": "resolution 'nan'",
    "a.mrc,,-4,": "resolution '-4'",
    "a.mrc,1,4,s,5": "5 cells under a header of 4",
    ",1,4,": "no map",
}


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS.items())
def test_a_bad_row_of_a_table(here, row, reason):
    (here / "list.csv").write_text(f"map,contour,resolution,structure\nEMD-1234\n{row}\n")
    error = bad("list.csv")
    assert error.problems[0].where == "list.csv line 3"
    assert reason in error.problems[0].reason


def test_a_header_that_repeats_a_name_is_bad(here):
    (here / "list.csv").write_text("map,contour,contour\n")
    assert "twice" in str(bad("list.csv"))


def test_the_first_bad_lines_are_shown_in_order_with_a_count(here):
    (here / "list.csv").write_text("map,contour\n" + "bad\nEMD-1234,worse\n" * 15)
    error = bad("list.csv")
    assert isinstance(error, ValueError)
    assert len(error.problems) == 30
    lines = str(error).splitlines()
    assert lines[0] == "30 bad lines, nothing was run"
    assert [line.split(":")[0] for line in lines[1:-1]] == [f"list.csv line {n}" for n in range(2, 2 + SHOWN)]
    assert lines[-1] == "... and 10 more"


def test_an_empty_list_is_an_error(here):
    (here / "list.txt").write_text("# nothing\n\n")
    assert "no entries" in str(bad("list.txt"))
    assert "no entries" in str(bad())


def test_a_list_that_cannot_be_read_is_an_error(here):
    (here / "list.txt").write_bytes(b"EMD-1234\n\xff\xfe\n")
    assert "not UTF-8 text at byte 9" in str(bad("list.txt"))
    assert "No such file" in str(bad("none.txt"))
    (here / "folder.csv").mkdir()
    assert "Is a directory" in str(bad("folder.csv"))


PIECES = st.sampled_from(
    ["EMD-", "1234", "map", "id", ",", "\t", ";", "#", " ", '"', "'", "/", "..", "~", "://", "https", ".mrc"]
)


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(lines=["a carriage\rreturn"])
@given(lines=st.lists(st.lists(PIECES | st.text(max_size=5), max_size=8).map("".join), max_size=8))
def test_any_text_gives_entries_or_one_error(here, lines):
    try:
        entries = parse_entries(["-"], stdin=io.StringIO("\n".join(lines)))
    except BadListError:
        return
    assert len({entry.id for entry in entries}) == len(entries)
    for entry in entries:
        assert entry.source
        assert "/" not in entry.id
