"""``samu-batch enhance``."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from samu_batch.cli.options import any_huge, read_entries, read_spec, run_options, take_map_options
from samu_batch.cli.outcome import allowance, conclude, work
from samu_batch.cli.runs import begin, inherit, refuse, run_directory, take_shard, tasks_of
from samu_batch.cli.settings import CommandError, SettingsCommand
from samu_batch.cli.signals import Stopped, stopping_signals
from samu_batch.cli.slurm import take_slurm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from samu_batch.batch import Decision, Executor
    from samu_batch.cli.slurm import OnSlurm
    from samu_batch.model import ModelSpec
    from samu_batch.task import MapOptions, MapTask
    from samu_batch.time_limit import Allowance


@click.command(cls=SettingsCommand)
@click.argument("entries", nargs=-1, required=True, metavar="ENTRY...")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="For one ENTRY: write this file and its receipt FILE.json, and no RUN.",
)
@run_options
@click.option(
    "--slurm",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="TOML file of the Slurm jobs that shall be the workers.",
)
@click.option("--shard", metavar="K[/N]|auto", help="The maps of one task of a job array; auto asks the scheduler.")
@click.option("-n", "--dry-run", is_flag=True, help="Print each map's reason to run or to skip, and stop.")
def enhance(entries: tuple[str, ...], **values: Any) -> None:
    r"""Enhance maps.

    ENTRY is a map file, a URL, an EMDB id in any usual spelling, a LIST file, a RUN (its list again), or - for a list
    on standard input. A LIST has one entry a line; # begins a comment; a CSV with a header may add the columns id, map,
    contour, structure and resolution.

    A run that was stopped is resumed by the same command; what is done is never done again.

    \b
    Exit status: 0 every map done, 1 some failed, 2 the command was wrong and nothing ran,
    75 stopped early with maps left (time limit, full disk, network gone), 130 and 143 stopped by a signal.
    """
    _log(verbose=values["verbose"])
    if values["output"] and values["run"]:
        raise CommandError("--output writes one file and no RUN: it does not go with -o")
    listed = read_entries(entries)
    run = None if values["output"] else run_directory(entries, listed, values["run"])
    listed = inherit(values, run, listed)
    mine = take_shard(values["shard"], run, listed)
    slurm = take_slurm(values, run)
    dask = _with_dask(values)
    options, devices = take_map_options(
        values, maps=len(mine) if dask else 1, huge=lambda options: dask and any_huge(mine, options)
    )
    elsewhere = slurm is not None or values["scheduler"] is not None
    dask = dask and (len(devices) > 1 or values["executor"] == "dask" or elsewhere)
    options = replace(options, update=values["update"], memory=options.memory // (_in_flight() if dask else 1))
    options = options if slurm is None else replace(options, device=slurm.device)
    spec = read_spec(options)
    tasks = tasks_of(run, mine, options, output=values["output"])
    # What a RUN was made with changes for all of its tasks at once, or for none.
    refuse(run, tasks, spec, options, update=values["update"] and not values["shard"])
    if run is not None:
        click.echo(run.path, err=values["as_json"])
    decisions = _decide(tasks, spec, update=values["update"] or run is None, retry_failed=values["retry_failed"])
    if values["dry_run"]:
        _show(decisions, as_json=values["as_json"])
        return
    executor = _executor(decisions, spec, options, devices, scheduler=values["scheduler"], slurm=slurm, dask=dask)
    try:
        with stopping_signals():
            if run is not None:
                begin(run, listed, spec, options, shared=values["shard"] is not None)
            limits = allowance(decisions, spec, options, workers=len(devices), dask=dask, elsewhere=elsewhere)
            status = _work(decisions, executor, values, allowance=limits)
    except Stopped as stopped:
        click.echo("stopped by a signal; the same command goes on from here", err=True)
        status = stopped.status
    reports = values["shard"] is None
    concluded = conclude(
        run, tasks, max_failures=values["max_failures"], as_json=values["as_json"], write_reports=reports
    )
    sys.exit(status or concluded)


def _log(*, verbose: bool) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    logging.getLogger("samu_batch").setLevel(logging.DEBUG if verbose else logging.INFO)


def _with_dask(values: dict[str, Any]) -> bool:
    """Whether Dask may run this command: it is asked for, or nothing is against it."""
    if values["executor"] == "serial" and values["scheduler"]:
        raise CommandError("--scheduler joins a Dask cluster: it does not go with --executor serial")
    return bool(values["executor"] != "serial" and not values["output"])


def _in_flight() -> int:
    from samu_batch.executors.in_flight import IN_FLIGHT

    return IN_FLIGHT


def _decide(tasks: Sequence[MapTask], spec: ModelSpec, *, update: bool, retry_failed: bool) -> list[Decision]:
    from samu_batch.batch import plan_batch

    return plan_batch(tasks, spec=spec, retry_failed=retry_failed, update=update)


def _show(decisions: Sequence[Decision], *, as_json: bool) -> None:
    for decision in decisions:
        name, reason = decision.task.entry.id, decision.reason
        click.echo(json.dumps({"id": name, "reason": reason}) if as_json else f"{name}\t{reason}")


def _executor(
    decisions: Sequence[Decision],
    spec: ModelSpec,
    options: MapOptions,
    devices: Sequence[str],
    *,
    scheduler: str | None,
    slurm: OnSlurm | None,
    dask: bool,
) -> Executor:
    """Make the loop; an engine that cannot be loaded is a wrong command, not ten thousand failures."""
    from samu_batch.errors import SamuError
    from samu_batch.process_engine import process_engine

    waiting = sum(decision.run for decision in decisions)
    if dask:
        from samu_batch.cubes import spread_above
        from samu_batch.executors.dask import DaskExecutor

        if slurm is not None:
            return DaskExecutor(elsewhere=slurm.workers)
        if not any(decision.run and (decision.cubes or 0) > spread_above(spec) for decision in decisions):
            devices = devices[: max(1, waiting)]
        return DaskExecutor(devices, threads=options.threads, scheduler=scheduler)
    from samu_batch.executors.serial import SerialExecutor

    try:
        if waiting:
            process_engine(options)
    except SamuError as error:
        raise CommandError(str(error)) from error
    return SerialExecutor()


def _work(
    decisions: Sequence[Decision], executor: Executor, values: dict[str, Any], *, allowance: Allowance | None
) -> int:
    from samu_batch.errors import EngineError

    try:
        return work(decisions, executor, quiet=values["quiet"], as_json=values["as_json"], allowance=allowance)
    except (EngineError, ConnectionError) as error:  # no engine loads in the workers, or there are none
        raise CommandError(str(error)) from error
