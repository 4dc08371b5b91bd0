"""``samu-batch engine``."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from samu_batch.cli.doctor import described
from samu_batch.cli.options import DEFAULT_MODEL
from samu_batch.cli.settings import CommandError, SettingsCommand


@click.group()
def engine() -> None:
    """List the engines that run models here, and compare their speed."""


@engine.command("list", cls=SettingsCommand)
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Name or path of a model to try them with.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def list_(*, model: str, as_json: bool) -> None:
    """List the engines in the order of --engine auto: usable, or why not.

    Each is tried in a process of its own on one cube.
    """
    from samu_batch.doctor import examine_engines

    for found in examine_engines(model):
        click.echo(json.dumps(found) if as_json else f"{found['name']:<14} {described(found)}")


@engine.command("bench", cls=SettingsCommand)
@click.argument("engines", nargs=-1, metavar="[ENGINE]...")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Name or path of the model.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: all cores]")
@click.option(
    "--seconds", type=click.FloatRange(min=0), default=10.0, show_default=True, help="Time given to each engine."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def bench(engines: tuple[str, ...], *, model: str, threads: int | None, seconds: float, as_json: bool) -> None:
    """Measure cubes per second and peak memory of the engines on one model, one after the other.

    The ratio is that of the speeds, against the first engine that runs. Exit status: 0 some engine ran, 1 none.
    """
    from samu_batch.machine import cores
    from samu_batch.probe import installed_engines, probe

    _check_model(model)
    if unknown := sorted(set(engines) - set(installed_engines())):
        raise CommandError(f"no such engine: {', '.join(unknown)}; there are {', '.join(installed_engines())}")
    names = engines or tuple(name for name in installed_engines() if name != "identity")
    if not as_json:
        click.echo(f"{'engine':<14}{'cubes/s':>10}{'memory':>12}{'ratio':>8}")
    first: float | None = None
    for name in names:
        found = probe(name, model, seconds=seconds, threads=threads or cores())
        if found["usable"]:
            speed = 1 / found["seconds_per_cube"]
            first = first or speed
            found |= {"cubes_per_second": speed, "ratio": speed / first}
        _print(name, found, as_json=as_json)
    sys.exit(0 if first else 1)


def _check_model(model: str) -> None:
    from samu_batch.errors import SamuError
    from samu_batch.model import ModelSpec

    try:
        ModelSpec.load(model).check_weights()
    except SamuError as error:
        raise CommandError(str(error)) from error


def _print(name: str, found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"name": name} | found))
    elif found["usable"]:
        speed, memory, ratio = found["cubes_per_second"], found["memory"] / 1e6, found["ratio"]
        click.echo(f"{name:<14}{speed:>10.3g}{memory:>9.0f} MB{ratio:>8.2f}")
    else:
        click.echo(f"{name:<14} {described(found)}")
