"""``samu-batch plan``."""

from __future__ import annotations

import dataclasses
import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from samu_batch.cli.options import any_huge, map_options, read_entries, read_spec, take_map_options
from samu_batch.cli.settings import CommandError, SettingsCommand

if TYPE_CHECKING:
    from samu_batch.cost import MapCost
    from samu_batch.task import MapOptions


@click.command(cls=SettingsCommand)
@click.argument("entries", nargs=-1, required=True, metavar="ENTRY...")
@map_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def plan(entries: tuple[str, ...], *, as_json: bool, **values: Any) -> None:
    """Tell voxels, cubes, time, memory and disk of each map and in total, before anything runs.

    Local and cached maps are read from their headers; of others the columns `box` and `voxel` tell, as `samu-batch
    select` writes them. The time is that of the engine on two batches of noise, so it is an
    upper bound for maps with empty parts. The memory is that of the tiler; the engine's own comes on top.
    """
    from samu_batch.cost import entry_cost
    from samu_batch.errors import SamuError

    listed = read_entries(entries)
    options, devices = take_map_options(values, maps=len(listed), huge=partial(any_huge, listed))
    spec = read_spec(options)
    costs: dict[str, MapCost | str] = {}
    for entry in listed:
        try:
            costs[entry.id] = entry_cost(entry, spec=spec, options=options) or "not fetched yet"
        except SamuError as error:
            costs[entry.id] = f"{error.kind}: {error}"
    seconds = seconds_per_cube(options) / len(devices)
    if as_json:
        _print_json(costs, seconds)
    else:
        _print_table(costs, seconds, workers=len(devices))


def seconds_per_cube(options: MapOptions) -> float:
    """Time the engine on two batches of noise, the first of which warms it up.

    Raises
    ------
    CommandError
        It cannot run here.
    """
    import numpy as np

    from samu_batch.errors import EngineError
    from samu_batch.process_engine import process_engine

    try:
        engine = process_engine(options)
    except EngineError as error:
        raise CommandError(str(error)) from error
    noise = np.random.default_rng(0).random((engine.batch, 1, *(engine.spec.cube,) * 3), dtype=np.float32)
    engine.run(noise)
    start = time.perf_counter()
    engine.run(noise)
    return (time.perf_counter() - start) / engine.batch


def _print_json(costs: dict[str, MapCost | str], seconds: float) -> None:
    for name, cost in costs.items():
        known = (
            {"reason": cost} if isinstance(cost, str) else dataclasses.asdict(cost) | {"seconds": cost.cubes * seconds}
        )
        click.echo(json.dumps({"id": name} | known))


def _print_table(costs: dict[str, MapCost | str], seconds: float, *, workers: int) -> None:
    width = max(map(len, costs)) + 2
    click.echo(
        f"{'id':<{width}}{'voxels (X Y Z)':>18}{'cubes':>8}{'minutes':>9}{'memory':>9}{'scratch':>9}{'output':>9}"
    )
    known = [cost for cost in costs.values() if not isinstance(cost, str)]
    for name, cost in costs.items():
        if isinstance(cost, str):
            click.echo(f"{name:<{width}}  {cost}")
            continue
        shape = "x".join(map(str, reversed(cost.shape)))
        sizes = "".join(f"{_size(size):>9}" for size in (cost.memory, cost.scratch, cost.output))
        click.echo(f"{name:<{width}}{shape:>18}{cost.cubes:>8}{cost.cubes * seconds / 60:>9.1f}{sizes}")
    cubes = sum(cost.cubes for cost in known)
    memory = max((cost.memory for cost in known), default=0)
    scratch = max((cost.scratch for cost in known), default=0)
    download = sum(cost.download for cost in known)
    click.echo(
        f"total: {len(known)} maps, {sum(cost.voxels for cost in known):.3g} voxels, at most {cubes} cubes and"
        f" {cubes * seconds / 3600:.2f} hours with {workers} worker(s), each {_size(memory)} of memory and"
        f" {_size(scratch)} of scratch, {_size(sum(cost.output for cost in known))} of output"
        + (f", {_size(download)} to fetch" if download else "")
    )


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
