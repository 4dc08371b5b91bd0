"""``samu-batch doctor``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from samu_batch.cli.settings import SettingsCommand, settings_in_force

if TYPE_CHECKING:
    from pathlib import Path


@click.command(cls=SettingsCommand)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(*, as_json: bool) -> None:
    """Say what this machine can run, and why not the rest; and where each setting of `enhance` comes from.

    Every engine is tried on one cube in a process of its own. Exit status: 0 some engine can run the model, 1 none.
    """
    from samu_batch.cli.enhance import enhance
    from samu_batch.doctor import diagnose

    settings = settings_in_force(enhance, config=_config())
    values = {setting["name"]: setting["value"] for setting in settings}
    findings = diagnose(model=values["model"], scratch=values["scratch"], cache=values["cache"])
    findings["settings"] = settings
    if as_json:
        click.echo(json.dumps(findings, default=str))
    else:
        _print(findings)
    able = [engine for engine in findings["engines"] if engine["usable"] and engine["name"] != "identity"]
    sys.exit(0 if able and any(model["usable"] for model in findings["models"]) else 1)


def _config() -> Path | None:
    """Return the file that ``--config`` named, which its own callback has already read."""
    context = click.get_current_context()
    return context.meta.get("samu_batch.config")


def _print(findings: dict[str, Any]) -> None:
    versions, machine = findings["versions"], findings["machine"]
    click.echo(f"samu-batch {versions['samu-batch']}, Python {versions['python']}, {versions['system']}")
    click.echo(f"cores    {machine['cores']}")
    click.echo(f"memory   {machine['memory'] / 1e9:.1f} GB")
    click.echo(f"GPUs     {', '.join(machine['gpus']) or 'none that an NVIDIA driver lists'}")
    for name in ("scratch", "cache"):
        folder = machine[name]
        absent = "" if folder["exists"] else ", not made yet"
        click.echo(f"{name:<9}{folder['path']} ({folder['free'] / 1e9:.1f} GB free{absent})")
    _print_found("models", findings["models"])
    _print_found("engines", findings["engines"])
    click.echo("\nsettings of enhance")
    for setting in findings["settings"]:
        value = setting["value"]
        shown = ", ".join(value) if isinstance(value, tuple) else value
        click.echo(f"  {setting['name']:<14} {'-' if shown in (None, '') else shown!s:<24} {setting['source']}")


def _print_found(title: str, found: list[dict[str, Any]]) -> None:
    click.echo(f"\n{title}")
    for item in found:
        click.echo(f"  {item['name']:<14} {described(item)}")
    if not found:
        click.echo("  none")


def described(item: dict[str, Any]) -> str:
    """Return one line on an engine or a model: what it is, or why it cannot be used."""
    if not item["usable"]:
        return f"no: {item['reason']}"
    facts = item.get("describe", {})
    words = [facts.get("version", ""), facts.get("device", ""), facts.get("precision", ""), item.get("path", "")]
    return " ".join(["yes", *(str(word) for word in words if word)])
