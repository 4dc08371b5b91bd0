"""The RUN: what it records, refuses and rebuilds; the receipts are the only truth."""

import json

import pytest

from samu_batch.entries import Entry, parse_entries
from samu_batch.model import identity_spec
from samu_batch.run_directory import RunDirectory, RunMismatchError, output_suffix, read_receipt
from samu_batch.task import MapOptions, MapReport

SPEC = identity_spec()
OPTIONS = MapOptions(model="identity")


def entry(name, source=None, kind="file", **columns):
    return Entry(id=name, source=source or f"/maps/{name}.mrc", kind=kind, columns=columns)


def begun(path, *entries, options=OPTIONS, spec=SPEC):
    run = RunDirectory(path)
    run.begin(entries, spec=spec, options=options, version="0.1.0")
    return run


def receive(run, entry, kind="done", message=""):
    task = run.task(entry, OPTIONS)
    task.receipt.parent.mkdir(parents=True, exist_ok=True)
    task.receipt.write_text(MapReport(id=entry.id, entry=entry, kind=kind, message=message).to_json())


def test_it_records_what_was_asked_for(tmp_path):
    run = begun(tmp_path / "run", entry("a"), entry("b", contour="0.3"))
    settings = run.settings
    assert settings["version"] == "0.1.0"
    assert settings["model"] == {"name": "identity", "sha256": SPEC.sha256}
    assert settings["options"] == {"grid": "input", "format": "map"}
    assert run.entries == [entry("a"), entry("b", contour="0.3")]


def test_a_second_list_is_added(tmp_path):
    begun(tmp_path, entry("a"))
    first = RunDirectory(tmp_path).settings["begun"]
    run = begun(tmp_path, entry("b"))
    assert [e.id for e in run.entries] == ["a", "b"]
    assert run.settings["begun"] == first


def test_ids_of_a_run_stay_and_a_newcomer_never_takes_one(tmp_path):
    run = begun(tmp_path, entry("a"), entry("b"))
    same, other, new = entry("x", "/maps/a.mrc"), entry("A", "/else/A.mrc"), entry("c")
    first, second, third = run.adopt([same, other, new])
    assert (first.id, first.source) == ("a", "/maps/a.mrc")
    assert second.id.startswith("A-")
    assert third == new
    run.begin([first, second, third], spec=SPEC, options=OPTIONS, version="0.1.0")
    assert run.adopt([other]) == [second]
    assert len(run.entries) == 4


def test_the_same_again_does_not_touch_the_file(tmp_path):
    begun(tmp_path, entry("a"))
    before = (tmp_path / "run.json").stat().st_mtime_ns
    begun(tmp_path, entry("a"))
    assert (tmp_path / "run.json").stat().st_mtime_ns == before


def test_another_model_or_option_is_refused_once_something_is_done(tmp_path):
    run = begun(tmp_path, entry("a"))
    other = identity_spec(core=40)
    run.check(other, MapOptions(model="identity", grid="model"))  # nothing is done yet: nothing to mix
    receive(run, entry("a"))
    run.check(SPEC, OPTIONS)
    with pytest.raises(RunMismatchError, match="made with model identity"):
        run.check(other, OPTIONS)
    with pytest.raises(RunMismatchError, match="--grid input, now model"):
        run.check(SPEC, MapOptions(model="identity", grid="model"))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 99}', "null"])
def test_a_damaged_run_json_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunMismatchError, match=r"run\.json"):
        _ = RunDirectory(tmp_path).settings


@pytest.mark.parametrize("text", ["", "{", '{"id": 1}', "[1]"])
def test_a_damaged_receipt_is_none(tmp_path, text):
    (tmp_path / "receipt.json").write_text(text)
    assert read_receipt(tmp_path / "receipt.json") is None
    assert read_receipt(tmp_path / "receipt.json" / "below") is None


def failed(run):
    return [report for report in run.receipts() if not report.done]


def test_failed_txt_is_rebuilt_from_the_receipts(tmp_path):
    run = begun(tmp_path, entry("a"), entry("b"), entry("EMD-1234", "EMD-1234", "emdb"), entry("d"))
    receive(run, entry("a"))
    receive(run, entry("b"), "truncated", "short\n by 7")
    receive(run, entry("EMD-1234", "EMD-1234", "emdb"), "fetch", "no answer")
    run.write_failed(failed(run))
    lines = (tmp_path / "failed.txt").read_text().splitlines()
    assert lines == ["/maps/b.mrc  # truncated: short by 7", "EMD-1234  # fetch: no answer"]
    receive(run, entry("b"))
    receive(run, entry("EMD-1234", "EMD-1234", "emdb"))
    run.write_failed(failed(run))
    assert not (tmp_path / "failed.txt").exists()


@pytest.mark.parametrize("name", ["x #y", "new\nline", " blank", "bad\udcff", "a,map", "plain", "ünï", "semi;colon"])
def test_failed_txt_is_a_list_of_the_same_maps_whatever_their_names(tmp_path, name):
    odd = entry("odd", f"/maps/{name}.mrc".replace("/ ", "/ "), contour="0.1")
    sane = entry("sane")
    run = begun(tmp_path, odd, sane)
    receive(run, odd, "truncated", "a # b, 'c'")
    receive(run, sane, "truncated", "short")
    run.write_failed(failed(run))
    read = parse_entries([str(tmp_path / "failed.txt")], run_entries=lambda path: RunDirectory(path).entries)
    # What a line cannot say is left to `--retry-failed` on the RUN, never said wrongly.
    assert read in ([odd, sane], [sane])
    assert read == [odd, sane] or name not in ("plain", "ünï", "semi;colon", "a,map")


def test_only_a_list_inside_a_run_means_that_run(tmp_path, monkeypatch):
    begun(tmp_path, entry("a"))
    (tmp_path / "failed.txt").write_text("a.mrc\n")
    (tmp_path / "a.mrc").write_bytes(b"")
    assert RunDirectory.holding(str(tmp_path)).path == tmp_path
    assert RunDirectory.holding(str(tmp_path / "failed.txt")).path == tmp_path
    assert RunDirectory.holding(str(tmp_path / "a.mrc")) is None
    monkeypatch.chdir(tmp_path)
    assert RunDirectory.holding("EMD-1234") is None
    assert RunDirectory.holding("x" * 300 + ".mrc") is None


@pytest.mark.parametrize(
    ("source", "kind", "grid", "suffix"),
    [
        ("/a/b.map.gz", "file", "input", ".map"),
        ("/a/b.CCP4", "file", "input", ".ccp4"),
        ("/a/b.mrc", "file", "input", ".mrc"),
        ("/a/b.map", "file", "model", ".mrc"),
        ("EMD-1234", "emdb", "input", ".map"),
        ("https://x.org/b.map.gz?c=d.mrc", "url", "input", ".map"),
    ],
)
def test_the_output_has_the_suffix_by_which_viewers_place_it(source, kind, grid, suffix):
    assert output_suffix(entry("b", source, kind), MapOptions(model="m", grid=grid)) == suffix


def test_run_json_is_json_for_any_name(tmp_path):
    begun(tmp_path, entry("odd", "/maps/bad\udcff.mrc"))
    assert json.loads((tmp_path / "run.json").read_bytes())["list"][0]["source"] == "/maps/bad\udcff.mrc"
