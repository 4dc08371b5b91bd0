"""Which maps may begin before a time limit, by a clock that the tests turn."""

import pytest

from samu_batch.batch import Decision
from samu_batch.entries import Entry
from samu_batch.run_directory import RunDirectory
from samu_batch.task import MapOptions, MapReport
from samu_batch.time_limit import Allowance, TimeLimit, notice_seconds

LIMIT = TimeLimit(start=1000.0, end=1100.0)  # told of its end after 90 s


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def decide(tmp_path):
    def decide(name, cubes):
        task = RunDirectory(tmp_path).task(Entry(name, f"/{name}.mrc", "file"), MapOptions(model="identity"))
        return Decision(task, True, "run (new)", cubes)

    return decide


def done(decision, seconds):
    return MapReport(
        id=decision.task.entry.id,
        entry=decision.task.entry,
        kind="done",
        cubes=decision.cubes,
        seconds={"fetch": 1e6, "enhance": seconds},
    )


def names(decisions):
    return [decision.task.entry.id for decision in decisions]


def test_what_fits_begins_what_does_not_waits_what_never_will_fails(decide):
    clock = Clock()
    allowance = Allowance(LIMIT, pace=1.0, now=clock)
    decisions = [decide("never", 91), decide("late", 60), decide("small", 20), decide("unknown", None)]
    clock.now = 1040.0
    [refused] = allowance.refuse(decisions)
    assert (refused.id, refused.kind) == ("never", "time-limit")
    assert "1 min 31 s" in refused.message
    assert names(allowance.admit(decisions)) == ["small", "unknown"]
    assert allowance.held == 1


def test_the_pace_is_learnt_from_maps_without_their_download(decide):
    clock = Clock()
    allowance = Allowance(LIMIT, pace=0.1, now=clock)
    first, second = decide("first", 50), decide("second", 50)
    admitted = allowance.admit([first, second])
    assert next(admitted).task.entry.id == "first"
    clock.now = 1075.0
    assert len(list(allowance.watch([done(first, 75.0)]))) == 1
    assert not list(admitted)  # 75 s more are not left
    assert allowance.held == 1


def test_maps_in_flight_share_the_engine(decide):
    decisions = [decide("a", 40)]
    assert names(Allowance(LIMIT, pace=1.0, in_flight=2, now=Clock()).admit(decisions)) == ["a"]
    shared = Allowance(LIMIT, pace=1.0, in_flight=3, now=Clock())
    assert not names(shared.admit(decisions))
    assert not list(shared.refuse(decisions))  # alone it would fit


def test_a_huge_map_is_shared_by_the_workers(decide):
    huge, large = decide("huge", 1002), decide("large", 1000)
    allowance = Allowance(LIMIT, pace=0.08, workers=2, huge=1000, now=Clock())
    assert names(allowance.admit([huge, large])) == ["huge", "large"]  # 40 s and 80 s of 90
    [_] = allowance.watch([done(huge, 80.0)])
    assert names(allowance.admit([huge, large])) == ["huge"]  # twice as slow: the large one takes 160 s


@pytest.mark.parametrize("prefix", ["SLURM", "SAMU"])
def test_the_environment_tells_the_limit(prefix):
    environment = {f"{prefix}_JOB_START_TIME": "1000", f"{prefix}_JOB_END_TIME": "1100"}
    assert TimeLimit.of_job(environment) == LIMIT


def test_outside_of_a_job_there_is_none(tmp_path):
    assert TimeLimit.of_job({}) is None
    assert TimeLimit.of_job({"SLURM_JOB_ID": "1", "PATH": str(tmp_path)}) is None  # no squeue


@pytest.mark.parametrize(("limit", "notice"), [(None, 120), (60, 6), (1200, 120), (86400, 120)])
def test_notice_is_two_minutes_or_a_tenth(limit, notice):
    assert notice_seconds(limit) == notice
