"""``--slurm FILE``: the workers are jobs of Slurm."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from samu_batch.cli.settings import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from samu_batch.executors.dask import Crew
    from samu_batch.run_directory import RunDirectory


class OnSlurm(NamedTuple):
    """What gives the workers, and the device of their engines (None: what a job has)."""

    workers: Callable[[], AbstractContextManager[Crew]]
    device: str | None


def take_slurm(values: dict[str, Any], run: RunDirectory | None) -> OnSlurm | None:
    """Remove ``--slurm`` from ``values`` and make a job's cores and memory the defaults.

    Raises
    ------
    CommandError
        FILE cannot be read, or another option is against it.
    """
    path, devices, scratch = values.pop("slurm"), values["devices"], values["scratch"]
    if path is None:
        return None
    against = [f"--{name}" for name in ("output", "scheduler", "workers") if values[name] is not None]
    against += ["--executor serial"] * (values["executor"] == "serial")
    if against or run is None:
        raise CommandError(f"--slurm starts workers of its own: it does not go with {', '.join(against)}")
    if devices not in ("all", "cpu"):
        raise CommandError(f"a job has the GPUs that Slurm gives it: --devices is all or cpu there, not {devices}")
    from samu_batch.executors.slurm import slurm_workers
    from samu_batch.executors.slurm_file import read_slurm_file
    from samu_batch.machine import default_memory

    try:
        jobs = read_slurm_file(path)
    except ValueError as error:
        raise CommandError(str(error)) from error
    threads = values["threads"] or jobs.cores
    memory = values["memory"] or default_memory(1, of=jobs.memory)
    # Each job makes a folder of its own in the scratch, and TMPDIR names it.
    values |= {"devices": "cpu", "threads": threads, "memory": memory, "scratch": None}
    name = f"samu-{run.path.absolute().name}"
    workers = partial(slurm_workers, jobs, name=name, threads=threads, scratch=scratch)
    return OnSlurm(workers, device=None if devices == "all" else devices)
