"""Downloads from a server on this machine that cuts, stalls, lies and refuses."""

import gzip
import hashlib
import json
import multiprocessing
import socket
import time
from email.utils import formatdate

import numpy as np
import pytest

from samu_batch.download import Patience, UnreachableError
from samu_batch.entries import Entry
from samu_batch.errors import FetchError, NotFoundError, StoreError
from samu_batch.fetch import archive_revision, cached_map, fetch_map

CONTENT = gzip.compress(np.random.default_rng(0).bytes(600_000), 1, mtime=0)
PATH = "EMD-1234/map/emd_1234.map.gz"
ENTRY = Entry("EMD-1234", "EMD-1234", "emdb")
QUICK = Patience(tries=3, wait=0.001, longest=5.0, connect=5.0, stall=0.5)


@pytest.fixture
def server(server):
    server.files[PATH] = CONTENT
    return server


@pytest.fixture
def fetch(server, tmp_path):
    """Fetch EMD-1234 from the server into a cache."""

    def run(*, entry=ENTRY, mirrors=None, patience=QUICK, **options):
        mirrors = [server.url] if mirrors is None else mirrors
        return fetch_map(entry, tmp_path / "cache", mirrors=mirrors, patience=patience, **options)

    return run


def left_over(path):
    return sorted(each.name for each in path.parent.iterdir())


def test_a_map_arrives_with_its_notes(server, fetch, tmp_path):
    seen = []
    path = fetch(progress=lambda have, total: seen.append((have, total)))
    assert path == tmp_path / "cache" / PATH
    assert path.read_bytes() == CONTENT
    assert left_over(path) == ["emd_1234.map.gz", "emd_1234.map.gz.json"]
    notes = json.loads(path.with_name(path.name + ".json").read_text())
    assert notes == {
        "url": f"{server.url}/{PATH}",
        "etag": f'"{hashlib.sha256(CONTENT).hexdigest()[:8]}"',
        "last_modified": "Wed, 01 Jan 2025 00:00:00 GMT",
        "length": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
    }
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [have for have, _ in seen] == sorted(have for have, _ in seen)


def test_what_is_in_the_cache_is_not_asked_for_again(server, fetch, tmp_path):
    assert cached_map(ENTRY, tmp_path / "cache") is None
    path = fetch()
    assert fetch() == fetch(offline=True) == cached_map(ENTRY, tmp_path / "cache") == path
    assert len(server.asked) == 1


@pytest.mark.parametrize("stalls", [False, True])
def test_a_broken_download_goes_on_where_it_stopped(server, fetch, stalls):
    etag = f'"{hashlib.sha256(CONTENT).hexdigest()[:8]}"'
    server.manner = lambda path, number: {"cut": 100_000 * (number + 1), "stall": stalls} if number < 4 else {}
    assert fetch().read_bytes() == CONTENT
    assert [begin for _, begin, _ in server.asked] == [None, *(f"bytes={n}00000-" for n in range(1, 5))]
    assert {condition for _, _, condition in server.asked[1:]} == {etag}


def test_a_stopped_process_is_resumed_by_the_next(server, fetch):
    server.manner = lambda path, number: {"cut": 300_000}
    with pytest.raises(FetchError, match="300000 bytes received"):
        fetch()
    server.manner = lambda path, number: {}
    assert fetch().read_bytes() == CONTENT
    assert server.asked[-1][1] == "bytes=300000-"


def test_a_file_that_changed_meanwhile_is_begun_anew(server, fetch):
    server.manner = lambda path, number: {"cut": 300_000}
    with pytest.raises(FetchError):
        fetch()
    server.files[PATH] = gzip.compress(bytes(5000))
    server.manner = lambda path, number: {}
    assert fetch().read_bytes() == server.files[PATH]


def test_a_server_without_ranges_or_with_weak_tags_begins_anew(server, fetch):
    server.manner = lambda path, number: {"cut": 300_000} if number == 0 else {"no ranges": True}
    assert fetch().read_bytes() == CONTENT


