"""``samu-batch enhance``."""

from __future__ import annotations

import json
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from samu_batch.cli.options import map_options, read_entries, read_spec, take_map_options
from samu_batch.cli.outcome import conclude, work
from samu_batch.cli.settings import CommandError, SettingsCommand, Share, explicit
from samu_batch.cli.signals import Stopped, stopping_signals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from samu_batch.batch import Decision, Executor
    from samu_batch.entries import Entry
    from samu_batch.model import ModelSpec
    from samu_batch.run_directory import RunDirectory
    from samu_batch.task import MapOptions, MapTask

INHERITED = {"model": "model", "grid": "grid", "format_": "format"}
"""Options that a RUN keeps: those that change bytes, by parameter and by their name in ``run.json``."""

LONGEST_NAME = 200
"""Bytes of a name that leave room for what is appended to it."""


@click.command(cls=SettingsCommand)
@click.argument("entries", nargs=-1, required=True, metavar="ENTRY...")
@click.option(
    "-o",
    "run",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="RUN",
    envvar="SAMU_RUN",
    help="Folder of this run.  [default: the first ENTRY's stem + _enhanced]",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="For one ENTRY: write this file and its receipt FILE.json, and no RUN.",
)
@map_options
@click.option(
    "--executor",
    type=click.Choice(["auto", "serial", "dask"]),
    default="auto",
    show_default=True,
    help="auto takes dask where there are several workers.",
)
@click.option("--scheduler", metavar="tcp://...", help="Join a Dask cluster that runs.")
@click.option(
    "--max-failures", type=Share(), default="0", show_default=True, help="Failures that still count as success."
)
@click.option("--retry-failed", is_flag=True, help="Try all failures again, not only the passing ones.")
@click.option("--update", is_flag=True, help="Redo what another model, other options or a newer revision change.")
@click.option("-n", "--dry-run", is_flag=True, help="Print each map's reason to run or to skip, and stop.")
@click.option("-q", "--quiet", is_flag=True, help="Show failures only.")
@click.option("-v", "--verbose", is_flag=True, help="Explain failures in full.")
@click.option("--json", "as_json", is_flag=True, help="Print a receipt a line on stdout; with -n the reasons.")
def enhance(entries: tuple[str, ...], **values: Any) -> None:
    r"""Enhance maps.

    ENTRY is a map file, a URL, an EMDB id in any usual spelling, a LIST file, a RUN (its list again), or - for a list
    on standard input. A LIST has one entry a line; # begins a comment; a CSV with a header may add the columns id, map,
    contour, structure and resolution.

    A run that was stopped is resumed by the same command; what is done is never done again.

    \b
    Exit status: 0 every map done, 1 some failed, 2 the command was wrong and nothing ran,
    75 stopped early with maps left (full disk, network gone), 130 and 143 stopped by a signal.
    """
    _log(verbose=values["verbose"])
    if values["output"] and values["run"]:
        raise CommandError("--output writes one file and no RUN: it does not go with -o")
    listed = read_entries(entries)
    run = None if values["output"] else _run_directory(entries, listed, values["run"])
    listed = _inherit(values, run, listed)
    dask = _with_dask(values)
    options, devices = take_map_options(values, maps=len(listed) if dask else 1)
    dask = dask and (len(devices) > 1 or values["executor"] == "dask" or values["scheduler"] is not None)
    options = replace(options, update=values["update"], memory=options.memory // (_in_flight() if dask else 1))
    spec = read_spec(options)
    tasks = _tasks(run, listed, options, output=values["output"])
    _refuse(run, tasks, spec, options, update=values["update"])
    if run is not None:
        click.echo(run.path, err=values["as_json"])
    decisions = _decide(tasks, spec, update=values["update"] or run is None, retry_failed=values["retry_failed"])
    if values["dry_run"]:
        _show(decisions, as_json=values["as_json"])
        return
    executor = _executor(decisions, devices, scheduler=values["scheduler"], dask=dask)
    try:
        with stopping_signals():
            if run is not None:
                _begin(run, listed, spec, options)
            status = _work(decisions, executor, values)
    except Stopped as stopped:
        click.echo("stopped by a signal; the same command goes on from here", err=True)
        status = stopped.status
    concluded = conclude(run, tasks, max_failures=values["max_failures"], as_json=values["as_json"])
    sys.exit(status or concluded)


def _log(*, verbose: bool) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    logging.getLogger("samu_batch").setLevel(logging.DEBUG if verbose else logging.INFO)


def _run_directory(arguments: Sequence[str], listed: Sequence[Entry], named: Path | None) -> RunDirectory:
    from samu_batch.map_names import name_of
    from samu_batch.run_directory import RunDirectory
    from samu_batch.sources import is_list

    if named is not None:
        return RunDirectory(named)
    first = arguments[0]
    if first == "-":
        raise CommandError("a list on standard input has no name: give the RUN with -o")
    holding = RunDirectory.holding(first)
    if holding is not None:
        return holding
    if is_list(first):
        return RunDirectory(Path(f"{Path(first).stem}_enhanced"))
    stem = name_of(listed[0].source) if listed[0].kind == "file" else ""
    return RunDirectory(Path(f"{stem if 0 < len(os.fsencode(stem)) <= LONGEST_NAME else listed[0].id}_enhanced"))


def _inherit(values: dict[str, Any], run: RunDirectory | None, listed: list[Entry]) -> list[Entry]:
    """Take what changes bytes, and the ids of what is known, from the RUN where the command does not say them."""
    from samu_batch.run_directory import RunMismatchError

    try:
        settings = run.settings if run is not None else None
    except RunMismatchError as error:
        raise CommandError(str(error)) from error
    if run is None or settings is None:
        return listed
    before = {"model": settings["model"]["name"], **settings["options"]}
    for parameter, name in INHERITED.items():
        if not explicit(parameter):
            values[parameter] = before[name]
    return run.adopt(listed)


def _with_dask(values: dict[str, Any]) -> bool:
    """Whether Dask may run this command: it is asked for, or nothing is against it."""
    if values["executor"] == "serial" and values["scheduler"]:
        raise CommandError("--scheduler joins a Dask cluster: it does not go with --executor serial")
    return bool(values["executor"] != "serial" and not values["output"])


def _in_flight() -> int:
    from samu_batch.executors.dask import IN_FLIGHT

    return IN_FLIGHT


def _tasks(
    run: RunDirectory | None, listed: Sequence[Entry], options: MapOptions, *, output: Path | None
) -> list[MapTask]:
    from samu_batch.run_directory import output_suffix
    from samu_batch.task import MapTask

    if run is not None:
        return [run.task(entry, options) for entry in listed]
    assert output is not None
    if len(listed) != 1:
        raise CommandError(f"--output takes one ENTRY, not {len(listed)}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"--output {output}: {error.strerror}") from error
    # Viewers place .mrc by ORIGIN, .map and .ccp4 by n*start: another suffix would move the map.
    suffix = output_suffix(listed[0], options)
    like = {".map", ".ccp4"} if suffix in (".map", ".ccp4") else {suffix}
    if output.suffix.lower() not in like:
        raise CommandError(f"--output {output}: name it {' or '.join(sorted(like))}, by which viewers place it")
    receipt = output.with_name(output.name + ".json")
    return [MapTask(entry=listed[0], options=options, output=output, receipt=receipt)]


def _refuse(
    run: RunDirectory | None, tasks: Sequence[MapTask], spec: ModelSpec, options: MapOptions, *, update: bool
) -> None:
    """Refuse what would spoil an input, or mix two models in one RUN."""
    from samu_batch.run_directory import RunMismatchError

    inputs = {str(Path(task.entry.source).resolve()) for task in tasks if task.entry.kind == "file"}
    for task in tasks:
        for path in (task.output, task.receipt):
            if str(path.resolve()) in inputs:
                raise CommandError(f"{path} is an input; it would be overwritten")
    try:
        if run is not None and not update:
            run.check(spec, options)
    except RunMismatchError as error:
        raise CommandError(str(error)) from error


def _decide(tasks: Sequence[MapTask], spec: ModelSpec, *, update: bool, retry_failed: bool) -> list[Decision]:
    from samu_batch.batch import plan_batch

    return plan_batch(tasks, spec=spec, retry_failed=retry_failed, update=update)


def _show(decisions: Sequence[Decision], *, as_json: bool) -> None:
    for decision in decisions:
        name, reason = decision.task.entry.id, decision.reason
        click.echo(json.dumps({"id": name, "reason": reason}) if as_json else f"{name}\t{reason}")


def _executor(decisions: Sequence[Decision], devices: Sequence[str], *, scheduler: str | None, dask: bool) -> Executor:
    """Make the loop; an engine that cannot be loaded is a wrong command, not ten thousand failures."""
    from samu_batch.batch import process_engine
    from samu_batch.errors import SamuError

    waiting = sum(decision.run for decision in decisions)
    options = decisions[0].task.options
    if dask:
        from samu_batch.executors.dask import DaskExecutor

        return DaskExecutor(devices[: max(1, waiting)], threads=options.threads, scheduler=scheduler)
    from samu_batch.executors.serial import SerialExecutor

    try:
        if waiting:
            process_engine(options)
    except SamuError as error:
        raise CommandError(str(error)) from error
    return SerialExecutor()


def _begin(run: RunDirectory, listed: Sequence[Entry], spec: ModelSpec, options: MapOptions) -> None:
    from samu_batch.errors import StoreError
    from samu_batch.journal import versions

    try:
        run.begin(listed, spec=spec, options=options, version=versions()["samu-batch"])
    except StoreError as error:
        raise CommandError(str(error)) from error


def _work(decisions: Sequence[Decision], executor: Executor, values: dict[str, Any]) -> int:
    from samu_batch.errors import EngineError

    try:
        return work(decisions, executor, quiet=values["quiet"], as_json=values["as_json"])
    except (EngineError, ConnectionError) as error:  # no engine loads in the workers, or there are none
        raise CommandError(str(error)) from error
