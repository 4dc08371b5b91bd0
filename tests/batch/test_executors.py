"""Every executor: each task at least once, a report for each, and a worker's death is no innocent map's failure."""

import os
import sys
import textwrap
from contextlib import contextmanager
from functools import partial

import pytest

from samu_batch.entries import Entry
from samu_batch.errors import EngineError
from samu_batch.executors.dask import DaskExecutor, workers_running
from samu_batch.executors.retirement import Retirement
from samu_batch.executors.serial import SerialExecutor
from samu_batch.task import MapOptions, MapTask

EXECUTORS = {
    "serial": lambda: SerialExecutor(),
    "dask": lambda: DaskExecutor(["cpu", "cpu"], threads=1),
}


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A module that workers can import: its functions stand for `process_task`."""
    (tmp_path / "work_of_a_test.py").write_text(
        textwrap.dedent(
            """
            import os, signal, sys, time

            from samu_batch.errors import EngineError
            from samu_batch.events import MapEvent
            from samu_batch.task import MapReport

            def note(task, progress=None):
                with open(task.output, "a") as file:
                    device, torch = os.environ.get("CUDA_VISIBLE_DEVICES"), "torch" in sys.modules
                    file.write(f"{os.getpid()} {device} {torch}\\n")
                return MapReport(id=task.entry.id, entry=task.entry, kind="done")

            def dies_of_poison(task, progress=None):
                time.sleep(0.05)
                if task.entry.id.startswith("poison"):
                    os.kill(os.getpid(), signal.SIGKILL)
                return note(task)

            def dies_once(task, progress=None):
                if task.entry.id == "3" and not task.output.exists():
                    task.output.write_text("first try\\n")
                    os.kill(os.getpid(), signal.SIGKILL)
                return note(task)

            def dies_three_times(task, progress=None):
                with open(task.output, "a") as file:
                    file.write(f"{time.monotonic()}\\n")
                time.sleep(0.2)
                if task.entry.id.startswith("frail") and len(task.output.read_text().splitlines()) < 4:
                    os.kill(os.getpid(), signal.SIGKILL)
                return MapReport(id=task.entry.id, entry=task.entry, kind="done")

            def tells(task, progress):
                for done in range(20 if task.entry.id == "last" else 9):
                    time.sleep(0.1)
                    progress(MapEvent(task.entry.id, "enhance", done=done, total=9, skipped=1))
                return note(task)

            def hangs(task, progress):
                for _ in range(0 if task.entry.id == "hangs" else 25):
                    progress(MapEvent(task.entry.id, "enhance"))
                    time.sleep(0.1)
                while task.entry.id == "hangs":
                    time.sleep(1)
                return note(task)

            def naps(task, progress=None):
                time.sleep(0.3)
                return note(task)

            def job_ends_in(seconds):
                now = int(time.time())
                os.environ |= {"SAMU_JOB_START_TIME": str(now - 20), "SAMU_JOB_END_TIME": str(now + seconds)}

            def no_engine(task, progress=None):
                raise EngineError("no engine can run here")
            """
        )
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    import work_of_a_test

    yield work_of_a_test
    del sys.modules["work_of_a_test"]


@pytest.fixture(params=EXECUTORS)
def executor(request):
    return EXECUTORS[request.param]()


def tasks(folder, *names):
    return [
        MapTask(
            entry=Entry(id=name, source=f"/{name}.mrc", kind="file"),
            options=MapOptions(model="identity", scratch=folder / "scratch"),
            output=folder / f"{name}.mrc",
            receipt=folder / f"{name}.json",
        )
        for name in names
    ]


def test_each_task_is_done_and_reported_once(executor, work, tmp_path):
    names = [str(number) for number in range(20)]
    reports = list(executor.map(work.note, tasks(tmp_path, *names)))
    assert sorted(report.id for report in reports) == sorted(names)
    assert all(len((tmp_path / f"{name}.mrc").read_text().splitlines()) == 1 for name in names)


def test_no_tasks_are_no_reports(executor, work):
    assert list(executor.map(work.note, [])) == []


def test_tasks_are_taken_as_they_are_needed(executor, work, tmp_path):
    taken = []

    def source():
        for task in tasks(tmp_path, *map(str, range(40))):
            taken.append(task)
            yield task

    reports = executor.map(work.note, source())
    next(iter(reports))
    # Two workers with three tasks in flight each, and the next after every report.
    assert len(taken) <= 8
    reports.close() if hasattr(reports, "close") else None


def test_what_is_told_of_a_map_is_heard_until_its_report_and_not_after(executor, work, tmp_path):
    heard = {name: [] for name in ("a", "b", "c", "last")}

    def hear(event):
        heard[event.id].append(event)

    for report in executor.map(work.tells, tasks(tmp_path, *heard), progress=hear):
        heard[report.id].append(None)
    names = {"cpu-0", "cpu-1"} if isinstance(executor, DaskExecutor) else {""}
    for name, events in heard.items():
        *told, last = events
        assert told
        assert last is None
        assert [event.done for event in told] == sorted({event.done for event in told})
        assert {event.worker for event in told} <= names
        assert {(event.id, event.total, event.skipped) for event in told} == {(name, 9, 1)}


def test_an_engine_that_loads_nowhere_is_raised_not_reported(executor, work, tmp_path):
    with pytest.raises(EngineError, match="no engine"):
        list(executor.map(work.no_engine, tasks(tmp_path, "a", "b")))


def test_dask_uses_its_workers_each_of_which_sees_one_gpu_before_torch_can_look(work, tmp_path):
    names = [str(number) for number in range(30)]
    list(DaskExecutor(["3", "5"], threads=1).map(work.dies_of_poison, tasks(tmp_path, *names)))
    processes = {(tmp_path / f"{name}.mrc").read_text() for name in names}
    assert sorted(text.split()[1:] for text in processes) == [["3", "False"], ["5", "False"]]
    assert str(os.getpid()) not in {text.split()[0] for text in processes}


def test_a_map_that_kills_its_workers_fails_alone(work, tmp_path):
    names = [*map(str, range(10)), "poison", *map(str, range(10, 16))]
    reports = list(DaskExecutor(["cpu", "cpu"], threads=1).map(work.dies_of_poison, tasks(tmp_path, *names)))
    kinds = {report.id: report.kind for report in reports}
    assert len(reports) == len(names)
    assert kinds == {name: "worker-lost" if name == "poison" else "done" for name in names}
    assert '"worker-lost"' in (tmp_path / "poison.json").read_text()


def test_a_map_whose_worker_dies_once_is_done(work, tmp_path):
    names = [str(number) for number in range(8)]
    reports = list(DaskExecutor(["cpu", "cpu"], threads=1).map(work.dies_once, tasks(tmp_path, *names)))
    assert {report.kind for report in reports} == {"done"}
    assert len(reports) == len(names)


def test_suspects_run_one_at_a_time_and_are_blamed_after_three_losses_alone(work, tmp_path):
    """Each dies beside others and twice alone: it is done the third time, and no two of them ran together."""
    given = tasks(tmp_path, "frail0", "frail1", "a", "b")
    reports = list(DaskExecutor(["cpu", "cpu"], threads=1).map(work.dies_three_times, given))
    assert {report.kind for report in reports} == {"done"}
    first, second = ([float(line) for line in each.output.read_text().splitlines()[1:]] for each in given[:2])
    assert (len(first), len(second)) == (3, 3)
    assert not any(abs(one - other) < 0.2 for one in first for other in second)


def test_a_map_that_hangs_is_taken_from_its_worker_and_fails_alone(work, tmp_path):
    executor = DaskExecutor(["cpu", "cpu"], threads=1, still_seconds=1.5)
    reports = {report.id: report for report in executor.map(work.hangs, tasks(tmp_path, "hangs", "moves"))}
    assert {name: report.kind for name, report in reports.items()} == {"hangs": "worker-lost", "moves": "done"}
    assert "nothing moved" in reports["hangs"].message
    # It took longer than the limit, and was left alone, for something moved.
    assert len((tmp_path / "moves.mrc").read_text().splitlines()) == 1


def test_a_cluster_that_runs_already_is_joined(work, tmp_path):
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, threads_per_worker=3, dashboard_address="127.0.0.1:0", processes=True, silence_logs=50
    ) as cluster:
        executor = DaskExecutor([], threads=1, scheduler=cluster.scheduler_address)
        reports = list(executor.map(work.note, tasks(tmp_path, "a", "b", "c")))
    assert sorted(report.id for report in reports) == ["a", "b", "c"]


@contextmanager
def one_of_two_ends(work, counts):
    """Two workers, of which one belongs to a job that soon ends; `counts` notes how many take tasks."""
    from distributed import Client, Nanny, Scheduler, SpecCluster

    plain = {"nthreads": 3, "host": "127.0.0.1", "memory_limit": 0, "dashboard": False, "silence_logs": 50}
    workers = {name: {"cls": Nanny, "options": plain | {"env": dict(os.environ)}} for name in ("stays", "ends")}
    address = {"host": "127.0.0.1", "port": 0, "dashboard": False, "dashboard_address": "127.0.0.1:0"}
    scheduler = {"cls": Scheduler, "options": address}
    with SpecCluster(workers=workers, scheduler=scheduler, silence_logs=50) as cluster, Client(cluster) as client:
        client.wait_for_workers(2)
        client.run(work.job_ends_in, 6, workers=list(client.scheduler_info()["workers"])[:1])
        client.register_plugin(Retirement())

        def running():
            counts.append(workers_running(client))
            return counts[-1]

        yield client, running


def test_a_worker_whose_job_is_about_to_end_leaves_without_losing_a_map_or_doing_one_twice(work, tmp_path):
    counts = []

    def until_it_left():
        number = 0
        while not counts or counts[-1] == 2 or number % 10:
            number += 1
            yield from tasks(tmp_path, str(number))

    reports = list(DaskExecutor(elsewhere=partial(one_of_two_ends, work, counts)).map(work.naps, until_it_left()))
    assert {report.kind for report in reports} == {"done"}
    runs = [(tmp_path / f"{report.id}.mrc").read_text().splitlines() for report in reports]
    assert [len(processes) for processes in runs] == [1] * len(reports)
    assert len({process for [process] in runs}) == 2
    assert set(counts) == {1, 2}
