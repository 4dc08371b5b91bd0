"""The printed script on a real Slurm: tasks that are cancelled, lose their node or run out of time, and run again."""

import json
import subprocess
import sys
from collections import Counter

import pytest

from samu_batch.time_limit import notice_seconds

BEFORE_STOP = 5
"""Maps that a task which is to be stopped is given before one is withheld from it."""

ENDED = {"COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL", "TIMEOUT"}


@pytest.fixture
def script_of(gated, tmp_path):
    """`script_of(tasks, maps)` prints the script that shares tiny maps."""

    def script(tasks, maps):
        command = [sys.executable, "-m", "samu_batch", "array", "list.txt", "-o", "run", "--tasks", str(tasks)]
        command += ["--time", "00:01:00", *gated(maps)]
        printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert printed.returncode == 0, printed.stderr
        (tmp_path / "array.sh").write_text(printed.stdout)
        return tmp_path / "array.sh"

    return script


def submit(cluster, script, *options):
    # Without --no-requeue Slurm itself repeats the task of a lost node, two minutes later.
    return cluster.run("sbatch", "--parsable", "--no-requeue", *options, f"--chdir={script.parent}", str(script))


def states(cluster, job):
    return {task: state for task, (state, *_) in cluster.tasks(job).items()}


def over(cluster, job):
    return set(states(cluster, job).values()) <= ENDED


def released(folder, job, task):
    """Whether a task was stopped by a signal and ended by itself."""
    return "goes on from here" in (folder / f"samu-run-{job}_{task}.log").read_text()


def finished_by_task(folder, job):
    """The maps that each task of a job finished, by its own events."""
    finished = {}
    for log in folder.glob(f"samu-run-{job}_*.log"):
        events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        receipts = [event for event in events if "entry" in event]
        finished[int(log.stem.rpartition("_")[2])] = [receipt["id"] for receipt in receipts]
    return finished


def snapshot(folder):
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("tasks", "maps", "cancelled"), [(4, 160, {1}), pytest.param(20, 1000, {1, 2, 3}, marks=pytest.mark.slow)]
)
def test_an_array_that_is_stopped_in_every_way_is_completed_by_the_same_script(
    cluster, gate, script_of, tasks, maps, cancelled
):
    script = script_of(tasks, maps)
    folder, run = script.parent, script.parent / "run"
    promise = (run / "run.json").read_bytes()
    task_of = json.loads(promise)["partition"]["task_of"]
    on_lost_node, out_of_time = max(cancelled) + 1, max(cancelled) + 2
    victims = {*cancelled, on_lost_node, out_of_time}
    gate.let(**{str(task): BEFORE_STOP for task in victims})
    alone = ["--exclusive"] if tasks <= 4 else []
    first = submit(cluster, script, *alone)
    cluster.wait(lambda: gate.waiting == {str(task) for task in victims}, "not every task is at work")
    for task in cancelled:
        cluster.run("scancel", f"{first}_{task}")
    cluster.wait(lambda: all(released(folder, first, task) for task in cancelled), "scancel stops nobody")
    lost = cluster.tasks(first)[on_lost_node][1]
    cluster.lose(lost)
    cluster.wait(lambda: over(cluster, first), "the time limit stops nobody", seconds=180)
    ended = states(cluster, first)
    assert {ended[task] for task in cancelled} == {"CANCELLED"}
    # Its end comes before Slurm would have to kill it: with a status of its own, the signal's.
    assert (ended[on_lost_node], ended[out_of_time]) == ("NODE_FAIL", "FAILED")
    assert set(ended.values()) == {"CANCELLED", "NODE_FAIL", "FAILED", "COMPLETED"}
    assert released(folder, first, out_of_time)
    left = {path.parent.name: snapshot(path.parent) for path in run.glob("*/receipt.json")}
    assert Counter(map(task_of.get, left))[out_of_time] == BEFORE_STOP

    gate.let()
    cluster.restart(lost)
    second = submit(cluster, script, *alone)
    cluster.wait(lambda: over(cluster, second), "the second round does not end", seconds=180)
    assert set(states(cluster, second).values()) == {"COMPLETED"}

    assert {path.name for path in run.iterdir()} == {*task_of, "run.json"}
    assert (run / "run.json").read_bytes() == promise
    for name in task_of:
        assert json.loads((run / name / "receipt.json").read_text())["kind"] == "done"
        assert {path.name for path in (run / name).iterdir()} == {"receipt.json", "view.cxc", f"{name}_enhanced.mrc"}
    # No map was finished twice, each by its own task only; what was done before stays untouched.
    finished = [finished_by_task(folder, job) for job in (first, second)]
    assert Counter(name for each in finished for names in each.values() for name in names) == Counter(task_of.keys())
    assert all(task_of[name] == task for each in finished for task, names in each.items() for name in names)
    assert {name: snapshot(run / name) for name in left} == left
    assert not any((folder / "scratch").iterdir())


def test_a_job_knows_its_time_limit(cluster, tmp_path):
    code = "import os; from samu_batch.time_limit import TimeLimit; print(TimeLimit.of_job(os.environ).usable)"
    script = tmp_path / "limit.sh"
    script.write_text(f"#!/bin/bash\nexec {sys.executable} -c '{code}'\n")
    options = ["--parsable", "--wait", "--time=00:07:00", f"--output={tmp_path}/%a.log"]
    # The last task of an array has the array's own number.
    cluster.run("sbatch", *options, "--array=1-2", str(script))
    expected = 420 - notice_seconds(420)
    assert [float((tmp_path / f"{task}.log").read_text()) for task in (1, 2)] == [expected, expected]
