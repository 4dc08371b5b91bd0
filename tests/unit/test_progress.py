"""Progress: what is counted, and the lines that tell it where stderr is no terminal."""

import json
import time

import pytest

from samu_batch import lines
from samu_batch.entries import Entry
from samu_batch.events import MapEvent
from samu_batch.lines import Lines
from samu_batch.progress import RunProgress
from samu_batch.task import MapReport


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def report(name, kind="done", **values):
    return MapReport(id=name, entry=Entry(id=name, source=name, kind="file"), kind=kind, **values)


def test_time_to_finish_follows_the_cubes(clock):
    progress = RunProgress({"a": 30, "b": 10}, now=clock)
    for clock.now, done in ((5.0, 1), (64.0, 30)):  # the first cube tells when the engine began
        progress.tell(MapEvent("a", "enhance", done, 30))
    assert progress.snapshot().seconds_left == pytest.approx(59 / 29 * 10)


def test_workers_share_what_none_of_them_has_and_keep_what_they_have(clock):
    progress = RunProgress({"a": 20, "b": 20, "c": 5, "d": 5}, now=clock)
    for name, worker in (("a", "gpu-0"), ("b", "gpu-1")):
        progress.tell(MapEvent(name, "enhance", 1, 20, worker=worker))
    clock.now = 10.0
    for name, worker in (("a", "gpu-0"), ("b", "gpu-1")):
        progress.tell(MapEvent(name, "enhance", 11, 20, worker=worker))
    assert progress.snapshot().seconds_left == pytest.approx((9 + 9 + 5 + 5) / 2)
    progress.tell(MapEvent("c", "ingest", 0, 8, worker="gpu-0"))  # it is larger than its list told
    progress.tell(MapEvent("d", "ingest", 0, 5, worker="gpu-0"))
    assert progress.snapshot().seconds_left == pytest.approx(9 + 8 + 5)


def test_a_map_not_fetched_yet_counts_as_the_mean_of_the_others(clock):
    progress = RunProgress({"a": 10, "b": 30, "c": None, "d": 0}, now=clock)
    assert progress.snapshot().cubes_total == 60  # d will be refused at once
    progress.tell(MapEvent("c", "ingest", 0, 50))
    assert progress.snapshot().cubes_total == 90


def test_empty_cubes_are_done_but_no_speed_of_the_engine(clock):
    progress = RunProgress({"a": 80, "b": 80}, now=clock)
    progress.tell(MapEvent("a", "enhance", 10, 80, skipped=10))
    clock.now = 10.0
    progress.tell(MapEvent("a", "enhance", 50, 80, skipped=30))
    now = progress.snapshot()
    assert (now.cubes, now.cubes_total) == (50, 160)
    assert now.cubes_per_second == pytest.approx(2.0)
    assert now.seconds_left == pytest.approx(110 / 4)


def test_what_a_lost_worker_had_done_is_to_be_done_again(clock):
    progress = RunProgress({"a": 8, "b": 8}, now=clock)
    progress.tell(MapEvent("a", "enhance", 6, 8, worker="gpu-0"))
    progress.tell(MapEvent("a", "waiting"))
    now = progress.snapshot()
    assert now.cubes == 0
    assert now.workers == {"gpu-0": []}


def test_cubes_of_a_map_that_workers_share_are_summed(clock):
    progress = RunProgress({"a": 100}, now=clock)
    for worker in ("gpu-0", "gpu-1"):
        progress.tell(MapEvent("a", "enhance", 10, 100, worker=worker))
    assert progress.snapshot().cubes == 20
    progress.tell(MapEvent("a", "export", worker="gpu-0"))
    assert progress.snapshot().cubes == 20


def test_what_is_told_late_of_a_finished_map_counts_no_more(clock):
    progress = RunProgress({"a": 8, "b": 8}, now=clock)
    progress.tell(MapEvent("a", "enhance", 7, 8))
    progress.finish(report("a", cubes=8, cubes_skipped=0))
    progress.tell(MapEvent("a", "enhance", 8, 8))
    now = progress.snapshot()
    assert (now.finished, now.cubes, now.cubes_total) == (1, 8, 16)
    assert now.workers == {"": []}


def test_a_failed_map_leaves_nothing_to_do(clock):
    progress = RunProgress({"a": 8, "b": 8, "c": 8}, now=clock)
    progress.tell(MapEvent("a", "enhance", 2, 8))
    for name, kind in (("a", "engine"), ("b", "fetch"), ("c", "fetch")):
        progress.finish(report(name, kind))
    now = progress.snapshot()
    assert now.failed == {"fetch": 2, "engine": 1}
    assert (now.cubes, now.cubes_total, now.share) == (2, 2, 1.0)


