"""A Dask cluster as its users start it: a scheduler and a worker of their own, in another folder."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest


@contextmanager
def running(*words, folder):
    """A process that is told to end when it is no longer needed."""
    with (folder / f"{words[1]}.log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", *words], cwd=folder, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def scheduler(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    told = folder / "scheduler.json"
    plain = ["--scheduler-file", str(told), "--no-dashboard"]
    with running("dask", "scheduler", "--host", "127.0.0.1", "--port", "0", *plain, folder=folder):
        while not told.exists() or not told.read_text().strip():
            time.sleep(0.05)
        with running("dask", "worker", "--nworkers", "1", "--nthreads", "3", *plain, folder=folder):
            log = folder / "worker.log"
            deadline = time.monotonic() + 60
            while "Starting established connection" not in log.read_text() and time.monotonic() < deadline:
                time.sleep(0.05)
            yield json.loads(told.read_text())["address"]


def test_workers_in_another_folder_write_into_the_run(scheduler, make_map, tmp_path):
    for number in range(3):
        make_map(tmp_path / f"m{number}.mrc", np.full((10 + number, 12, 14), 1, np.float32))
    (tmp_path / "list.txt").write_text("".join(f"m{number}.mrc\n" for number in range(3)))
    command = [sys.executable, "-m", "samu_batch", "enhance", "list.txt", "-o", "run", "--engine", "identity"]
    command += ["--scheduler", scheduler, "--scratch", "scratch"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert len(list((tmp_path / "run").glob("*/receipt.json"))) == 3
    assert not [path for path in (tmp_path / "elsewhere").iterdir() if path.name in ("run", "scratch")]
