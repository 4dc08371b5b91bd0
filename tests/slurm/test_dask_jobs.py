"""`--slurm` on a real Slurm: Dask workers that are jobs, which are cancelled, come late, and end with their driver."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("dask_jobqueue", reason="--slurm needs dask-jobqueue")

MAPS = 200
NODES = 4
JOBS = """
jobs = 5
cores = 2
memory = "500 MB"
walltime = "00:30:00"
job_extra_directives = ["--exclusive"]
"""


class Gate:
    """Lets some maps through the engines of all jobs and then none, so that what stops a job meets it at work.

    The engine is one that a test installs for the processes that it starts.
    """

    ENGINE = """
        import os, pathlib, time
        from samu_engines.identity import IdentityEngine

        class Gated(IdentityEngine):
            def stream(self, batches):
                gate, job = pathlib.Path(os.environ["GATE"]), os.environ["SLURM_JOB_ID"]
                for number, batch in enumerate(batches):
                    while len(os.listdir(gate / "passed")) >= int((gate / "limit").read_text()):
                        (gate / "waiting" / job).touch()
                        time.sleep(0.1)
                    (gate / "passed" / f"{job}-{time.monotonic_ns()}").touch()
                    yield batch
    """

    def __init__(self, folder, monkeypatch):
        self._folder = folder
        for name in ("passed", "waiting", "gated-1.dist-info"):
            (folder / name).mkdir(parents=True)
        (folder / "gated.py").write_text(textwrap.dedent(self.ENGINE))
        (folder / "gated-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: gated\nVersion: 1\n")
        points = "[samu_batch.engines]\ngated = gated:Gated\n"
        (folder / "gated-1.dist-info" / "entry_points.txt").write_text(points)
        paths = [str(folder), *(path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path)]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
        monkeypatch.setenv("GATE", str(folder))

    def let(self, maps):
        """Let `maps` more through."""
        limit = self._folder / "limit.new"
        limit.write_text(str(len([*(self._folder / "passed").iterdir()]) + maps))
        limit.rename(self._folder / "limit")
        for path in (self._folder / "waiting").iterdir():
            path.unlink()

    @property
    def waiting(self):
        """The jobs that have a map waiting."""
        return {path.name for path in (self._folder / "waiting").iterdir()}


@pytest.fixture
def gate(tmp_path, monkeypatch):
    return Gate(tmp_path / "gate", monkeypatch)


@pytest.fixture
def run_of(gate, cluster, make_map, make_model, tmp_path):
    """`run_of(jobs)` starts a run over tiny maps whose workers are jobs."""
    rng = np.random.default_rng(4)
    (tmp_path / "maps").mkdir()
    for number in range(MAPS):
        make_map(tmp_path / "maps" / f"m{number}.mrc", rng.random((8 + number % 7, 9, 10), dtype=np.float32))
    (tmp_path / "list.txt").write_text("".join(f"maps/m{number}.mrc\n" for number in range(MAPS)))
    model, _ = make_model(tmp_path / "model", cube=64, core=50, percentile=None)
    started = []
    environment = os.environ | {"SLURM_CONF": cluster.environment["SLURM_CONF"]}

    def run(jobs):
        (tmp_path / "slurm.toml").write_text(jobs)
        command = [sys.executable, "-m", "samu_batch", "enhance", "list.txt", "-o", "run", "--slurm", "slurm.toml"]
        command += ["--model", model, "--engine", "gated", "--json", "--scratch", "scratch"]
        with (tmp_path / f"driver-{len(started)}.log").open("w") as log:
            pipes = {"stdout": subprocess.PIPE, "stderr": log, "text": True}
            started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_cancelled_jobs_and_a_killed_driver_lose_no_map_and_leave_nothing(cluster, gate, run_of, tmp_path):
    def jobs(state):
        return set(cluster.run("squeue", "-h", "-t", state, "-o", "%i").split())

    def done():
        receipts = (tmp_path / "run").glob("*/receipt.json")
        return {path.parent.name: path.stat().st_ino for path in receipts if '"done"' in path.read_text()}

    def lose_a_job(driver):
        """Have four workers at work, cancel the job of one, and see the fifth begin on its node."""
        cluster.wait(lambda: len(gate.waiting) == NODES or driver.poll(), "not every worker is at work", seconds=180)
        cluster.run("scancel", min(gate.waiting))
        cluster.wait(lambda: len(gate.waiting) == NODES + 1 or driver.poll(), "no late worker is at work", seconds=180)

    gate.let(30)
    first = run_of(JOBS)
    lose_a_job(first)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    cluster.wait(lambda: not jobs("running,pending,completing"), "jobs outlive their driver")
    before = done()
    gate.let(30)

    second = run_of(JOBS)
    lose_a_job(second)
    gate.let(MAPS)
    events, _ = second.communicate(timeout=180)
    assert second.returncode == 0, (tmp_path / "driver-1.log").read_text()
    finished = Counter(json.loads(line)["id"] for line in events.splitlines())
    assert set(finished.values()) == {1}
    # What the first run did is as it was, and nothing was finished by both.
    assert not finished.keys() & before.keys()
    assert finished.keys() | before.keys() == {f"m{number}" for number in range(MAPS)}
    assert before.items() <= done().items()
    cluster.wait(lambda: not jobs("running,pending,completing"), "jobs outlive their driver")
    assert not any((tmp_path / "scratch").iterdir())


def test_what_slurm_refuses_is_a_wrong_command(run_of, tmp_path):
    refused = run_of(JOBS + 'queue = "elsewhere"\n')
    refused.communicate(timeout=60)
    assert refused.returncode == 2
    assert "Slurm takes no job: sbatch: error: invalid partition" in (tmp_path / "driver-0.log").read_text()


def test_jobs_in_which_no_worker_begins_end_the_run_with_their_last_words(run_of, tmp_path):
    broken = run_of(JOBS + 'python = "/no/python"\n')
    broken.communicate(timeout=120)
    assert broken.returncode == 2
    message = (tmp_path / "driver-0.log").read_text()
    assert "Slurm jobs ended before their workers began" in message
    assert "/no/python: No such file" in message
