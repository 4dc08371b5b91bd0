"""A private Slurm cluster of four nodes on this machine, from Debian's slurm-wlm and munge; an engine with a gate."""

import json
import os
import shutil
import signal
import socket
import subprocess
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

NODES = 4
DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch")

# Node failures are seen within seconds rather than minutes; nothing else is unlike a real site's.
CONFIGURATION = """
ClusterName=samu
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=10
InactiveLimit=0
KillWait=10
MessageTimeout=20
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=2 RealMemory=1000
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Cluster:
    """The daemons of one cluster and its commands."""

    def __init__(self, folder):
        self.folder = folder
        self._configuration = {"SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons = {}

    @property
    def environment(self):
        """That of this process, as it is now, and where the cluster is."""
        return os.environ | self._configuration

    def start(self):
        ports = free_ports(NODES + 1)
        (self.folder / "state").mkdir()
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                host=socket.gethostname().split(".")[0],
                folder=self.folder,
                nodes=NODES,
                controller=ports[-1],
                first=ports[0],
                last=ports[-2],
            )
        )
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        names = {"key-file": "key", "pid-file": "pid", "seed-file": "seed", "socket": "socket", "log-file": "log"}
        files = [f"--{option}={self.folder}/munge.{name}" for option, name in names.items()]
        self._start("munged", "munged", "--foreground", "--force", *files)
        self.wait(lambda: (self.folder / "munge.socket").exists(), "munged did not begin")
        self._start("slurmctld", "slurmctld", "-D", "-i")
        for number in range(1, NODES + 1):
            self.restart(f"n{number}")
        self.wait(lambda: self._idle() == NODES, "the nodes did not come up")

    def run(self, *words):
        """Run a Slurm command and return its output."""
        result = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, f"{words}: {result.stderr}"
        return result.stdout.strip()

    def tasks(self, job):
        """The state and the node of each task of an array that Slurm still knows."""
        lines = self.run("squeue", "-h", "-r", "-t", "all", "-j", job, "-o", "%K %T %N").splitlines()
        return {int(number): (state, *node) for number, state, *node in map(str.split, lines)}

    def restart(self, node):
        """Start a node, or one that was lost."""
        self._start(node, "slurmd", "-D", "-N", node)

    def lose(self, node):
        """End a node as a loss of power does: its daemon and everything below it, at once."""
        daemon = self._daemons.pop(node)
        lost = [*descendants(daemon.pid, node, self.folder / "slurm.conf"), daemon.pid]
        for pid in lost:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        daemon.wait()

    def wait(self, ready, reason, *, seconds=90):
        """Wait until `ready()`."""
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                logs = {path.name: path.read_text()[-1500:] for path in self.folder.glob("slurm*.log")}
                raise TimeoutError(f"{reason}; {logs}")
            time.sleep(0.2)

    def stop(self):
        if "slurmctld" in self._daemons:
            subprocess.run(["scancel", "-u", "root", "-s", "KILL", "-f"], env=self.environment, capture_output=True)
        for name in reversed(list(self._daemons)):
            if name.startswith("n"):
                self.lose(name)
            else:
                self._daemons[name].terminate()
                self._daemons[name].wait(30)

    def _start(self, name, *words):
        with (self.folder / f"{name}.out").open("w") as log:
            self._daemons[name] = subprocess.Popen(words, env=self.environment, stdout=log, stderr=log)

    def _idle(self):
        listed = subprocess.run(["sinfo", "-h", "-o", "%D %t"], env=self.environment, capture_output=True, text=True)
        return sum(int(count) for count, state in map(str.split, listed.stdout.splitlines()) if state == "idle")


def free_ports(count):
    """Consecutive ports that nothing listens on."""
    for first in range(17001, 30000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return list(range(first, first + count))
    pytest.skip("no free ports")


def descendants(pid, node, configuration):
    """The processes below a node's daemon; its job steps leave the family, and are known by what they were told."""
    told = {f"SLURMD_NODENAME={node}".encode(), f"SLURM_CONF={configuration}".encode()}
    parents, steps = {}, set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if told <= set((folder / "environ").read_bytes().split(b"\0")):
                steps.add(int(folder.name))
        except (OSError, ValueError):
            continue
    steps |= {parents[step] for step in steps if parents.get(step, 1) > 1 and is_step(parents[step])}
    below = {child for child in parents if child != pid and pid in ancestors(child, parents)}
    return steps | below


def is_step(pid):
    try:
        return b"slurmstepd" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def ancestors(pid, parents):
    while pid := parents.get(pid, 0):
        yield pid


@pytest.fixture
def cluster(tmp_path):
    missing = [name for name in DAEMONS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: apt-get install slurm-wlm munge")
    if os.geteuid() != 0:
        pytest.skip("the private cluster's daemons run as root")
    folder = tmp_path / "slurm"
    folder.mkdir()
    cluster = Cluster(folder)
    try:
        try:
            cluster.start()
        except TimeoutError as error:
            pytest.skip(f"no private Slurm here: {error}")
        yield cluster
    finally:
        cluster.stop()


class Gate:
    """Lets some maps through the engines of all jobs and then none, so that what stops a job meets it at work.

    The engine is one that a test installs for the processes that it starts. A job is known by its number, or as a task
    of an array by the task's.
    """

    ENGINE = """
        import json, os, pathlib, signal, time
        from samu_engines.identity import IdentityEngine

        class Gated(IdentityEngine):
            def stream(self, batches):
                gate = pathlib.Path(os.environ["GATE"])
                job = os.environ.get("SLURM_ARRAY_TASK_ID") or os.environ["SLURM_JOB_ID"]
                for batch in batches:
                    while closed(gate, job) and not stopping():
                        (gate / "waiting" / job).touch()
                        time.sleep(0.1)
                    if not stopping():
                        (gate / "passed" / f"{job}-{time.monotonic_ns()}").touch()
                    yield batch

        def stopping():  # a batch that takes long is waited for
            return signal.getsignal(signal.SIGTERM) is signal.SIG_IGN

        def closed(gate, job):
            limits = json.loads((gate / "limits").read_text())
            passed = [name.partition("-")[0] for name in os.listdir(gate / "passed")] if limits else []
            counts = {"all": len(passed), job: passed.count(job)}
            return any(counts[name] >= limits.get(name, len(passed) + 1) for name in counts)
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
        self.let()

    def let(self, **limits):
        """Let as many maps more through as `limits` say for some jobs, or for `all` of them; the others freely."""
        passed = [path.name.partition("-")[0] for path in (self._folder / "passed").iterdir()]
        counts = {job: passed.count(job) for job in limits} | {"all": len(passed)}
        new = self._folder / "limits.new"
        new.write_text(json.dumps({job: counts[job] + more for job, more in limits.items()}))
        new.rename(self._folder / "limits")
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
def gated(gate, make_map, make_model, tmp_path):
    """`gated(maps)` makes `list.txt` of tiny maps, and returns the options of a run over them behind the gate."""

    def make(maps):
        rng = np.random.default_rng(4)
        (tmp_path / "maps").mkdir()
        for number in range(maps):
            make_map(tmp_path / "maps" / f"m{number}.mrc", rng.random((8 + number % 7, 9, 10), dtype=np.float32))
        (tmp_path / "list.txt").write_text("".join(f"maps/m{number}.mrc\n" for number in range(maps)))
        model, _ = make_model(tmp_path / "model", cube=64, core=50, percentile=None)
        return ["--model", model, "--engine", "gated", "--scratch", "scratch", "--json"]

    return make
