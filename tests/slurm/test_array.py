"""The printed script on a real Slurm: tasks that are cancelled, lose their node or run out of time, and their repetition."""

import json
import shutil
import subprocess
import sys
import threading
from collections import Counter

import numpy as np
import pytest

TASKS, MAPS = 4, 160
BEFORE_STOP = 5
"""Maps that a task of the first round does before one is withheld from it."""


class Gate:
    """Withholds a map from each task once it has had some, until the gate is open: what happens to it then is no race."""

    def __init__(self, server, task_of):
        self._task_of, self._had = task_of, Counter()
        self._open, self._lock = threading.Event(), threading.Lock()
        self.waiting, self.through = set(), set()
        server.manner = self

    def __call__(self, path, _):
        task = self._task_of[path.removesuffix(".mrc")]
        with self._lock:
            self._had[task] += 1
            withheld = self._had[task] > BEFORE_STOP and task not in self.through
        if withheld and not self._open.is_set():
            self.waiting.add(task)
            self._open.wait(120)
        return {}

    def open(self):
        self._open.set()


@pytest.fixture
def script(server, make_map, tmp_path):
    """A list of many tiny maps behind a server, and the script that shares them."""
    rng = np.random.default_rng(4)
    for number in range(MAPS):
        voxels = rng.random((8 + number % 7, 9, 10), dtype=np.float32)
        server.files[f"m{number}.mrc"] = make_map(tmp_path / "map.mrc", voxels).read_bytes()
    (tmp_path / "list.txt").write_text("".join(f"{server.url}/{name}\n" for name in server.files))
    command = [sys.executable, "-m", "samu_batch", "array", "list.txt", "-o", "run", "--engine", "identity"]
    command += ["--tasks", str(TASKS), "--time", "00:01:00", "--json", "--cache", "cache"]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert printed.returncode == 0, printed.stderr
    (tmp_path / "array.sh").write_text(printed.stdout)
    return tmp_path / "array.sh"


def submit(cluster, script):
    return cluster.run("sbatch", "--parsable", "--no-requeue", "--exclusive", f"--chdir={script.parent}", str(script))


def finished_by(folder, job):
    """The maps that each task of a job finished, by its own events."""
    events = {}
    for task in range(1, TASKS + 1):
        log = folder / f"samu-run-{job}_{task}.log"
        lines = log.read_text().splitlines() if log.exists() else []
        events[task] = [json.loads(line)["id"] for line in lines if line.startswith("{") and line.endswith("}")]
    return events


def test_an_array_whose_tasks_are_lost_is_completed_by_the_same_script(cluster, script, server):
    folder, run = script.parent, script.parent / "run"
    promise = (run / "run.json").read_bytes()
    task_of = json.loads(promise)["partition"]["task_of"]
    gate = Gate(server, task_of)
    first = submit(cluster, script)
    cluster.wait(lambda: len(gate.waiting) == TASKS, "not every task works on its maps")
    nodes = {task: node for task, (_, node) in cluster.tasks(first).items()}
    assert sorted(nodes.values()) == ["n1", "n2", "n3", "n4"]
    cluster.run("scancel", f"{first}_1")
    cluster.lose(nodes[2])
    cluster.wait(lambda: not running(cluster, first), "the time limit stops nobody", seconds=120)
    ended = {task: state for task, (state, *_) in cluster.tasks(first).items()}
    assert ended == {1: "CANCELLED", 2: "NODE_FAIL", 3: "FAILED", 4: "FAILED"}
    for task in (1, 3, 4):
        assert "goes on from here" in (folder / f"samu-run-{first}_{task}.log").read_text()
    left = {path.name: snapshot(path) for path in run.iterdir() if (path / "receipt.json").exists()}
    assert len(left) == TASKS * BEFORE_STOP

    gate.open()
    cluster.restart(nodes[2])
    second = submit(cluster, script)
    cluster.wait(lambda: not running(cluster, second), "the second round does not end")
    ended = {task: state for task, (state, *_) in cluster.tasks(second).items()}
    assert ended == dict.fromkeys(range(1, TASKS + 1), "COMPLETED")

    assert {path.name for path in run.iterdir()} == {*task_of, "run.json"}
    assert (run / "run.json").read_bytes() == promise
    for name in task_of:
        assert json.loads((run / name / "receipt.json").read_text())["kind"] == "done"
        assert {path.name for path in (run / name).iterdir()} == {"receipt.json", "view.cxc", f"{name}_enhanced.mrc"}
    # No map was finished twice, each by its own task only; what was done before stays untouched.
    events = [finished_by(folder, job) for job in (first, second)]
    assert Counter(name for event in events for names in event.values() for name in names) == Counter(task_of.keys())
    assert all(task_of[name] == task for event in events for task, names in event.items() for name in names)
    assert {name: snapshot(run / name) for name in left} == left


def running(cluster, job):
    return any(state in ("PENDING", "RUNNING", "COMPLETING") for state, *_ in cluster.tasks(job).values())


def snapshot(folder):
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}
