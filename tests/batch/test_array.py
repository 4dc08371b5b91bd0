"""Job arrays without a scheduler: its variables are set by hand, the printed scripts are run by a real shell."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from samu_batch.shards import ARRAY_VARIABLES

MAPS, TASKS = 7, 3


def samu(*arguments, **environment):
    command = [sys.executable, "-m", "samu_batch", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=120)


@pytest.fixture
def maps(tmp_path, make_map):
    folder = tmp_path / "maps"
    folder.mkdir()
    for number in range(MAPS):
        make_map(folder / f"m{number}.mrc", np.full((10 + number, 12, 14), number + 1, np.float32))
    (folder / "list.txt").write_text("".join(f"m{number}.mrc\n" for number in range(MAPS)))
    return folder / "list.txt"


def script_of(tmp_path, *arguments, tasks=TASKS):
    printed = samu("array", *arguments, "--tasks", tasks, "-o", tmp_path / "run", "--engine", "identity")
    assert printed.returncode == 0, printed.stderr
    script = tmp_path / "array.sh"
    script.write_text(printed.stdout)
    return script


def settings(run):
    return json.loads((run / "run.json").read_text())


def done(run):
    return {path.parent.name for path in run.glob("*/receipt.json") if json.loads(path.read_text())["kind"] == "done"}


def of_task(run, number):
    return {name for name, task in settings(run)["partition"]["task_of"].items() if task == number}


@pytest.mark.parametrize("scheduler", ARRAY_VARIABLES)
def test_the_tasks_of_a_script_do_every_map_and_nothing_else(maps, tmp_path, scheduler):
    script, run = script_of(tmp_path, maps, "--for", scheduler, "--time", "01:00:00"), tmp_path / "run"
    promise = (run / "run.json").read_bytes()
    for number in range(1, TASKS + 1):
        before = done(run)
        variable = {ARRAY_VARIABLES[scheduler]: str(number)}
        ran = subprocess.run(["bash", script], env=os.environ | variable, capture_output=True, text=True, timeout=120)
        assert ran.returncode == 0, ran.stderr
        assert done(run) - before == of_task(run, number)
    assert {path.name for path in run.iterdir()} == {"run.json", *(f"m{number}" for number in range(MAPS))}
    assert (run / "run.json").read_bytes() == promise
    assert samu("report", run).returncode == 0
    assert len((run / "report.jsonl").read_text().splitlines()) == MAPS


@pytest.mark.parametrize(
    ("scheduler", "number"), [("slurm", "TERM"), ("pbs", "TERM"), ("lsf", "TERM"), ("sge", "USR1"), ("sge", "USR2")]
)
def test_the_schedulers_warning_reaches_the_run(server, make_map, tmp_path, scheduler, number):
    content = make_map(tmp_path / "map.mrc", np.ones((10, 12, 14), np.float32)).read_bytes()
    server.files = {"m.mrc": content}
    server.manner = lambda path, _: {"cut": 100, "stall": True}
    script = script_of(tmp_path, f"{server.url}/m.mrc", "--for", scheduler, "--cache", tmp_path / "cache", tasks=1)
    variable = {ARRAY_VARIABLES[scheduler]: "1"}
    process = subprocess.Popen(["bash", script], env=os.environ | variable, stderr=subprocess.PIPE, text=True)
    while not server.asked:
        time.sleep(0.01)
    process.send_signal(getattr(signal, f"SIG{number}"))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert "goes on from here" in errors


def test_another_number_of_tasks_divides_what_is_not_done(maps, tmp_path):
    script_of(tmp_path, maps)
    run = tmp_path / "run"
    assert samu("enhance", run, "--shard", "2", "--engine", "identity").returncode == 0
    refused = samu("enhance", run, "--shard", "1/2", "--engine", "identity")
    assert refused.returncode == 2
    assert "frozen in 3 tasks" in refused.stderr
    before = done(run)
    script_of(tmp_path, run, tasks=2)
    left = [len(of_task(run, number) - before) for number in (1, 2)]
    assert sum(left) == MAPS - len(before)
    assert max(left) - min(left) <= 1
    for number in (1, 2):
        assert samu("enhance", run, "--shard", number, "--engine", "identity").returncode == 0
    assert len(done(run)) == MAPS


def test_without_a_frozen_partition_tasks_that_begin_at_once_share_a_list(maps, tmp_path):
    run = tmp_path / "run"
    alone = samu("enhance", maps, "-o", run, "--shard", "1", "--engine", "identity")
    assert alone.returncode == 2
    assert "no partition is frozen" in alone.stderr
    command = [sys.executable, "-m", "samu_batch", "enhance", maps, "-o", run, "--engine", "identity", "--json"]
    tasks = [
        subprocess.Popen([*map(str, command), "--shard", f"{number}/{TASKS}"], stdout=subprocess.PIPE, text=True)
        for number in range(1, TASKS + 1)
    ]
    finished = [json.loads(line)["id"] for task in tasks for line in task.communicate(timeout=120)[0].splitlines()]
    assert [task.returncode for task in tasks] == [0] * TASKS
    assert sorted(finished) == sorted(done(run)) == [f"m{number}" for number in range(MAPS)]
    assert len(settings(run)["list"]) == MAPS
    assert {path.name for path in run.iterdir()} == {"run.json", *finished}


def test_a_task_refuses_another_model_another_option_and_another_list(maps, tmp_path, make_map):
    script_of(tmp_path, maps)
    run = tmp_path / "run"
    promise = (run / "run.json").read_bytes()
    other = make_map(tmp_path / "other.mrc", np.ones((10, 12, 14), np.float32))
    for arguments in ([run, "--grid", "model"], [run, "--grid", "model", "--update"], [other, "-o", run]):
        refused = samu("enhance", *arguments, "--shard", "1", "--engine", "identity")
        assert refused.returncode == 2, refused.stdout
    assert (run / "run.json").read_bytes() == promise
    assert not done(run)


def test_a_run_without_shard_leaves_the_partition(maps, tmp_path, make_map):
    script_of(tmp_path, maps)
    run = tmp_path / "run"
    partition = settings(run)["partition"]
    other = make_map(tmp_path / "other.mrc", np.ones((10, 12, 14), np.float32))
    assert samu("enhance", other, "-o", run, "--engine", "identity").returncode == 0
    assert settings(run)["partition"] == partition
    # One that the partition does not know is some task's all the same.
    (run / "other" / "receipt.json").unlink()
    for number in range(1, TASKS + 1):
        assert samu("enhance", run, "--shard", number, "--engine", "identity").returncode == 0
    assert len(done(run)) == MAPS + 1


def test_options_go_on_to_the_tasks_and_the_run_keeps_what_changes_bytes(maps, tmp_path):
    options = [
        "--memory",
        "0.5",
        "--batch",
        "auto",
        "--retry-failed",
        "--mirror",
        "/a b",
        "--mirror",
        "/c",
        "--grid",
        "model",
    ]
    script = script_of(tmp_path, maps, *options).read_text()
    command = script.splitlines()[-1]
    assert "--memory 0.5" in command
    assert "--batch auto" in command
    assert "--retry-failed" in command
    assert "--mirror '/a b' --mirror /c" in command
    assert "--grid" not in command
    assert settings(tmp_path / "run")["options"]["grid"] == "model"


def test_more_tasks_than_maps_leave_some_with_nothing_to_do(maps, tmp_path):
    script_of(tmp_path, maps, tasks=MAPS + 1)
    run = tmp_path / "run"
    assert not of_task(run, MAPS + 1)
    assert samu("enhance", run, "--shard", MAPS + 1, "--engine", "identity").returncode == 0
    assert samu("enhance", run, "--shard", MAPS + 2, "--engine", "identity").returncode == 2


@pytest.fixture
def slow_engine(tmp_path, monkeypatch):
    """An engine that takes a second a cube, installed for the processes that a test starts."""
    (tmp_path / "slow_engine.py").write_text(
        textwrap.dedent(
            """
            import time
            from samu_engines.identity import IdentityEngine

            class Slow(IdentityEngine):
                def run(self, cubes):
                    time.sleep(len(cubes))
                    return cubes
            """
        )
    )
    info = tmp_path / "slow_engine-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow-engine\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[samu_batch.engines]\nslow = slow_engine:Slow\n")
    paths = [str(tmp_path), *(path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


def hollow(make_map, path, cubes):
    """A map of `cubes` cubes of the model, of which the disk holds nothing but the header."""
    edge = 50 * round(cubes ** (1 / 3))
    make_map(path, np.zeros((1, 1, 1)), mode=0, nx=edge, ny=edge, nz=edge, mx=edge, my=edge, mz=edge, cella=(edge,) * 3)
    os.truncate(path, 1024 + edge**3)
    return path


@pytest.mark.parametrize("executor", [["--executor", "serial"], ["--executor", "dask", "--workers", "1"]])
def test_a_map_that_the_time_limit_would_cut_off_is_not_begun(tmp_path, make_map, make_model, slow_engine, executor):
    model, _ = make_model(tmp_path / "model", cube=64, core=50)
    short = make_map(tmp_path / "short.mrc", np.random.default_rng(1).random((20, 20, 20), dtype=np.float32))
    # Of an hour, half is left: a map of a thousand cubes does not fit into it, one of five thousand into no such job.
    long, endless = (
        hollow(make_map, tmp_path / f"{name}.mrc", cubes) for name, cubes in (("long", 2197), ("endless", 4913))
    )
    now = int(time.time())
    job = {"SAMU_JOB_START_TIME": str(now - 1800), "SAMU_JOB_END_TIME": str(now + 1800)}
    run = tmp_path / "run"
    options = ["-o", run, "--model", model, "--engine", "slow", *executor]
    stopped = samu("enhance", short, long, endless, *options, **job)
    assert stopped.returncode == 75, stopped.stderr
    assert "the time left is too short for 1 maps" in stopped.stderr
    assert done(run) == {"short"}
    assert not (run / "long").exists()
    receipt = json.loads((run / "endless" / "receipt.json").read_text())
    assert receipt["kind"] == "time-limit"
    assert "needs about 1 h" in receipt["message"]
