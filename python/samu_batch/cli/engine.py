"""``samu-batch engine``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from samu_batch.cli.doctor import described
from samu_batch.cli.options import DEFAULT_MODEL
from samu_batch.cli.settings import CommandError, SettingsCommand


@click.group()
def engine() -> None:
    """List the engines that run models here, compile models for a GPU, and compare speeds."""


@engine.command("list", cls=SettingsCommand)
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Name or path of a model to try them with.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def list_(*, model: str, as_json: bool) -> None:
    """List the engines in the order of --engine auto: usable, or why not; and the compiled plans that are kept.

    Each engine is tried in a process of its own on one cube.
    """
    from samu_batch.doctor import examine_engines
    from samu_engines.plans import default_folder

    for found in examine_engines(model):
        click.echo(json.dumps(found) if as_json else f"{found['name']:<14} {described(found)}")
    for path, plan in default_folder().plans():
        if as_json:
            click.echo(json.dumps({"plan": str(path)} | (plan.facts() if plan else {"damaged": True})))
        else:
            click.echo(f"{path}: {plan.summary() if plan else 'damaged'}")


@engine.command("build", cls=SettingsCommand)
@click.argument("name", default="tensorrt", metavar="[ENGINE]")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Name or path of the model.")
@click.option("--batch", type=click.IntRange(min=1), help="Cubes at once.  [default: the engine's choice]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def build(name: str, *, model: str, batch: int | None, as_json: bool) -> None:
    """Compile a model for the GPU that is here, and keep the plan: `enhance` takes it instead of compiling.

    A plan holds for one GPU model, driver and TensorRT. Exit status: 0 it is there, 1 it cannot be made.
    """
    from samu_batch.engine import prepare_engine
    from samu_batch.errors import SamuError

    _check_model(model)
    try:
        found = prepare_engine(model, engine=name, batch=batch)
    except SamuError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    click.echo(json.dumps(found) if as_json else f"{found['plan']}\n{found['how']}, for {found['gpu']}")


@engine.command("inspect", cls=SettingsCommand)
@click.argument("target", metavar="PLAN|MODEL")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def inspect(target: str, *, as_json: bool) -> None:
    """Say what a compiled plan was made from and for, or what a model's file holds; no GPU is needed.

    A model is held to what engines rely on. Exit status: 0 all is well, 1 it is damaged or breaks a rule.
    """
    from samu_batch.errors import SamuError
    from samu_batch.model import ModelSpec
    from samu_engines.inspection import inspect_model, inspect_plan, is_plan

    try:
        if is_plan(Path(target)):
            found = inspect_plan(Path(target))
        else:
            spec = ModelSpec.load(target)
            if spec.weights is None:
                raise CommandError(f"the model {spec.name} is no network")
            spec.check_weights()
            found = inspect_model(spec.weights)
    except (SamuError, ValueError, OSError) as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    if as_json:
        click.echo(json.dumps(found))
    else:
        _print_facts(found)


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
    from samu_batch.engine import installed_engines
    from samu_batch.machine import cores
    from samu_batch.probe import probe

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


def _print_facts(facts: dict[str, Any], *, indent: str = "") -> None:
    for name, value in facts.items():
        if isinstance(value, dict) and any(isinstance(each, dict) for each in value.values()):
            click.echo(f"{indent}{name}")
            _print_facts(value, indent=f"{indent}  ")
        elif isinstance(value, dict):
            click.echo(f"{indent}{name:<14} {', '.join(f'{count} {each}' for each, count in value.items())}")
        else:
            click.echo(f"{indent}{name:<14} {' '.join(value) if isinstance(value, (list, tuple)) else value}")


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
