"""Downloads ahead of the engines: bounded, in the order of arrival, stopped without a trace that a later run minds."""

import gzip
import threading
import time

import numpy as np
import pytest

from samu_batch.batch import Decision
from samu_batch.entries import Entry
from samu_batch.errors import NotFoundError
from samu_batch.fetch_ahead import AHEAD, fetch_ahead
from samu_batch.locate import locate
from samu_batch.run_directory import RunDirectory
from samu_batch.task import MapOptions

CONTENT = gzip.compress(np.random.default_rng(0).bytes(50_000), 1, mtime=0)


def path_of(number):
    return f"EMD-{number}/map/emd_{number}.map.gz"


@pytest.fixture
def decide(server, tmp_path):
    def decide(number):
        server.files.setdefault(path_of(number), CONTENT)
        options = MapOptions(model="identity", mirrors=(server.url,), cache=tmp_path / "cache")
        entry = Entry(f"EMD-{number}", f"EMD-{number}", "emdb")
        return Decision(RunDirectory(tmp_path / "run").task(entry, options), True, "run (new)", None)

    return decide


def test_a_map_is_there_when_it_comes_and_is_not_asked_for_again(server, decide):
    decisions = [decide(number) for number in range(1000, 1040)]
    for decision in fetch_ahead(decisions):
        asked = len(server.asked)
        assert locate(decision.task).path.read_bytes() == CONTENT
        assert [path for path, *_ in server.asked].count(path_of(decision.task.entry.id[4:])) == 1
        assert asked <= 40
    assert len(server.asked) == 40


def test_a_download_that_stalls_holds_no_other_up(server, decide):
    server.manner = lambda path, number: {"cut": 100, "stall": True} if "1000" in path and not number else {}
    ready = fetch_ahead([decide(number) for number in range(1000, 1010)])
    first = {next(ready).task.entry.id for _ in range(9)}
    assert first == {f"EMD-{number}" for number in range(1001, 1010)}
    server.released.set()
    assert next(ready).task.not_fetched is None
    assert next(ready, None) is None


def test_what_cannot_be_had_comes_with_the_reason(server, decide):
    server.manner = lambda path, number: (404, {}) if "1000" in path else {}
    reasons = {each.task.entry.id: each.task.not_fetched for each in fetch_ahead([decide(1000), decide(1001)])}
    assert reasons["EMD-1001"] is None
    assert isinstance(reasons["EMD-1000"], NotFoundError)
    with pytest.raises(NotFoundError, match="said 404"):
        locate(next(fetch_ahead([decide(1000)])).task)


def test_no_more_than_so_many_are_begun_before_they_are_wanted(server, decide):
    taken = []

    def decisions():
        for number in range(1000, 1100):
            taken.append(number)
            yield decide(number)

    ready = fetch_ahead(decisions())
    next(ready)
    next(ready)
    assert len(taken) == AHEAD + 1
    ready.close()
    assert len(server.asked) <= AHEAD + 1


def test_no_other_is_begun_while_enough_bytes_lie_ready(server, decide, tmp_path, monkeypatch):
    monkeypatch.setattr("samu_batch.fetch_ahead.ROOM", len(CONTENT))
    taken = []

    def decisions():
        for number in range(1000, 1030):
            taken.append(number)
            yield decide(number)

    ready = fetch_ahead(decisions())
    next(ready)
    deadline = time.monotonic() + 20
    while len(list((tmp_path / "cache").rglob("emd_*.map.gz"))) < len(taken) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)  # until the last of them is noted
    next(ready)
    assert len(taken) <= AHEAD
    assert len(list(ready)) == 28


def test_leaving_leaves_no_empty_folder(server, decide, tmp_path):
    server.manner = lambda path, number: {} if "1000" in path else (503, {"Retry-After": "60"})
    ready = fetch_ahead([decide(number) for number in range(1000, 1003)])
    kept = next(ready)
    ready.close()
    passing = tmp_path / "cache" / "passing"
    assert [path.name for path in passing.iterdir()] == [kept.task.token]


def test_leaving_stops_the_downloads_and_keeps_what_they_brought(server, decide, tmp_path):
    under_way = threading.Semaphore(0)

    def manner(path, number):
        under_way.release()
        return {} if "1000" in path or number else (503, {"Retry-After": "60"})

    server.manner = manner
    before = threading.active_count()
    ready = fetch_ahead([decide(number) for number in range(1000, 1005)])
    kept = next(ready)
    for _ in range(5):
        under_way.acquire(timeout=10)
    ready.close()
    assert threading.active_count() == before
    files = [path.name for path in (tmp_path / "cache").rglob("emd_*")]
    assert sorted(files) == ["emd_1000.map.gz", "emd_1000.map.gz.json"]
    assert locate(kept.task).path.read_bytes() == CONTENT
