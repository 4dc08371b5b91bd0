"""`samu-batch select` against an archive on this machine that is sometimes ill."""

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from click.testing import CliRunner

from samu_batch import asking, catalogue
from samu_batch.asking import Asker
from samu_batch.cli import cli, select
from samu_batch.download import Patience
from samu_batch.entries import BadListError, parse_entries
from samu_batch.errors import FetchError
from samu_batch.metadata import Metadata
from samu_batch.selection import COLUMNS, Criteria

NUMBERS = (93, 1234, 5678, 12345, 612345)
QUICK = Patience(tries=3, wait=0.001, longest=5.0, connect=5.0, stall=5.0)


def header(number):
    return f"EMD-{number:04d}/header/emd-{number:04d}.xml"


def map_file(number):
    return f"EMD-{number:04d}/map/emd_{number:04d}.map.gz"


@pytest.fixture
def archive(server, header_xml):
    """An archive of five entries, as a server with a listing."""

    def put(number, *, content=b"\x1f\x8b" + bytes(1000), **fields):
        server.files[header(number)] = header_xml(number, **fields)
        server.files[map_file(number)] = content
        names = [path.split("/")[0] for path in server.files if "/header/" in path]
        rows = "".join(f'<img src="/icons/folder.gif"> <a href="{name}/">{name}/</a> 2024-01-02 -\n' for name in names)
        server.files[""] = f'<a href="/pub/emdb/">Parent Directory</a>\n{rows}<a href="EMD-x/">EMD-x/</a>'.encode()

    server.put = put
    for number in NUMBERS:
        put(number)
    return server


@pytest.fixture
def run(archive, tmp_path, monkeypatch):
    """Run `samu-batch select` on the archive."""
    monkeypatch.setattr(asking, "PATIENCE", QUICK)

    def call(*arguments, mirrors=None, status=0):
        archive.asked.clear()
        archive.counts.clear()
        sources = [word for mirror in mirrors or [archive.url] for word in ("--mirror", str(mirror))]
        words = ["select", *map(str, arguments), *sources, "--cache", str(tmp_path / "cache")]
        result = CliRunner().invoke(cli, words)
        assert result.exit_code == status, result.output
        return result

    return call


def rows(result):
    first, *lines = result.stdout.splitlines()
    assert tuple(first.split(",")) == COLUMNS
    return {line.split(",")[0]: dict(zip(COLUMNS, line.split(","), strict=True)) for line in lines}


def asked(archive):
    return [path for path, _, _ in archive.asked]


