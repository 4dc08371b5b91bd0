"""`--slurm` on a real Slurm: Dask workers that are jobs, which are cancelled, come late, and end with their driver."""

import json
import signal
import subprocess
import sys
from collections import Counter

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


@pytest.fixture
def run_of(cluster, gated, tmp_path):
    """`run_of(jobs)` starts a run over tiny maps whose workers are jobs."""
    options, environment, started = gated(MAPS), cluster.environment, []

    def run(jobs):
        (tmp_path / "slurm.toml").write_text(jobs)
        command = [sys.executable, "-m", "samu_batch", "enhance", "list.txt", "-o", "run", "--slurm", "slurm.toml"]
        with (tmp_path / f"driver-{len(started)}.log").open("w") as log:
            pipes = {"stdout": subprocess.PIPE, "stderr": log, "text": True}
            started.append(subprocess.Popen([*command, *options], cwd=tmp_path, env=environment, **pipes))
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

    gate.let(all=30)
    first = run_of(JOBS)
    lose_a_job(first)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    cluster.wait(lambda: not jobs("running,pending,completing"), "jobs outlive their driver")
    before = done()
    gate.let(all=30)

    second = run_of(JOBS)
    lose_a_job(second)
    gate.let()
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
