"""Law 7: killed at any moment and resumed, a run ends with the bytes of one that was never killed."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import mrcfile
import numpy as np
import pytest

MAPS = 4
TIMES = ("started", "finished", "seconds", "peak_memory", "versions")


@pytest.fixture
def maps(tmp_path):
    folder = tmp_path / "maps"
    folder.mkdir()
    for number in range(MAPS):
        voxels = np.random.default_rng(number).normal(size=(60, 70 + 10 * number, 80)).astype(np.float32)
        with mrcfile.new(folder / f"m{number}.mrc") as mrc:
            mrc.set_data(voxels)
            mrc.voxel_size = 1.3
    (folder / "list.txt").write_text("".join(f"m{number}.mrc\n" for number in range(MAPS)))
    return folder / "list.txt"


def start(maps, run, scratch, **streams):
    command = [sys.executable, "-m", "samu_batch", "enhance", maps, "-o", run, "--engine", "identity"]
    # Disk scratch and a small budget: the longest and most breakable way through.
    command += ["--executor", "serial", "--memory", "0.25", "--scratch", scratch, "--quiet", "--format", "both"]
    return subprocess.Popen(list(map(str, command)), start_new_session=True, **streams)


def content(run):
    """Every file's bytes; receipts and reports without their timings."""
    files = {}
    for path in sorted(run.rglob("*")):
        if path.name == "receipt.json":
            receipt = json.loads(path.read_text())
            files[str(path.relative_to(run))] = {key: receipt[key] for key in receipt if key not in TIMES}
        elif path.is_file() and path.parent != run:
            files[str(path.relative_to(run))] = path.read_bytes()
    return files


@pytest.mark.slow
def test_killed_at_random_moments_a_run_ends_with_the_same_bytes(maps, tmp_path):
    quiet, killed, scratch = tmp_path / "quiet", tmp_path / "killed", tmp_path / "scratch"
    began = time.monotonic()
    assert start(maps, quiet, scratch).wait(120) == 0
    whole = time.monotonic() - began
    rng = random.Random(7)
    kills = 0
    while kills < 50:
        process = start(maps, killed, scratch, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            process.wait(rng.uniform(0.15, 1.0) * whole)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            assert not torn(killed)
        else:
            # It finished: take some maps' receipts away, so that there is work to kill again.
            for number in rng.sample(range(MAPS), rng.randint(1, MAPS)):
                (killed / f"m{number}" / "receipt.json").unlink()
    assert start(maps, killed, scratch).wait(120) == 0
    assert content(killed) == content(quiet)
    assert {path.name for path in killed.iterdir()} == {path.name for path in quiet.iterdir()}
    assert not list(scratch.iterdir())


def torn(run):
    """Outputs whose receipt says ``done`` but whose bytes are not those it recorded."""
    damaged = []
    for path in run.glob("*/receipt.json"):
        for output in json.loads(path.read_text())["outputs"]:
            made = path.parent / output["file"]
            files = [file for file in made.rglob("*") if file.is_file()] if made.is_dir() else [made]
            whole = sum(file.stat().st_size for file in files) == output["bytes"]
            if made.is_file():
                whole &= hashlib.sha256(made.read_bytes()).hexdigest() == output["sha256"]
            if not whole:
                damaged.append(made)
    return damaged


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_run_and_the_same_command_resumes(maps, tmp_path, number, status):
    run, scratch = tmp_path / "run", tmp_path / "scratch"
    process = start(maps, run, scratch, stderr=subprocess.PIPE, text=True)
    while not (run / "run.json").exists():
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status, errors
    assert "goes on from here" in errors
    assert not scratch.exists() or not list(scratch.iterdir())
    assert start(maps, run, scratch).wait(120) == 0
    assert len(list(run.glob("*/receipt.json"))) == MAPS