def test_another_part_than_was_asked_for_is_not_taken(server, fetch):
    server.manner = lambda path, number: [{"cut": 300_000}, {"wrong range": 7}, {}][number]
    assert fetch().read_bytes() == CONTENT


def test_a_whole_part_is_taken_as_it_is(server, fetch, tmp_path):
    path = fetch()
    path.rename(path.with_name(path.name + ".part"))
    notes = path.with_name(path.name + ".json")
    notes.rename(path.with_name(path.name + ".part.json"))
    assert fetch().read_bytes() == CONTENT
    assert left_over(path) == ["emd_1234.map.gz", "emd_1234.map.gz.json"]


def test_a_part_with_other_bytes_is_found_out(server, fetch):
    path = fetch()
    part = path.with_name(path.name + ".part")
    part.write_bytes(b"\x1f\x8b" + bytes(299_998))
    path.unlink()
    path.with_name(path.name + ".json").rename(path.with_name(part.name + ".json"))
    assert fetch().read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("manner", "said"),
    [
        ({"lie": 1000}, "received"),
        ({"lie": -1000}, "damaged in transit"),
        ({"no length": True, "cut": 3000}, "damaged"),
    ],
)
def test_a_server_that_lies_about_the_length(server, fetch, tmp_path, manner, said):
    server.manner = lambda path, number: manner
    with pytest.raises(FetchError, match=said) as caught:
        fetch()
    assert caught.value.kind == "fetch"
    assert not (tmp_path / "cache" / PATH).exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (CONTENT[:-1000] + bytes(1000), "damaged"),
        (CONTENT[:-1000], "gzip ends after"),
        (b"<html>not here</html>", "HTML"),
        (b"", "empty"),
    ],
)
def test_a_damaged_file_never_counts(server, fetch, tmp_path, content, said):
    server.files[PATH] = content
    with pytest.raises(FetchError, match=said):
        fetch()
    assert not (tmp_path / "cache" / PATH).exists()
    assert len(server.asked) == 2


def test_a_file_damaged_once_is_fetched_again(server, fetch):
    good, bad = CONTENT, bytes(20) + CONTENT
    server.manner = lambda path, number: server.files.update({PATH: good if number else bad}) or {}
    assert fetch().read_bytes() == good


def test_missing_everywhere_is_not_found(server, fetch, tmp_path):
    server.files.clear()
    with pytest.raises(NotFoundError) as caught:
        fetch(mirrors=[server.url, f"{server.url}/other"])
    assert str(caught.value).count("said 404") == 2
    assert not list((tmp_path / "cache").rglob("*.part*"))


def test_missing_at_one_mirror_and_broken_at_another_is_fetch(server, fetch):
    server.manner = lambda path, number: (503, {}) if path.startswith("ill") else {}
    server.files.clear()
    with pytest.raises(FetchError, match=r"said 404 .*; .*503"):
        fetch(mirrors=[server.url, f"{server.url}/ill"])


@pytest.mark.parametrize(
    "manner", [(404, {}), (503, {}), (403, {}), {"lie": -1000}, {"cut": 5}, (302, {"Location": "/loop/" + PATH})]
)
def test_the_next_mirror_helps(server, fetch, manner):
    server.files["loop/" + PATH] = server.files["bad/" + PATH] = CONTENT
    server.manner = lambda path, number: {} if path == PATH else manner
    path = fetch(mirrors=[f"{server.url}/bad/", server.url])
    assert path.read_bytes() == CONTENT
    assert server.asked[-1][0] == PATH


