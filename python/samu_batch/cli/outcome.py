"""Doing the work of a run, and what it comes to: progress, events that stop it, reports, the exit status."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import click

from samu_batch.cli.settings import allowed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from samu_batch.batch import Decision, Executor
    from samu_batch.events import Listener
    from samu_batch.lines import Lines
    from samu_batch.model import ModelSpec
    from samu_batch.progress import RunProgress
    from samu_batch.run_directory import RunDirectory
    from samu_batch.task import MapOptions, MapReport, MapTask
    from samu_batch.terminal import Terminal
    from samu_batch.time_limit import Allowance

EXIT_SOME_FAILED = 1
EXIT_STOPPED_EARLY = 75
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def work(
    decisions: Sequence[Decision], executor: Executor, *, quiet: bool, as_json: bool, allowance: Allowance | None = None
) -> int:
    """Run what is to be run; return a status only when the run stopped early.

    A full disk and a dead network are one event each, not the failure of every map that is left.

    Raises
    ------
    EngineError, ConnectionError
        No engine can be loaded; the executor cannot begin.
    """
    from samu_batch.errors import StoreError
    from samu_batch.progress import RunProgress

    todo = [decision for decision in decisions if decision.run]
    if not todo:
        return 0
    tasks = {decision.task.entry.id: decision.task for decision in todo}
    progress = RunProgress({decision.task.entry.id: decision.cubes for decision in todo})
    reason, begun = "", False
    try:
        with _display(progress, quiet=quiet, as_json=as_json) as shown:
            for report in _reports(todo, executor, allowance, progress=progress.tell):
                begun = True
                progress.finish(report)
                shown.show(report)
                if as_json:
                    click.echo(report.to_json(indent=None), nl=False)
                if reason := _why_stop(report, tasks[report.id]):
                    break
    except ConnectionError as error:  # no worker is left, and none can be had
        if not begun:
            raise
        reason = str(error)
    except StoreError as error:  # not even a receipt can be written
        reason = str(error)
    if reason:
        click.echo(f"stopped: {reason}; the same command goes on from here", err=True)
        return EXIT_STOPPED_EARLY
    if allowance is not None and allowance.held:
        click.echo(
            f"stopped: the time left is too short for {allowance.held} maps; the same command goes on from here",
            err=True,
        )
        return EXIT_STOPPED_EARLY
    return 0


def _display(progress: RunProgress, *, quiet: bool, as_json: bool) -> Terminal | Lines:
    """Return what shows a run where stderr is."""
    # Receipts on the terminal itself are somebody looking at what a machine would get: a display would not stay there.
    if sys.stderr.isatty() and not quiet and not (as_json and sys.stdout.isatty()):
        from samu_batch.terminal import Terminal

        return Terminal(progress)
    from samu_batch.lines import Lines

    return Lines(progress, quiet=quiet, as_json=as_json)


def allowance(
    decisions: Sequence[Decision],
    spec: ModelSpec,
    options: MapOptions,
    *,
    workers: int,
    dask: bool,
    elsewhere: bool = False,
) -> Allowance | None:
    """Return what a scheduler's time limit allows; None where no limit is known.

    The engine's pace is tried here, or learned from the maps that are done ``elsewhere``.
    """
    from samu_batch.time_limit import Allowance, TimeLimit

    limit = TimeLimit.of_job(os.environ)
    if limit is None or not any(decision.run for decision in decisions):
        return None
    pace = None if elsewhere else _pace(options, dask=dask)
    if not dask:
        return Allowance(limit, pace=pace)
    from samu_batch.cubes import spread_above
    from samu_batch.executors.in_flight import IN_FLIGHT

    return Allowance(limit, pace=pace, in_flight=IN_FLIGHT, workers=workers, huge=spread_above(spec))


def _pace(options: MapOptions, *, dask: bool) -> float | None:
    """Return the engine's seconds per cube; where workers load it, a process of its own finds out."""
    from samu_batch.cli.plan import seconds_per_cube
    from samu_batch.probe import probe

    if dask:
        return probe(options.engine, options.model, threads=options.threads).get("seconds_per_cube")
    return seconds_per_cube(options)


def _reports(
    todo: Sequence[Decision],
    executor: Executor,
    allowance: Allowance | None,
    *,
    progress: Listener,
) -> Iterator[MapReport]:
    """Do the work, of which a time limit may allow a part."""
    from samu_batch.batch import run_batch
    from samu_batch.fetch_ahead import fetch_ahead

    with closing(fetch_ahead(allowance.admit(todo) if allowance else todo)) as ready:
        tasks = (decision.task for decision in (allowance.admit(ready) if allowance else ready))
        reports = run_batch(tasks, executor, progress=progress)
        if allowance is None:
            yield from reports
            return
        yield from allowance.refuse(todo)
        yield from allowance.watch(reports)


def conclude(
    run: RunDirectory | None, tasks: Sequence[MapTask], *, max_failures: str, as_json: bool, write_reports: bool = True
) -> int:
    """Write the reports, unless other tasks share the RUN; say what came of it, and return the exit status."""
    from samu_batch import report
    from samu_batch.errors import StoreError
    from samu_batch.locate import forget
    from samu_batch.run_directory import read_receipt
    from samu_batch.scratch import discard_scratch

    finished, failed = 0, []
    for task in tasks:
        if (receipt := read_receipt(task.receipt)) is not None:
            # Processes that were killed did not, or outlived their driver by a moment.
            forget(task)
            discard_scratch(task)
            finished += 1
            failed += [] if receipt.done else [receipt]
    if run is not None and write_reports:
        try:
            report.write_reports(run)
        except StoreError as error:
            click.echo(f"no report: {error}; samu-batch report {run.path} writes it later", err=True)
    if not as_json:
        _summarise(run, tasks, finished, failed, written=write_reports)
    if finished < len(tasks):
        return EXIT_STOPPED_EARLY
    return EXIT_SOME_FAILED if len(failed) > allowed(max_failures, len(tasks)) else 0


def _why_stop(report: MapReport, task: MapTask) -> str:
    """Return the event that a failure is a sign of, if every other map would meet it too."""
    from samu_batch.fetch import network_gone

    if report.kind == "store" and any(os.strerror(number) in report.message for number in DISK_FULL):
        return f"the disk is full ({report.message})"
    if report.kind == "fetch" and task.entry.kind == "emdb" and network_gone(task.options.mirrors):
        return "no mirror answers, the network may be gone"
    return ""


def _summarise(
    run: RunDirectory | None,
    tasks: Sequence[MapTask],
    finished: int,
    failed: Sequence[MapReport],
    *,
    written: bool,
) -> None:
    left = len(tasks) - finished
    click.echo(
        f"{finished - len(failed)} of {len(tasks)} maps done, {len(failed)} failed" + (f", {left} left" * (left > 0))
    )
    if run is not None and not written:
        click.echo(f"samu-batch report {run.path} writes the report of all tasks")
    elif run is not None:
        click.echo(f"report: {run.path / 'report.html'}")
        if failed:
            click.echo(f"failed: {run.path / 'failed.txt'}")
    elif finished:
        click.echo(f"{failed[0].kind}: {failed[0].message}" if failed else tasks[0].output)
