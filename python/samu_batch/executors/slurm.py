"""Dask workers that are jobs of Slurm, through dask-jobqueue.

A job holds one worker process, which has three maps in flight. Jobs begin when Slurm has room, and end by their time
limit, by ``scancel`` or with their node: another one is then asked for. None outlives the process that asked.
"""

from __future__ import annotations

import logging
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask
from distributed import Client, Status

from samu_batch.executors.dask import interrupts_withheld, workers_running
from samu_batch.executors.in_flight import IN_FLIGHT
from samu_batch.executors.retirement import Retirement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distributed import SpecCluster

    from samu_batch.executors.slurm_file import SlurmJobs

UPKEEP_SECONDS = 15.0
LONGEST_UPKEEP_SECONDS = 600.0
DEATH_SECONDS = 180
"""How long a job looks for a driver that is gone, or slow."""

VAIN_STARTS = 3
"""Jobs in a row that may end before their workers are seen, while there is no other worker."""

log = logging.getLogger(__name__)


@contextmanager
def slurm_workers(
    jobs: SlurmJobs, *, name: str, threads: int, scratch: Path | None
) -> Iterator[tuple[Client, Callable[[], int]]]:
    """Ask Slurm for workers; give a client, and a function that keeps up their number and counts those that take maps.

    Parameters
    ----------
    jobs
        What to ask for.
    name
        Of the jobs and of their logs; a suffix tells apart what runs at once.
    threads
        CPU threads of each worker.
    scratch
        Node-local folder in which each job makes one of its own for unfinished volumes, and removes it.

    Raises
    ------
    ConnectionError
        dask-jobqueue or Slurm's commands are missing, or Slurm takes no job.
    """
    cluster_of_jobs = _dask_jobqueue()
    if missing := [command for command in ("sbatch", "squeue", "scancel") if shutil.which(command) is None]:
        raise ConnectionError(f"--slurm needs Slurm's commands, and there is no {', '.join(missing)} here")
    name = f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}-{secrets.token_hex(3)}"
    logs = Path(jobs.settings.get("log_directory", ".")).absolute()
    logs.mkdir(parents=True, exist_ok=True)
    arguments = _arguments(jobs, name=name, threads=threads, scratch=scratch, logs=logs)
    # dask-jobqueue's own limit of half an hour is nobody's wish. A worker that died is started again within its job.
    config = {"jobqueue.slurm.walltime": None, "distributed.deploy.lost-worker-timeout": "120s"}
    with dask.config.set(config):
        with interrupts_withheld():
            cluster = cluster_of_jobs(**arguments, silence_logs=logging.CRITICAL)
        with cluster, _cancelled_with_this_process(name), Client(cluster) as client:
            client.register_plugin(Retirement())
            yield client, _Jobs(cluster, client, jobs.jobs, name=name, logs=logs).keep_up


def _dask_jobqueue() -> type[SpecCluster]:
    """Import dask-jobqueue; its version 0.9 takes SIGINT for itself then, and is not given it."""
    before = signal.getsignal(signal.SIGINT)
    try:
        from dask_jobqueue.slurm import SLURMCluster, SLURMJob
    except ImportError as error:
        raise ConnectionError("--slurm needs dask-jobqueue: pip install 'samu-batch[slurm]'") from error
    finally:
        signal.signal(signal.SIGINT, before)

    class Job(SLURMJob):  # type: ignore[misc]
        async def close(self) -> None:
            await super().close()
            self.status = Status.closed  # as the cluster expects at its end, and 0.9 forgets

    class Cluster(SLURMCluster):  # type: ignore[misc]
        job_cls = Job

    return Cluster


def _arguments(jobs: SlurmJobs, *, name: str, threads: int, scratch: Path | None, logs: Path) -> dict[str, Any]:
    """Return what ``SLURMCluster`` is told: the file's settings, and how a worker of ours runs."""
    settings = {key: value for key, value in jobs.settings.items() if key != "log_directory"}
    where = f"-p {shlex.quote(str(scratch))} " if scratch else "-t "
    prologue = [
        *settings.get("job_script_prologue", []),
        *([f"mkdir -p {shlex.quote(str(scratch))}"] if scratch else []),
        f"export TMPDIR=$(mktemp -d {where}samu-batch-XXXXXXXX)",
        # SIGTERM ends the worker, and then this script, which tidies up.
        "trap : TERM",
        "trap 'rm -rf \"$TMPDIR\"' EXIT",
        f"export OMP_NUM_THREADS={threads} MALLOC_TRIM_THRESHOLD_=65536 DASK_DISTRIBUTED__WORKER__DAEMON=False",
    ]
    worker = ["--memory-limit", "0", "--no-dashboard", "--local-directory", '"$TMPDIR"']
    log_file = shlex.quote(str(logs / f"{name}-%j.log"))
    return settings | {
        "cores": IN_FLIGHT,
        "processes": 1,
        "death_timeout": DEATH_SECONDS,
        "job_cpu": jobs.cores,
        "job_name": name,
        "job_script_prologue": prologue,
        "worker_extra_args": [*worker, *settings.get("worker_extra_args", [])],
        "job_extra_directives": [f"--output={log_file}", "--no-requeue", *settings.get("job_extra_directives", [])],
        "scheduler_options": {"dashboard": False, "dashboard_address": ":0"} | settings.get("scheduler_options", {}),
    }


