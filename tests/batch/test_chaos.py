"""Chaos: workers and drivers killed, a full disk, a server that is gone; a last plain re-run ends as a quiet run does.

`SAMU_CHAOS_MAPS=2000` makes an evening of it.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

MAPS = int(os.environ.get("SAMU_CHAOS_MAPS", "48"))
ARCHIVE = Path(__file__).parents[1] / "fake_archive.py"
TIMES = ("started", "finished", "seconds", "peak_memory", "versions")
STOPPED_EARLY = 75


class Server:
    """The fake archive, which can go away and come back at the same place."""

    def __init__(self):
        self.port = 0
        self.begin()

    def begin(self):
        command = [sys.executable, ARCHIVE, "--maps", MAPS, "--every", 0, "--latency", 0.2, "--port", self.port]
        self.process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
        self.told = json.loads(self.process.stdout.readline())
        self.port = int(self.told["url"].rpartition(":")[2])

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.end()


@pytest.fixture
def places(tmp_path):
    places = {name: tmp_path / name for name in ("quiet", "chaos", "cache", "scratch", "tmp", "disk")}
    for name in ("tmp", "disk"):
        places[name].mkdir()
    yield places
    subprocess.run(["umount", places["disk"]], capture_output=True)


@pytest.fixture
def start(server, places, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{entry}\n" for entry in server.told["good"]))
    begun = []

    def start(run):
        command = [sys.executable, "-m", "samu_batch", "enhance", listed, "-o", run, "--mirror", server.told["url"]]
        command += ["--engine", "identity", "--devices", "cpu", "--workers", 2, "--threads", 1, "--quiet"]
        command += ["--cache", places["cache"], "--scratch", places["scratch"]]
        environment = os.environ | {"TMPDIR": str(places["tmp"])}
        with (tmp_path / "log").open("a") as log:
            begun.append(subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, env=environment))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.wait()


def done(run):
    return len(list(run.glob("*/receipt.json")))


def content(run):
    """Every map's files; receipts without their timings."""
    files = {}
    for path in sorted(run.glob("*/*")):
        name = str(path.relative_to(run))
        files[name] = path.read_bytes()
        if path.name == "receipt.json":
            receipt = json.loads(files[name])
            files[name] = {key: value for key, value in receipt.items() if key not in TIMES}
            files[name]["input"].pop("mtime_ns")  # when it was downloaded
    return files


def kill_a_worker(driver, rng):
    workers = [child for child in psutil.Process(driver.pid).children() if is_worker(child)]
    if workers:
        rng.choice(workers).kill()


def is_worker(process):
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # it has just ended
        return False


class Chaos:
    """Keeps one run going against all that happens to it."""

    def __init__(self, start, run, rng):
        self.start, self.run, self.rng = start, run, rng
        self.driver = start(run)

    def until(self, count, *, deaths=True):
        """Go on until so many maps are done; a worker dies after every few of them."""
        next_death = done(self.run) + self.rng.randint(2, 5)
        while (now := done(self.run)) < min(count, MAPS):
            if self.driver.poll() is not None:
                assert self.driver.returncode in (0, 1, STOPPED_EARLY)
                self.driver = self.start(self.run)
            if deaths and now >= next_death:
                next_death = now + self.rng.randint(3, 8) * MAPS // 48
                kill_a_worker(self.driver, self.rng)
            time.sleep(0.02)

    def kill_driver(self):
        self.driver.kill()
        self.driver.wait()
        self.driver = self.start(self.run)


@pytest.mark.slow
def test_after_chaos_a_plain_rerun_ends_as_a_quiet_run(server, start, places, tmp_path):
    assert start(places["quiet"]).wait(300) == 0
    small_disk = mounted(places["disk"])
    run = places["chaos"]
    run.symlink_to(places["disk"] / "run")
    (places["disk"] / "run").mkdir()
    chaos = Chaos(start, run, random.Random(11))
    chaos.until(MAPS // 6)
    chaos.kill_driver()
    chaos.until(MAPS // 4)
    server.end()
    time.sleep(3)
    server.begin()
    chaos.until(MAPS // 3)
    chaos.kill_driver()
    chaos.until(MAPS // 2)
    if small_disk:
        fill(places["disk"] / "ballast")
        assert chaos.driver.wait(120) == STOPPED_EARLY
        (places["disk"] / "ballast").unlink()
        chaos.driver = start(run)
    chaos.until(2 * MAPS // 3)
    chaos.kill_driver()
    chaos.until(MAPS)
    chaos.driver.wait(300)
    last = start(run)
    assert last.wait(300) == 0, (tmp_path / "log").read_text()[-3000:]
    kinds = {path.parent.name: json.loads(path.read_text())["kind"] for path in run.glob("*/receipt.json")}
    assert kinds == dict.fromkeys(server.told["good"], "done")
    found, quiet = content(run), content(places["quiet"])
    assert found.keys() == quiet.keys()
    for name, expected in quiet.items():
        assert found[name] == expected, name
    assert {path.name for path in run.iterdir()} == {path.name for path in places["quiet"].iterdir()}
    for name in ("cache", "scratch"):
        assert not list(places[name].rglob("*")), name
    # Each driver that was killed leaves Dask's folder of lock files, as docs/run-directory.md says.
    assert not [path for path in places["tmp"].iterdir() if not path.name.startswith("samu-batch-dask-")]
    if not small_disk:
        pytest.skip("all but the full disk was tried: this user may not mount a small one")


def mounted(folder):
    """Mount a disk of 64 MB or of 40 kB a map; return whether that was allowed."""
    size = f"size={max(64 << 20, 400_000 * MAPS)}"
    mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder]
    return shutil.which("mount") is not None and not subprocess.run(mount, capture_output=True).returncode


def fill(path):
    """Leave no room on a disk."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
