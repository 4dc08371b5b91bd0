"""Doing the work of a run, and what it comes to: progress, events that stop it, reports, the exit status."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING

import click

from samu_batch.cli.settings import allowed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from samu_batch.batch import Decision, Executor
    from samu_batch.run_directory import RunDirectory
    from samu_batch.task import MapReport, MapTask

EXIT_SOME_FAILED = 1
EXIT_STOPPED_EARLY = 75
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def work(decisions: Sequence[Decision], executor: Executor, *, quiet: bool, as_json: bool) -> int:
    """Run what is to be run; return a status only when the run stopped early.

    A full disk and a dead network are one event each, not the failure of every map that is left.

    Raises
    ------
    EngineError, ConnectionError
        No engine can be loaded; the executor cannot begin.
    """
    from samu_batch.batch import run_batch
    from samu_batch.errors import StoreError
    from samu_batch.progress import Progress

    todo = [decision for decision in decisions if decision.run]
    if not todo:
        return 0
    tasks = {decision.task.entry.id: decision.task for decision in todo}
    try:
        with Progress(todo, quiet=quiet) as progress:
            reports = run_batch(list(tasks.values()), executor, progress=progress.cubes)
            for report in progress.watch(reports):
                if as_json:
                    click.echo(json.dumps(json.loads(report.to_json())))
                if reason := _why_stop(report, tasks[report.id]):
                    click.echo(f"stopped: {reason}; the same command goes on from here", err=True)
                    return EXIT_STOPPED_EARLY
    except StoreError as error:  # not even a receipt can be written
        click.echo(f"stopped: {error}; the same command goes on from here", err=True)
        return EXIT_STOPPED_EARLY
    return 0


def conclude(run: RunDirectory | None, tasks: Sequence[MapTask], *, max_failures: str, as_json: bool) -> int:
    """Write the reports, say what came of it, and return the exit status."""
    from samu_batch.errors import StoreError
    from samu_batch.report import write_reports
    from samu_batch.run_directory import read_receipt

    reports = [report for task in tasks if (report := read_receipt(task.receipt)) is not None]
    failed = [report for report in reports if not report.done]
    if run is not None:
        try:
            write_reports(run)
        except StoreError as error:
            click.echo(f"no report: {error}; samu-batch report {run.path} writes it later", err=True)
    if not as_json:
        _summarise(run, tasks, reports, failed)
    if len(reports) < len(tasks):
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
    run: RunDirectory | None, tasks: Sequence[MapTask], reports: Sequence[MapReport], failed: Sequence[MapReport]
) -> None:
    left = len(tasks) - len(reports)
    click.echo(
        f"{len(reports) - len(failed)} of {len(tasks)} maps done, {len(failed)} failed"
        + (f", {left} left" * (left > 0))
    )
    if run is not None:
        click.echo(f"report: {run.path / 'report.html'}")
        if failed:
            click.echo(f"failed: {run.path / 'failed.txt'}")
    elif reports:
        click.echo(f"{failed[0].kind}: {failed[0].message}" if failed else tasks[0].output)