def test_the_list_has_what_plan_needs(run, archive, tmp_path):
    out = tmp_path / "emdb_list.txt"
    result = run("-o", out)
    assert result.stdout == ""
    assert result.stderr == "5 of 5 entries listed, 0.00 GB to fetch\n"
    first, second, *_ = out.read_text().splitlines()
    assert first == "id,resolution,contour,box,voxel,method,released,updated,download,unpacked"
    row = "EMD-0093,4.2,0.025,120x110x100,1.05x1.05x1.05,singleParticle,2020-01-01,2021-02-03,1002,5281024"
    assert second == row
    entries = parse_entries([str(out)])
    assert [entry.id for entry in entries] == ["EMD-0093", "EMD-1234", "EMD-5678", "EMD-12345", "EMD-612345"]
    assert entries[0].columns == dict(zip(COLUMNS[1:], row.split(",")[1:], strict=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "emdb_list.txt"]


def test_plan_says_the_same_before_and_after_the_map_is_fetched(run, archive, tmp_path, make_map):
    voxels = np.random.default_rng(0).random((60, 70, 110), dtype=np.float32)
    path = make_map(tmp_path / "m.map", voxels, spacing=(1.5, 1.2, 0.97), axes=(1, 0, 2))
    content = gzip.compress(path.read_bytes())
    fields = {"axes": "XZY", "dimensions": (110, 60, 70), "sampling": (110, 70, 60), "cell": (106.7, 84.0, 90.0)}
    archive.put(1234, content=content, **fields)
    out = tmp_path / "list.csv"
    run("--ids", "1234", "-o", out)
    options = ["--engine", "identity", "--cache", str(tmp_path / "cache"), "--json"]
    before = json.loads(CliRunner().invoke(cli, ["plan", str(out), *options]).stdout)
    fetched = tmp_path / "cache" / map_file(1234)
    fetched.parent.mkdir(parents=True)
    fetched.write_bytes(content)
    after = json.loads(CliRunner().invoke(cli, ["plan", str(out), *options]).stdout)
    assert (before["shape"], before["download"], after["download"]) == ([90, 84, 107], len(content), 0)
    for unlike in ("download", "seconds"):  # seconds are measured each time
        del before[unlike], after[unlike]
    assert before == after


def test_broken_entries_are_told_and_harm_no_other(run, archive, header_xml, monkeypatch):
    monkeypatch.setattr(catalogue, "HEADER_BYTES", 50_000)
    for number in range(2001, 2010):
        archive.put(number)
    files = archive.files
    files[header(2001)] = files[header(2001)][:1000]
    files[header(2002)] = b"<html>down for maintenance</html>"
    files[header(2003)] = header_xml(9999)
    files[header(2004)] += b" " * 50_000
    files[header(2005)] = b""
    del files[map_file(2006)]
    manners = {2007: {"cut": 500}, 2008: (302, {"Location": f"/{header(2008)}"}), 2009: (403, {})}
    manners = {header(number): manner for number, manner in manners.items()}
    archive.manner = lambda path, number: manners.get(path, {})
    del files[header(1234)]
    result = run(status=1)
    assert list(rows(result)) == ["EMD-0093", "EMD-5678", "EMD-12345", "EMD-612345"]
    lines = dict(line.split(": ", 1) for line in result.stderr.splitlines()[:-1])
    assert sorted(lines) == [
        *("EMD-1234 not-found", "EMD-2001 unreadable", "EMD-2002 unreadable", "EMD-2003 unreadable"),
        *("EMD-2004 fetch", "EMD-2005 unreadable", "EMD-2006 not-found", "EMD-2007 fetch"),
        *("EMD-2008 fetch", "EMD-2009 fetch"),
    ]
    assert "it has a header, but no map" in lines["EMD-2006 not-found"]
    assert result.stderr.splitlines()[-1] == (
        "4 of 14 entries listed, 0.00 GB to fetch; 10 failed (unreadable 4, fetch 4, not-found 2)"
    )
    run("--max-failures", 10)


def test_what_was_asked_is_not_asked_again(run, archive):
    archive.put(5678, resolution='<resolution res_type="BY AUTHOR" units="Å">3.1</resolution>')
    first = run()
    # Only the files that are listed are measured.
    assert sorted(asked(archive)) == sorted(["", *map(header, NUMBERS), *map(map_file, {*NUMBERS} - {5678})])
    assert run().stdout == first.stdout
    assert asked(archive) == [""]
    assert list(rows(run("--resolution", ":3.5"))) == ["EMD-5678"]
    assert sorted(asked(archive)) == ["", map_file(5678)]
    assert run("--offline").stdout == first.stdout
    assert asked(archive) == []


def test_a_run_that_was_killed_goes_on(archive, tmp_path):
    numbers = range(3000, 3040)
    for number in numbers:
        archive.put(number)
    reached = threading.Event()

    def manner(path, number):
        if path == header(3030):
            reached.set()
            return {"cut": 10, "stall": True}
        return {}

    archive.manner = manner
    words = ["select", "--mirror", archive.url, "--cache", tmp_path / "cache", "-o", tmp_path / "list.txt"]
    words = [sys.executable, "-m", "samu_batch", *words, "--connections", "2"]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    assert reached.wait(60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {path.stem for path in (tmp_path / "cache/metadata").glob("EMD-*.json")}
    assert len(kept) > 10
    assert not (tmp_path / "list.txt").exists()
    archive.manner = lambda path, number: {}
    archive.asked.clear()
    subprocess.run(words, check=True, capture_output=True)
    assert not kept & {path.split("/")[0] for path in asked(archive) if "/header/" in path}
    assert len(parse_entries([str(tmp_path / "list.txt")])) == len(NUMBERS) + len(numbers)


def test_a_damaged_record_is_asked_for_again(run, archive, tmp_path):
    first = run()
    for number, content in ((1234, '{"schema": 1'), (5678, '{"schema": 1, "metadata": {"x": 1}}'), (93, "[]")):
        (tmp_path / "cache/metadata" / f"EMD-{number:04d}.json").write_text(content)
    assert run().stdout == first.stdout
    assert {path for path in asked(archive) if "/header/" in path} == set(map(header, (93, 1234, 5678)))


def test_the_weekly_release(run, archive, tmp_path):
    run()
    archive.put(93, updated="2024-05-01", resolution="<resolution>4.5</resolution>")
    archive.put(4444, released="2024-05-01", updated="2024-05-01")
    archive.manner = lambda path, number: {"date": "Wed, 01 May 2024 00:00:00 GMT"} if path == header(93) else {}
    # What was asked within a day is trusted ...
    assert list(rows(run("--since", "2024-05-01"))) == ["EMD-4444"]
    # ... and later every entry is asked about, while only what was revised is sent again.
    found = rows(run("--since", "2024-05-01", "--max-age", 0))
    assert {name: row["resolution"] for name, row in found.items()} == {"EMD-0093": "4.5", "EMD-4444": "4.2"}
    assert set(map(header, (*NUMBERS, 4444))) <= set(asked(archive))
    assert {path for path in asked(archive) if "/map/" in path} == {map_file(93)}
    assert rows(run("--since", "2024-05-02", "--max-age", 0)) == {}


def test_an_empty_selection_is_an_empty_list(run, archive, tmp_path):
    run("--since", "2099-01-01", "-o", tmp_path / "list.txt")
    with pytest.raises(BadListError, match="the list is empty"):
        parse_entries([str(tmp_path / "list.txt")])


@pytest.mark.parametrize("ill", [{}, None, b"<html/>"], ids=["not there", "dead", "something else"])
def test_the_next_mirror_is_asked(run, archive, ill):
    if isinstance(ill, bytes):
        archive.files |= {f"ill/{header(number)}": ill for number in NUMBERS}
    first = "http://127.0.0.1:9" if ill is None else f"{archive.url}/ill"
    assert len(rows(run(mirrors=[first, archive.url]))) == len(NUMBERS)


def test_a_dead_server_is_not_tried_for_each_entry_again(run, archive):
    archive.manner = lambda path, number: (503, {}) if path in map(header, NUMBERS[:2]) and not number else {}
    assert len(rows(run())) == len(NUMBERS)  # busy for a moment
    with Asker(connections=1, patience=QUICK) as asker:
        for _ in range(2):
            with pytest.raises(FetchError) as caught:
                asker.length("http://127.0.0.1:9/map")
    assert "a moment ago" in str(caught.value)


@pytest.mark.parametrize("answer", [(503, {}), (403, {})], ids=["busy for ever", "refusing"])
def test_a_server_that_fails_everything_is_one_event(run, archive, answer):
    for number in range(3000, 3100):
        archive.put(number)
    archive.manner = lambda path, number: answer if path else {}
    assert "did not answer a moment ago" in run("--connections", 2, status=75).stderr
    assert len(asked(archive)) < 30 * QUICK.tries


def test_where_no_server_answers_no_list_is_written(run, archive, tmp_path):
    out = tmp_path / "list.txt"
    options = ("--ids", "1234", "--ids", "5678", "-o", out)
    result = run(*options, mirrors=["http://127.0.0.1:9"], status=75)
    assert "no LIST was written" in result.stderr
    assert not out.exists()
    run("-o", out, mirrors=["http://127.0.0.1:9"], status=75)
    run("--offline", status=2)
    assert "where there is a network" in run("--ids", "1234", "--offline", status=1).stderr


def test_a_server_that_asks_for_silence_gets_it_from_all(archive):
    times = {}

    def manner(path, number):
        times.setdefault(path, []).append(time.monotonic())
        return (429, {"Retry-After": "1"}) if path == header(93) and not number else {}

    archive.manner = manner
    with Asker(connections=2, patience=QUICK) as asker:
        first = threading.Thread(target=asker.get, args=(f"{archive.url}/{header(93)}",), kwargs={"largest": 10_000})
        first.start()
        while not asker._quiet_until:
            time.sleep(0.001)
        assert asker.length(f"{archive.url}/{map_file(93)}") == 1002
        first.join()
    begin, again = times[header(93)]
    assert min(again, *times[map_file(93)]) - begin >= 1


def test_a_server_that_asks_for_too_much_silence_is_a_failure(run, archive):
    archive.manner = lambda path, number: (429, {"Retry-After": "9999"}) if path == header(93) else {}
    assert "EMD-0093 fetch" in run(status=1).stderr


def test_no_more_questions_at_once_than_agreed(run, archive):
    lock, now, most = threading.Lock(), 0, 0

    def manner(path, number):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1
        return {}

    for number in range(3000, 3030):
        archive.put(number)
    archive.manner = manner
    run("--connections", 3)
    assert 1 < most <= 3


def test_a_size_that_no_mirror_tells_is_left_open(run, archive):
    archive.manner = lambda path, number: {"no length": True} if path == map_file(93) else {}
    result = run()
    assert (rows(result)["EMD-0093"]["download"], rows(result)["EMD-1234"]["download"]) == ("", "1002")
    assert "and 1 of unknown size" in result.stderr


def test_a_local_folder_is_a_mirror(run, archive, tmp_path):
    root = tmp_path / "mirror"
    for path, content in archive.files.items():
        if path:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
    from_server = run().stdout
    assert run("--offline", mirrors=[root]).stdout == from_server
    (root / header(93)).write_bytes(b"<emd")
    assert str(root / header(93)) in run(mirrors=[root], status=1).stderr
    assert asked(archive) == []
    run(mirrors=[tmp_path / "none"], status=2)


def test_the_api_is_asked_for_metadata_and_the_mirror_for_the_size(run, archive):
    for number in NUMBERS:
        answer = {"emdb_id": f"EMD-{number:04d}", "map": {"dimensions": {"col": 1, "row": 2, "sec": 3}}}
        archive.files[f"api/entry/EMD-{number:04d}"] = json.dumps(answer).encode()
    archive.files["api/entry/EMD-1234"] = b"Service Unavailable"
    result = run("--source", "rest", "--api", f"{archive.url}/api/", "--resolution", ":", status=1)
    assert {row["box"] for row in rows(result).values()} == {"1x2x3"}
    assert {row["download"] for row in rows(result).values()} == {"1002"}
    assert "EMD-1234 unreadable" in result.stderr
    assert not any("/header/" in path for path in asked(archive))


def test_only_these_entries(run, archive, tmp_path):
    (tmp_path / "ids.txt").write_text("emd_1234\n# no more\nEMD-5678\n")
    assert list(rows(run("--ids", tmp_path / "ids.txt", "--ids", "12345"))) == ["EMD-1234", "EMD-5678", "EMD-12345"]
    assert "" not in asked(archive)


@pytest.mark.parametrize(
    "words",
    [
        ("--resolution", "8:4"), ("--resolution", "4"), ("--resolution", "a:b"), ("--since", "last week"),
        ("--method", "nmr"), ("--max-box", "0"), ("--ids", "no-id"), ("--ids", "map.mrc"), ("--connections", "1000"),
    ],
)  # fmt: skip
def test_a_wrong_command_asks_nothing(run, archive, words):
    run(*words, status=2)
    assert asked(archive) == []


def test_the_cache_cannot_be_written(run, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/metadata").write_text("a file")
    assert "cannot be written" in run(status=75).stderr


def test_the_time_that_is_left_is_told(run, monkeypatch):
    monkeypatch.setattr(select, "HEARTBEAT_SECONDS", 0.0)
    assert "[4 of 5 entries asked for; about 0 s left]" in run().stderr
    assert "about" not in run("--max-age", 0, "--quiet").stderr


ENTRY = Metadata(
    id="EMD-1234", status="REL", released="2020-01-01", updated="2021-02-03", method="singleParticle",
    resolution=4.0, box=(100, 110, 120), spacing=(1.0, 1.0, 1.0),
)  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "entry", "objection"),
    [
        ({"finest": 4.0, "coarsest": 8.0}, {}, None),
        ({"finest": 2.0, "coarsest": 4.0}, {}, None),
        ({"finest": 4.01}, {}, "another resolution"),
        ({"coarsest": 3.99}, {}, "another resolution"),
        ({"coarsest": 3.99}, {"resolution": None}, "no resolution given"),
        ({}, {"resolution": None}, None),
        ({}, {"status": "OBS"}, "not released"),
        ({"methods": ("helical", "single-particle")}, {}, None),
        ({"methods": ("subtomogram-averaging",)}, {"method": "subtomogramAveraging"}, None),
        ({"methods": ("helical",)}, {}, "another method"),
        ({"max_box": 120}, {}, None),
        ({"max_box": 119}, {}, "larger box"),
        ({"max_box": 119}, {"box": None}, "no box given"),
        ({"since": date(2021, 2, 3)}, {}, None),
        ({"since": date(2021, 2, 4)}, {}, "older"),
        ({"since": date(2019, 1, 1)}, {"updated": ""}, None),
        ({"since": date(2019, 1, 1)}, {"updated": "", "released": ""}, "older"),
    ],
)
def test_criteria(wanted, entry, objection):
    assert Criteria(**wanted).objection(replace(ENTRY, **entry)) == objection


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_header_that_may_not_be_read(run, archive, tmp_path):
    path = tmp_path / "mirror" / header(93)
    path.parent.mkdir(parents=True)
    path.write_bytes(archive.files[header(93)])
    path.chmod(0)
    assert "EMD-0093 unreadable" in run(mirrors=[path.parents[2]], status=1).stderr
