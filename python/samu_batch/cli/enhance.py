"""``samu-batch enhance``."""

from __future__ import annotations

import logging
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from samu_batch.cli.options import map_options, read_entries, take_map_options
from samu_batch.cli.settings import SettingsCommand, Share, allowed
from samu_batch.cli.signals import Stopped, stopping_signals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from samu_batch.batch import Decision, Executor
    from samu_batch.entries import Entry
    from samu_batch.model import ModelSpec
    from samu_batch.run_directory import RunDirectory
    from samu_batch.task import MapOptions, MapReport, MapTask

EXIT_SOME_FAILED = 1
EXIT_STOPPED_EARLY = 75
DISK_FULL_BYTES = 16 << 20


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
@click.option("--update", is_flag=True, help="Redo what another model or other options change.")
@click.option("-n", "--dry-run", is_flag=True, help="Print each map's reason to run or to skip, and stop.")
@click.option("-q", "--quiet", is_flag=True, help="Show failures only.")
@click.option("-v", "--verbose", is_flag=True, help="Explain failures in full.")
@click.option("--json", "as_json", is_flag=True, help="Print a receipt a line on stdout.")
def enhance(entries: tuple[str, ...], **values: Any) -> None:
    r"""Enhance maps.

    ENTRY is a map file, a URL, an EMDB id in any usual spelling, a LIST file, a RUN (its list again), or - for a list
    on standard input. A LIST has one entry a line; # begins a comment; a CSV with a header may add the columns id, map,
    contour, structure and resolution.

    A run that was stopped is resumed by the same command; what is done is never done again.

    \b
    Exit status: 0 every map done, 1 some failed, 2 the command was wrong, 75 stopped early with maps left,
    130 and 143 stopped by a signal.
    """
    logging.basicConfig(level=logging.DEBUG if values["verbose"] else logging.WARNING, format="%(name)s: %(message)s")
    logging.getLogger("samu_batch").setLevel(logging.DEBUG if values.pop("verbose") else logging.INFO)
    options, devices = take_map_options(values)
    listed = read_entries(entries)
    spec = _model(options)
    run = None if values["output"] else _run_directory(entries, listed, values["run"])
    tasks = _tasks(run, listed, options, output=values["output"])
    if run is not None and not values["as_json"]:
        click.echo(run.path)
    decisions = _decide(tasks, spec, update=values["update"] or run is None, retry_failed=values["retry_failed"])
    if values["dry_run"]:
        for decision in decisions:
            click.echo(f"{decision.task.entry.id}\t{decision.reason}")
        return
    status = 0
    try:
        with stopping_signals():
            if run is not None:
                _begin(run, listed, spec, options, update=values["update"])
            executor = _executor(values["executor"], devices, options, decisions, scheduler=values["scheduler"])
            status = _enhance(decisions, executor, quiet=values["quiet"], as_json=values["as_json"])
    except Stopped as stopped:
        click.echo("stopped by a signal; the same command goes on from here", err=True)
        status = stopped.status
    concluded = _conclude(run, tasks, max_failures=values["max_failures"], as_json=values["as_json"])
    sys.exit(status or concluded)


def _model(options: MapOptions) -> ModelSpec:
    from samu_batch.errors import SamuError
    from samu_batch.model import ModelSpec

    try:
        return ModelSpec.load("identity" if options.engine == "identity" else options.model)
    except (SamuError, ValueError) as error:
        raise click.UsageError(str(error)) from error


def _run_directory(arguments: Sequence[str], listed: Sequence[Entry], named: Path | None) -> RunDirectory:
    from samu_batch.run_directory import RunDirectory

    if named is not None:
        return RunDirectory(named)
    first = arguments[0]
    if first == "-":
        raise click.UsageError("a list on standard input has no name: give the RUN with -o")
    holding = RunDirectory.holding(Path(first))
    if holding is not None:
        return holding
    stem = Path(first).name.removesuffix(".gz").rsplit(".", 1)[0] if Path(first).exists() else listed[0].id
    return RunDirectory(Path(f"{stem}_enhanced"))