def test_maps_too_short_to_be_told_of_count_all_the_same(clock):
    progress = RunProgress({name: 4 for name in "abcd"}, now=clock)
    for clock.now, name in ((1.0, "a"), (2.0, "b"), (3.0, "c")):
        progress.finish(report(name, cubes=4, cubes_skipped=0))
    now = progress.snapshot()
    assert now.cubes_per_second == pytest.approx(4.0)
    assert now.seconds_left == pytest.approx(1.0)


def test_workers_show_first_the_map_in_the_engine_and_are_in_order(clock):
    progress = RunProgress({name: 4 for name in "abcd"}, now=clock)
    progress.tell(MapEvent("a", "export", worker="gpu-10"))
    progress.tell(MapEvent("b", "enhance", 1, 4, worker="gpu-10"))
    progress.tell(MapEvent("c", "fetch", worker="gpu-10"))
    progress.tell(MapEvent("d", "enhance", worker="gpu-9"))
    workers = progress.snapshot().workers
    assert list(workers) == ["gpu-9", "gpu-10"]
    assert [event.id for event in workers["gpu-10"]] == ["b", "a", "c"]


def shown(capsys, progress, *reports, **options):
    with Lines(progress, **{"quiet": False, "as_json": False} | options) as display:
        for each in reports:
            progress.finish(each)
            display.show(each)
    return capsys.readouterr().err


def test_a_line_for_each_map_with_its_notes(capsys, clock):
    progress = RunProgress({"a": 8, "b": 1}, now=clock)
    done = report("a", cubes=8, cubes_skipped=3, seconds={"enhance": 2.0}, warnings=("coarse",))
    said = shown(capsys, progress, done, report("b", "fetch", message="no answer")).splitlines()
    assert said == ["[1/2] a done in 2.0 s, 5 of 8 cubes", "  note: coarse", "[2/2] b fetch: no answer"]


@pytest.mark.parametrize("as_json", [False, True])
def test_quiet_shows_failures_only(capsys, clock, as_json):
    progress = RunProgress({"a": 1, "b": 1}, now=clock)
    said = shown(capsys, progress, report("a"), report("b", "engine", message="broken"), quiet=True, as_json=as_json)
    assert said == "[2/2] b engine: broken\n"


def test_a_heartbeat_tells_of_cubes_and_workers_while_no_map_finishes(capsys, clock, monkeypatch):
    monkeypatch.setattr(lines, "HEARTBEAT_SECONDS", 0.02)
    progress = RunProgress({"a": 60, "b" * 40: None, "c": 4}, now=clock)
    progress.finish(report("c", "fetch"))
    progress.tell(MapEvent("a", "enhance", 2, 60, worker="cpu-0"))
    progress.tell(MapEvent("b" * 40, "fetch", 3_000_000, 7_000_000, worker="cpu-1"))
    clock.now = 70.0
    progress.tell(MapEvent("a", "enhance", 9, 60, worker="cpu-0"))
    with Lines(progress, quiet=False, as_json=False):
        said, deadline = "", time.monotonic() + 20
        while "\n" not in said and time.monotonic() < deadline:
            time.sleep(0.05)
            said += capsys.readouterr().err
    assert said.splitlines()[0] == (
        "[1 of 3 maps finished, 1 failed (1 fetch), 1 min 10 s so far, 0.1 cubes/s, about 13 min 50 s left"
        f"; cpu-0: enhance a 9/60 cubes; cpu-1: fetch {'b' * 12}…{'b' * 11} 3/7 MB]"
    )


def test_machines_get_the_heartbeat_as_json_and_the_last_when_all_is_done(capsys, clock):
    progress = RunProgress({"a": 8, "b": 8}, now=clock)
    progress.tell(MapEvent("a", "enhance", 2, 8, skipped=1, worker="cpu-0"))
    [line] = shown(capsys, progress, report("b", "fetch"), as_json=True).splitlines()
    assert json.loads(line) == {
        "event": "progress",
        "maps": 2,
        "finished": 1,
        "failed": {"fetch": 1},
        "cubes": 2,
        "cubes_total": 8,
        "cubes_per_second": None,
        "elapsed": 0.0,
        "seconds_left": None,
        "workers": {"cpu-0": [{"id": "a", "stage": "enhance", "done": 2, "total": 8, "skipped": 1, "worker": "cpu-0"}]},
    }