def test_no_answer_at_all_is_a_dead_network(fetch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        mirror = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(UnreachableError, match="cannot connect") as caught:
            fetch(mirrors=[mirror])
    assert caught.value.kind == "fetch"


@pytest.mark.parametrize("as_date", [False, True])
def test_a_busy_server_is_left_alone_as_long_as_it_asks(server, fetch, as_date):
    until = int(time.time()) + 3
    times = []

    def manner(path, number):
        times.append(time.time())
        return {} if number else (503, {"Retry-After": formatdate(until, usegmt=True) if as_date else "1"})

    server.manner = manner
    assert fetch().read_bytes() == CONTENT
    assert times[1] >= (until if as_date else times[0] + 1)


def test_a_server_that_asks_for_too_long_is_given_up(server, fetch):
    server.manner = lambda path, number: (429, {"Retry-After": "3600"})
    with pytest.raises(FetchError, match="said 429"):
        fetch()
    assert len(server.asked) == 1


def test_redirects_are_followed(server, fetch):
    server.manner = lambda path, number: (301, {"Location": f"/moved/{path}"}) if path == PATH else {}
    server.files["moved/" + PATH] = CONTENT
    assert fetch().read_bytes() == CONTENT


def test_a_url_is_kept_by_its_whole_spelling(server, fetch, tmp_path):
    plain = b"any plain file"
    server.files |= {"a.mrc": plain, "a.mrc?v=2": b"another"}
    first, second = (
        fetch(entry=Entry("a", f"{server.url}/{name}", "url"), mirrors=[]) for name in ("a.mrc", "a.mrc?v=2")
    )
    assert (first.name, first.read_bytes()) == ("a.mrc", plain)
    assert (second.name, second.read_bytes()) == ("a.mrc", b"another")
    assert first.is_relative_to(tmp_path / "cache")


def test_a_url_cannot_leave_the_cache(server, fetch, tmp_path):
    server.files["%2e%2e%2fevil.map"] = server.files["..%2fevil.map"] = b"x"
    path = fetch(entry=Entry("a", f"{server.url}/..%2fevil.map", "url"), mirrors=[])
    assert path.resolve().is_relative_to(tmp_path / "cache" / "urls")
    assert path.name == "evil.map"


def test_a_local_folder_is_a_mirror_even_offline(server, fetch, tmp_path):
    local = tmp_path / "mirror" / PATH
    local.parent.mkdir(parents=True)
    local.write_bytes(CONTENT)
    assert fetch(mirrors=[server.url, str(tmp_path / "mirror")], offline=True) == local
    assert server.asked == []
    assert fetch(entry=Entry("a", str(local), "file")) == local


def test_offline_says_what_to_do(server, fetch):
    with pytest.raises(NotFoundError, match="run `samu-batch fetch`"):
        fetch(offline=True)
    assert server.asked == []


def test_a_cache_that_cannot_be_written_is_a_store_error(fetch, tmp_path):
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        fetch()


def test_the_archive_tells_its_revision_without_sending_it(server):
    revision = archive_revision(ENTRY, mirrors=[f"{server.url}/none", server.url], patience=QUICK)
    assert (revision.length, revision.sha256) == (len(CONTENT), None)
    assert revision.etag == f'"{hashlib.sha256(CONTENT).hexdigest()[:8]}"'
    with pytest.raises(NotFoundError):
        archive_revision(ENTRY, mirrors=[f"{server.url}/none"], patience=QUICK)


def _fetch_in_process(cache, url, results):
    try:
        results.put(fetch_map(ENTRY, cache, mirrors=[url], patience=QUICK).read_bytes() == CONTENT)
    except Exception as error:
        results.put(repr(error))


def test_many_processes_download_once(server, tmp_path):
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    arguments = (tmp_path / "cache", server.url, results)
    workers = [spawn.Process(target=_fetch_in_process, args=arguments) for _ in range(4)]
    for worker in workers:
        worker.start()
    assert [results.get(timeout=60) for _ in workers] == [True] * 4
    for worker in workers:
        worker.join()
    results.close()
    assert len(server.asked) == 1
    assert left_over(tmp_path / "cache" / PATH) == ["emd_1234.map.gz", "emd_1234.map.gz.json"]
