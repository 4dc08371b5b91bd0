"""``samu-batch engine`` and ``samu-batch doctor``."""

from __future__ import annotations

import json

import click

from samu_batch.cli.settings import SettingsCommand


@click.command(cls=SettingsCommand)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(*, as_json: bool) -> None:
    """Say what this machine can run, and why not the rest."""
    from samu_batch.doctor import diagnose

    findings = diagnose()
    if as_json:
        click.echo(json.dumps(findings))
        return
