"""Events that stop a run: a full disk, a dead network, signals. Each is one event, and the same command goes on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import mrcfile
import numpy as np
import pytest


def samu(*arguments, **streams):
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    command = [sys.executable, "-m", "samu_batch", *map(str, arguments)]
    return subprocess.Popen(command, text=True, start_new_session=True, **streams)


def ended(process):
    output, errors = process.communicate(timeout=120)
    return process.returncode, output, errors


def alive(group):
    """Whether any process of a group runs; the dead that nobody has collected yet do not count."""
    states = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return any(line.split()[0] == str(group) and "Z" not in line for line in states.splitlines())


@pytest.fixture
def maps(tmp_path):
    folder = tmp_path / "maps"
    folder.mkdir()
    for number in range(6):
        with mrcfile.new(folder / f"m{number}.mrc") as mrc:
            mrc.set_data(np.random.default_rng(number).random((70, 70, 70 + number), dtype=np.float32))
            mrc.voxel_size = 1.2
    return sorted(folder.iterdir())


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 8 MB; it needs the right to mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("executor", [["--executor", "serial"], ["--executor", "dask", "--workers", "2"]])
def test_a_full_disk_stops_the_run_once_and_it_goes_on(maps, small_disk, tmp_path, executor):
    run = tmp_path / "run"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(7 << 20))
    run.symlink_to(small_disk / "run")
    (small_disk / "run").mkdir()
    command = ["enhance", *maps, "-o", run, "--engine", "identity", *executor]
    status, _, errors = ended(samu(*command))
    assert status == 75, errors
    assert errors.count("stopped: ") == 1
    assert "No space left on device" in errors
    receipts = [json.loads(path.read_text()) for path in run.glob("*/receipt.json")]
    if "serial" in executor:
        assert len(receipts) < len(maps)
    assert not list(small_disk.rglob(".*.partial"))
    ballast.unlink()
    # Six maps of 1.4 MB need more than 8 MB has: the first two are enough to see that it goes on.
    status, _, errors = ended(samu("enhance", *maps[:2], "-o", run, "--engine", "identity", *executor))
    assert status == 0, errors


def test_a_dead_network_stops_the_run_once(maps, tmp_path):
    entries = [f"EMD-{number}" for number in range(1234, 1244)]
    nowhere = ["--mirror", "http://127.0.0.1:9", "--cache", tmp_path / "cache"]
    run = tmp_path / "run"
    status, output, errors = ended(samu("enhance", *entries, maps[0], "-o", run, "--engine", "identity", *nowhere))
    assert status == 75, errors
    assert "no mirror answers" in errors
    kinds = [json.loads(path.read_text())["kind"] for path in run.glob("*/receipt.json")]
    assert sorted(kinds) == ["done", "fetch"]
    assert "9 left" in output
    assert not list((tmp_path / "cache").glob("passing/*"))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_all_processes_leaves_no_process_and_no_scratch(maps, tmp_path, number, status, workers):
    run, scratch = tmp_path / "run", tmp_path / "scratch"
    options = ["-o", run, "--engine", "identity", "--workers", workers, "--scratch", scratch]
    for copy in range(24):  # enough that the signal comes before the last map is done, however fast the machine
        (maps[0].parent / f"copy{copy}.mrc").hardlink_to(maps[copy % len(maps)])
    maps = sorted(maps[0].parent.iterdir())
    process = samu("enhance", *maps, *options, "--memory", "0.25")
    begun = "*/receipt.json" if workers == 2 else "run.json"
    while not any(run.glob(begun)) and process.poll() is None:
        time.sleep(0.01)
    # As a terminal and Slurm do: the whole group.
    os.killpg(process.pid, number)
    code, _, errors = ended(process)
    assert code == status, errors
    assert "Traceback" not in errors
    deadline = time.monotonic() + 20
    while alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(process.pid)
    assert not scratch.exists() or not list(scratch.iterdir())
    code, _, errors = ended(samu("enhance", *maps, *options))
    assert code == 0, errors
    assert len(list(run.glob("*/receipt.json"))) == len(maps)


def test_a_first_ctrl_c_before_the_run_is_an_interrupt_as_well(tmp_path):
    fifo = tmp_path / "list.txt"
    os.mkfifo(fifo)
    process = samu("enhance", fifo, "-o", tmp_path / "run", "--engine", "identity")
    writer = fifo.open("w")  # opens when the command reads its list
    process.send_signal(signal.SIGINT)
    code, _, errors = ended(process)
    writer.close()
    assert code == -signal.SIGINT, errors
    assert "Traceback" not in errors
