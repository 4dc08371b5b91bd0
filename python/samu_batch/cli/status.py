"""``samu-batch status`` and ``samu-batch report``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from samu_batch.cli.settings import CommandError, SettingsCommand

if TYPE_CHECKING:
    from samu_batch.run_directory import RunDirectory


@click.command(cls=SettingsCommand)
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(run: Path, *, as_json: bool) -> None:
    """Show done, failed by kind and left, the rate and the time to finish of RUN."""
    from samu_batch.progress import duration
    from samu_batch.report import batch_status

    now = batch_status(_opened(run))
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(now) | {"left": now.left, "hours_left": now.hours_left}))
        return
    click.echo(f"{now.done} done, {sum(now.failed.values())} failed, {now.left} left of {now.total}")
    for kind, count in now.failed.items():
        click.echo(f"  {kind}: {count}")
    if now.rate is not None:
        remaining = f", about {duration(now.hours_left * 3600)} left" if now.left and now.hours_left else ""
        cubes = f", {now.cubes_rate:.3g} cubes per second" if now.cubes_rate else ""
        click.echo(f"{now.rate:.1f} maps per hour{cubes}{remaining}")


@click.command(cls=SettingsCommand)
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the receipts, one a line.")
def report(run: Path, *, as_json: bool) -> None:
    """Rebuild report.html, report.jsonl and failed.txt of RUN from its receipts."""
    from samu_batch.errors import StoreError
    from samu_batch.report import write_reports

    directory = _opened(run)
    try:
        write_reports(directory)
    except StoreError as error:
        raise CommandError(str(error)) from error
    click.echo((run / "report.jsonl").read_text() if as_json else run / "report.html", nl=not as_json)


def _opened(path: Path) -> RunDirectory:
    from samu_batch.run_directory import RunDirectory, RunMismatchError

    run = RunDirectory(path)
    try:
        if run.settings is None:
            raise CommandError(f"{path} is no RUN of samu-batch: it has no run.json")
    except RunMismatchError as error:
        raise CommandError(str(error)) from error
    return run