def _tasks(
    run: RunDirectory | None, listed: Sequence[Entry], options: MapOptions, *, output: Path | None
) -> list[MapTask]:
    from samu_batch.task import MapTask

    if run is not None:
        return [run.task(entry, options) for entry in listed]
    assert output is not None
    if len(listed) != 1:
        raise click.UsageError(f"--output takes one ENTRY, not {len(listed)}")
    receipt = output.with_name(output.name + ".json")
    return [MapTask(entry=listed[0], options=options, output=output, receipt=receipt)]


def _decide(tasks: Sequence[MapTask], spec: ModelSpec, *, update: bool, retry_failed: bool) -> list[Decision]:
    from samu_batch.batch import plan_batch

    return plan_batch(tasks, spec=spec, retry_failed=retry_failed, update=update)


def _begin(run: RunDirectory, listed: Sequence[Entry], spec: ModelSpec, options: MapOptions, *, update: bool) -> None:
    from samu_batch.journal import versions
    from samu_batch.run_directory import RunMismatchError

    try:
        run.begin(listed, spec=spec, options=options, version=versions()["samu-batch"], update=update)
    except RunMismatchError as error:
        raise click.UsageError(str(error)) from error


def _executor(
    name: str,
    devices: Sequence[str],
    options: MapOptions,
    decisions: Sequence[Decision],
    *,
    scheduler: str | None,
) -> Executor:
    """Choose the loop; an engine that cannot be loaded is a wrong command, not ten thousand failures."""
    from samu_batch.batch import process_engine
    from samu_batch.errors import SamuError

    waiting = sum(decision.run for decision in decisions)
    if scheduler or name == "dask" or (name == "auto" and min(len(devices), waiting) > 1):
        from samu_batch.executors.dask import DaskExecutor

        return DaskExecutor(devices[: max(1, waiting)], threads=options.threads, scheduler=scheduler)
    from samu_batch.executors.serial import SerialExecutor

    try:
        if waiting:
            process_engine(options)
    except SamuError as error:
        raise click.UsageError(str(error)) from error
    return SerialExecutor()


def _enhance(decisions: Sequence[Decision], executor: Executor, *, quiet: bool, as_json: bool) -> int:
    """Run what is to be run; return a status only when the run stopped early."""
    from samu_batch.batch import run_batch
    from samu_batch.progress import Progress

    todo = [decision for decision in decisions if decision.run]
    if not todo:
        return 0
    with Progress(todo, quiet=quiet) as progress:
        for report in progress.watch(run_batch([decision.task for decision in todo], executor)):
            if as_json:
                click.echo(report.to_json().replace("\n", ""))
            if report.kind == "store" and _disk_full(todo[0].task):
                click.echo(f"stopped: the disk is full ({report.message}); free some and run this again", err=True)
                return EXIT_STOPPED_EARLY
    return 0


def _disk_full(task: MapTask) -> bool:
    places = [task.receipt.parent, task.options.scratch]
    return any(place is not None and shutil.disk_usage(place).free < DISK_FULL_BYTES for place in places)


def _conclude(run: RunDirectory | None, tasks: Sequence[MapTask], *, max_failures: str, as_json: bool) -> int:
    from samu_batch.report import write_reports
    from samu_batch.run_directory import read_receipt

    reports = [report for task in tasks if (report := read_receipt(task.receipt)) is not None]
    failed = [report for report in reports if not report.done]
    if run is not None:
        write_reports(run)
    if not as_json:
        _summarise(run, tasks, reports, failed)
    if len(reports) < len(tasks):
        return EXIT_STOPPED_EARLY
    return EXIT_SOME_FAILED if len(failed) > allowed(max_failures, len(tasks)) else 0


def _summarise(
    run: RunDirectory | None, tasks: Sequence[MapTask], reports: Sequence[MapReport], failed: Sequence[MapReport]
) -> None:
    click.echo(f"{len(reports) - len(failed)} of {len(tasks)} maps done, {len(failed)} failed")
    if run is None:
        click.echo(tasks[0].output if not failed else f"{failed[0].kind}: {failed[0].message}")
        return
    click.echo(f"report: {run.path / 'report.html'}")
    if failed:
        click.echo(f"failed: {run.path / 'failed.txt'}")
