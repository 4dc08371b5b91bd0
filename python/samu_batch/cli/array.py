"""``samu-batch array``."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from samu_batch.cli.options import read_entries, read_spec, run_options, take_map_options
from samu_batch.cli.runs import INHERITED, begin, inherit, refuse, run_directory, tasks_of
from samu_batch.cli.settings import Batch, Gibibytes, Seconds, SettingsCommand, explicit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from samu_batch.entries import Entry
    from samu_batch.run_directory import RunDirectory

OWN = {"tasks", "scheduler_kind", "time", "run", *INHERITED}
"""Parameters that the RUN and the script hold; all others go on to the tasks."""


@click.command(cls=SettingsCommand)
@click.argument("entries", nargs=-1, required=True, metavar="ENTRY...")
@click.option("--tasks", type=click.IntRange(min=1), required=True, help="Tasks that share the maps.")
@click.option(
    "--for",
    "scheduler_kind",
    type=click.Choice(["slurm", "pbs", "sge", "lsf"]),
    default="slurm",
    show_default=True,
    help="The scheduler.",
)
@click.option("--time", type=Seconds(), help="Time limit of a task.  [default: the site's]")
@run_options
def array(entries: tuple[str, ...], **values: Any) -> None:
    r"""Print the script of a job array whose tasks share the maps of a LIST.

    The list and who does what, balanced by predicted cost, are frozen in RUN/run.json. Any task may be run again; the
    same script goes on from where it was. Asked again with another N, what is not done is divided anew: then no task of
    before may still run or wait.

    \b
      samu-batch array emdb_list.txt --tasks 20 -o RUN --time 24:00:00 > array.sh
      sbatch --cpus-per-task=8 --gres=gpu:1 array.sh
      samu-batch report RUN
    """
    from samu_batch.job_scripts import job_script

    words = list(_words(values))
    listed = read_entries(entries)
    run = run_directory(entries, listed, values["run"])
    listed = _whole(run, inherit(values, run, listed))
    waiting = _freeze(run, listed, values)
    path = run.path.absolute()
    script = job_script(
        values["scheduler_kind"],
        name=re.sub(r"[^A-Za-z0-9_.-]", "_", f"samu-{path.name}"),
        tasks=values["tasks"],
        command=[sys.executable, "-m", "samu_batch", "enhance", str(path), "--shard", "auto", *words],
        folder=str(Path.cwd()),
        seconds=values["time"],
    )
    click.echo(script, nl=False)
    click.echo(f"{path}: {waiting} of {len(listed)} maps to do, {values['tasks']} tasks", err=True)


def _freeze(run: RunDirectory, listed: Sequence[Entry], values: dict[str, Any]) -> int:
    """Record the list and who does what; return how many maps there are to do."""
    from samu_batch.batch import plan_batch
    from samu_batch.shards import partition_of

    options, _ = take_map_options(values, maps=1)
    spec = read_spec(options)
    tasks = tasks_of(run, listed, options, output=None)
    refuse(run, tasks, spec, options, update=values["update"])
    decisions = plan_batch(tasks, spec=spec, retry_failed=values["retry_failed"], update=values["update"])
    costs = {decision.task.entry.id: decision.cubes if decision.run else 0 for decision in decisions}
    begin(run, listed, spec, options, partition=partition_of(costs, values["tasks"]))
    return sum(decision.run for decision in decisions)


def _whole(run: RunDirectory, listed: Sequence[Entry]) -> list[Entry]:
    """Return the RUN's list with what is new to it: a partition is one of the whole."""
    return list(({entry.id: entry for entry in run.entries} | {entry.id: entry for entry in listed}).values())


def _words(values: dict[str, Any]) -> Iterator[str]:
    """Yield the options of this command that its tasks shall have, as words of a command line."""
    for option in click.get_current_context().command.params:
        name = str(option.name)
        if not isinstance(option, click.Option) or name in OWN or name not in values or not explicit(name):
            continue
        value, flag = values[name], max(option.opts, key=len)
        if option.is_flag:
            yield from [flag] * bool(value)
        else:
            for one in value if option.multiple else [value]:
                yield from (flag, _text(option, one))


def _text(option: click.Option, value: Any) -> str:
    if isinstance(option.type, Gibibytes):
        return f"{value / (1 << 30):g}"
    if isinstance(option.type, Batch) and value is None:
        return "auto"
    return os.fspath(value) if isinstance(value, Path) else str(value)
