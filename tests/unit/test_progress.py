"""Progress: a line for each finished map, time to finish by cost, a heartbeat where nothing finishes."""

import re
import time

from samu_batch import progress
from samu_batch.batch import Decision
from samu_batch.entries import Entry
from samu_batch.events import MapEvent
from samu_batch.progress import Progress
from samu_batch.task import MapOptions, MapReport, MapTask


def decision(name, cubes):
    entry = Entry(id=name, source=f"/{name}.mrc", kind="file")
    task = MapTask(entry=entry, options=MapOptions(model="m"), output=entry.source, receipt=entry.source)
    return Decision(task, run=True, reason="run (new)", cubes=cubes)


def report(name, kind="done", **values):
    return MapReport(id=name, entry=Entry(id=name, source=name, kind="file"), kind=kind, **values)


def test_a_line_for_each_map_with_its_notes(capsys):
    with Progress([decision("a", 3), decision("b", 1)]) as shown:
        done = report("a", cubes=8, cubes_skipped=3, seconds={"enhance": 2.0}, warnings=("coarse",))
        assert len(list(shown.watch(iter([done, report("b", "fetch", message="no answer")])))) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("[1/2] a done in 2.0 s, 5 of 8 cubes; about ")
    assert lines[1:] == ["  note: coarse", "[2/2] b fetch: no answer"]


def test_time_to_finish_follows_the_cost(capsys, monkeypatch):
    clock = iter([0.0, 60.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    shown = Progress([decision("a", 3_000_000), decision("b", 1_000_000)], quiet=False)
    list(shown.watch(iter([report("a")])))
    assert "about 20 s left" in capsys.readouterr().err


def test_a_map_not_fetched_yet_counts_as_the_mean_of_the_others(capsys, monkeypatch):
    clock = iter([0.0, 60.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    shown = Progress([decision("a", 1_000_000), decision("b", 3_000_000), decision("c", None), decision("d", 0)])
    list(shown.watch(iter([report("b")])))
    # 3 of 6 million are done: c is taken for 2 million, and d will be refused at once.
    assert "about 1 min 0 s left" in capsys.readouterr().err


def test_quiet_shows_failures_only(capsys):
    with Progress([decision("a", 1), decision("b", 1)], quiet=True) as shown:
        list(shown.watch(iter([report("a"), report("b", "engine", message="broken")])))
    assert re.fullmatch(r"\[2/2\] b engine: broken\n", capsys.readouterr().err)


def test_a_heartbeat_tells_of_cubes_while_no_map_finishes(capsys, monkeypatch):
    monkeypatch.setattr(progress, "HEARTBEAT_SECONDS", 0.02)
    with Progress([decision("a", 1000)]) as shown:
        shown.tell(MapEvent("a", "enhance", done=1, total=4))
        said, deadline = "", time.monotonic() + 20
        while "\n" not in said and time.monotonic() < deadline:
            time.sleep(0.05)
            said += capsys.readouterr().err
    assert "[0 of 1 maps finished, 1 of 4 cubes of a, 0 failed, " in said
    assert " left]" in said
