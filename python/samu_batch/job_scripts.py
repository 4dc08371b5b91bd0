"""Scripts of job arrays: the directives of four schedulers around one command."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from samu_batch.time_limit import notice_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

SUBMIT = {"slurm": "sbatch", "pbs": "qsub", "sge": "qsub", "lsf": "bsub <"}

# exec: the process that the scheduler signals is samu-batch itself, so that it can release its map and end.
PLAIN = """\
exec {command}
"""

# Grid Engine warns with SIGUSR1 and SIGUSR2 only, and only the shell: it passes them on as SIGTERM.
TRAPPED = """\
{command} &
task=$!
trap 'kill -TERM "$task"' TERM USR1 USR2
while :; do
    wait "$task"
    status=$?
    kill -0 "$task" 2>/dev/null || exit "$status"
done
"""

# Schedulers other than Slurm do not tell a job when it ends.
CLOCK = """\
export SAMU_JOB_START_TIME=$(date +%s)
export SAMU_JOB_END_TIME=$((SAMU_JOB_START_TIME + {seconds}))
"""


def job_script(
    scheduler: str, *, name: str, tasks: int, command: Sequence[str], folder: str, seconds: int | None
) -> str:
    """Return the script of an array of ``tasks`` tasks.

    Parameters
    ----------
    scheduler
        ``slurm``, ``pbs``, ``sge`` or ``lsf``.
    name
        The jobs' name, and the beginning of the names of their logs.
    command
        What every task runs, in ``folder``.
    seconds
        The time limit of a task; None leaves it to the site.
    """
    clock = "" if seconds is None or scheduler == "slurm" else CLOCK.format(seconds=seconds)
    body = (TRAPPED if scheduler == "sge" else PLAIN).format(command=shlex.join(command))
    return "\n".join(
        [
            "#!/bin/bash",
            *_DIRECTIVES[scheduler](name, tasks, seconds),
            f"# Submit it with `{SUBMIT[scheduler]} THIS_SCRIPT`, and again until every task ends with status 0 or 1;",
            "# add what your site asks for: queue or partition, account, cores, memory, a GPU.",
            f"cd {shlex.quote(folder)} || exit 2",
            clock + body,
        ]
    )


def _slurm(name: str, tasks: int, seconds: int | None) -> list[str]:
    limit = [] if seconds is None else [f"#SBATCH --time={_clock(seconds)}"]
    # Slurm may signal up to a minute before it was asked to: no map is planned beyond the whole notice.
    return [
        f"#SBATCH --job-name={name}",
        f"#SBATCH --array=1-{tasks}",
        f"#SBATCH --output={name}-%A_%a.log",
        "#SBATCH --open-mode=append",
        *limit,
        f"#SBATCH --signal=B:TERM@{notice_seconds(seconds) // 2}",
    ]


def _pbs(name: str, tasks: int, seconds: int | None) -> list[str]:
    limit = [] if seconds is None else [f"#PBS -l walltime={_clock(seconds)}"]
    return [f"#PBS -N {name[:15]}", f"#PBS -J 1-{tasks}", "#PBS -j oe", *limit]


def _sge(name: str, tasks: int, seconds: int | None) -> list[str]:
    limit = [] if seconds is None else [f"#$ -l h_rt={seconds},s_rt={seconds - notice_seconds(seconds)}"]
    return [f"#$ -N {name}", f"#$ -t 1-{tasks}", "#$ -S /bin/bash", "#$ -cwd", "#$ -j y", "#$ -notify", *limit]


def _lsf(name: str, tasks: int, seconds: int | None) -> list[str]:
    # LSF counts in minutes.
    limit = [] if seconds is None else [f"#BSUB -W {max(1, seconds // 60)}", "#BSUB -wa TERM", "#BSUB -wt 2"]
    return [f'#BSUB -J "{name}[1-{tasks}]"', f"#BSUB -o {name}-%J_%I.log", *limit]


_DIRECTIVES = {"slurm": _slurm, "pbs": _pbs, "sge": _sge, "lsf": _lsf}


def _clock(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"
