"""The file that ``--slurm`` names: which jobs Slurm is asked for.

::

    jobs = 8                      # workers
    cores = 8                     # of each job
    memory = "32 GB"
    walltime = "24:00:00"
    job_extra_directives = ["--gres=gpu:1"]

``jobs`` is ours, every other key is one of dask-jobqueue's ``SLURMCluster``.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask.utils import parse_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

REQUIRED = {"jobs": int, "cores": int, "memory": str}
OPTIONAL = {
    "queue": str,
    "account": str,
    "walltime": str,
    "job_extra_directives": list,
    "job_directives_skip": list,
    "job_script_prologue": list,
    "worker_extra_args": list,
    "log_directory": str,
    "interface": str,
    "scheduler_options": dict,
    "python": str,
    "shebang": str,
}
WORDS = {int: "a number above 0", str: "text", list: "a list of texts", dict: "a table"}


@dataclass(frozen=True)
class SlurmJobs:
    """Jobs to ask for: how many, the cores and the memory (bytes) of each, and all that ``SLURMCluster`` takes."""

    jobs: int
    cores: int
    memory: int
    settings: Mapping[str, Any]


def read_slurm_file(path: Path) -> SlurmJobs:
    """Read the jobs that a TOML file describes.

    Raises
    ------
    ValueError
        It is no TOML, or a key is missing, unknown or of the wrong type; the message names it.
    """
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    kinds = REQUIRED | OPTIONAL
    if unknown := sorted(settings.keys() - kinds):
        raise ValueError(f"{path}: no such key: {', '.join(unknown)}; there are {', '.join(kinds)}")
    if missing := [key for key in REQUIRED if key not in settings]:
        raise ValueError(f"{path}: {', '.join(missing)} must be given")
    for key, value in settings.items():
        if not _is(value, kinds[key]):
            raise ValueError(f"{path}: {key} takes {WORDS[kinds[key]]}, not {value!r}")
    try:
        memory = parse_bytes(settings["memory"])
    except ValueError as error:
        raise ValueError(f"{path}: memory takes a size such as '16 GB', not {settings['memory']!r}") from error
    return SlurmJobs(jobs=settings.pop("jobs"), cores=settings["cores"], memory=memory, settings=settings)


def _is(value: object, kind: type) -> bool:
    if kind is int:
        return type(value) is int and value > 0
    return isinstance(value, kind) and (kind is not list or all(isinstance(item, str) for item in value))  # type: ignore[attr-defined]