@contextmanager
def _cancelled_with_this_process(name: str) -> Iterator[None]:
    """Cancel the jobs called ``name`` when this process ends, however it ends: a shell waits for that."""
    words = ["sh", "-c", 'cat; exec scancel --quiet --name "$1"', "sh", name]
    nowhere = subprocess.DEVNULL
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere, start_new_session=True):
        yield


class _Jobs:
    """The jobs of one cluster, of which there shall be ``wanted``."""

    def __init__(self, cluster: SpecCluster, client: Client, wanted: int, *, name: str, logs: Path) -> None:
        self._cluster, self._client, self._wanted = cluster, client, wanted
        self._name, self._logs = name, logs
        self._next_look = 0.0
        self._joined: set[str] = set()
        self._vain = 0
        self._said = ""

    def keep_up(self) -> int:
        """Ask for jobs in the place of those that ended; return how many workers take maps.

        Raises
        ------
        ConnectionError
            There is no worker, and Slurm takes no job or several in a row ended before their workers began.
        """
        if time.monotonic() >= self._next_look:
            submitted = {name: job.job_id for name, job in self._cluster.workers.items()}
            self._cluster.sync(self._replace, submitted, self._queue())
            # A node that kills whatever begins on it is not fed all the time.
            pause = UPKEEP_SECONDS * 2 ** max(0, self._vain - VAIN_STARTS)
            self._next_look = time.monotonic() + min(LONGEST_UPKEEP_SECONDS, pause)
        return workers_running(self._client)

    async def _replace(self, submitted: dict[str, str | None], queue: dict[str, str] | None) -> None:
        workers = {worker["name"] for worker in self._cluster.scheduler_info["workers"].values()}
        self._joined |= workers
        self._vain = 0 if workers else self._vain
        ended = set() if queue is None else {name for name, job in submitted.items() if job not in queue} - workers
        for name in ended:
            if (job := self._cluster.workers.pop(name, None)) is not None:
                await job.close()
        self._vain += len(ended - self._joined)
        self._joined -= ended
        if self._vain >= VAIN_STARTS and not workers:
            last = next((submitted[name] for name in ended), None)
            raise ConnectionError(f"{self._vain} Slurm jobs ended before their workers began{self._last_words(last)}")
        await self._ask()
        states = ", ".join(sorted(set((queue or {}).values())))
        self._say(f"no worker yet; the Slurm jobs: {states}" if states and not workers else "")

    async def _ask(self) -> None:
        """Submit what is missing."""
        while len(self._cluster.worker_spec) < self._wanted:  # `scale` would do this, and hide what fails
            self._cluster.worker_spec.update(self._cluster.new_worker_spec())
        try:
            await self._cluster
        except RuntimeError as error:  # what dask-jobqueue makes of a command that fails
            reason = " ".join(str(error).rpartition("stderr:")[2].split())
            if not any(job.job_id for job in self._cluster.workers.values()):
                raise ConnectionError(f"Slurm takes no job: {reason}") from error
            self._vain += 1
            log.warning("Slurm takes no further job: %s", reason)

    def _queue(self) -> dict[str, str] | None:
        """Return the state of each job that has not ended, with its reason; None where Slurm does not answer."""
        words = ["squeue", "--noheader", "--name", self._name, "--format", "%i %T (%r)"]
        try:
            answer = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
        except (subprocess.SubprocessError, OSError):
            return None
        return dict(line.split(maxsplit=1) for line in answer.stdout.splitlines())

    def _last_words(self, job: str | None) -> str:
        path = self._logs / f"{self._name}-{job}.log"
        try:
            return f"; {path} ends: {path.read_text(errors='replace')[-500:].strip()}"
        except OSError:
            return f"; there is no {path}: do the nodes see this folder?" if job else ""

    def _say(self, text: str) -> None:
        if text and text != self._said:
            log.info(text)
        self._said = text
