"""Options that several commands share, and the values they become."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from samu_batch.cli.settings import Batch, CommandError, Gibibytes, Mirrors, Share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from samu_batch.entries import Entry
    from samu_batch.model import ModelSpec
    from samu_batch.task import MapOptions

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

DEFAULT_MODEL = "samu-lite"

_SOURCE: list[Decorator] = [
    click.option(
        "--mirror",
        "mirrors",
        multiple=True,
        type=Mirrors(),
        envvar=["SAMU_MIRRORS", "SAMU_MIRROR"],
        help="Root with EMDB's layout: https, http or a local folder; may be repeated.",
    ),
    click.option("--offline", is_flag=True, help="Never use the network; take maps from the cache."),
    click.option(
        "--cache",
        type=click.Path(file_okay=False, path_type=Path),
        help="Where `fetch` keeps maps.  [default: ~/.cache/samu-batch]",
    ),
]
_MAP: list[Decorator] = [
    click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Name or path of a model."),
    click.option("--engine", default="auto", show_default=True, help="Engine; one asked for by name never falls back."),
    click.option("--devices", default="all", show_default=True, help="all, cpu, or GPU numbers such as 0,1."),
    click.option("--workers", type=click.IntRange(min=1), help="Worker processes.  [default: one per GPU]"),
    click.option(
        "--threads", type=click.IntRange(min=1), help="CPU threads per worker.  [default: the cores shared out]"
    ),
    click.option("--batch", type=Batch(), default="auto", show_default=True, help="Cubes per engine call."),
    click.option(
        "--grid",
        type=click.Choice(["input", "model"]),
        default="input",
        show_default=True,
        help="Write on the input's grid, or on the model's (1 A).",
    ),
    click.option(
        "--format",
        "format_",
        type=click.Choice(["map", "zarr", "both"]),
        default="map",
        show_default=True,
        help="A map, an OME-Zarr, or both.",
    ),
    click.option("--memory", type=Gibibytes(), help="Budget of the tiler per worker in GiB.  [default: a share]"),
    click.option(
        "--max-voxels",
        type=click.IntRange(min=1),
        default=1_500_000_000,
        show_default=True,
        help="Largest map, in voxels at the model's spacing.",
    ),
    click.option(
        "--scratch",
        type=click.Path(file_okay=False, path_type=Path),
        help="Node-local folder for unfinished volumes.  [default: the system's]",
    ),
]

_RUN: list[Decorator] = [
    click.option(
        "-o",
        "run",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="RUN",
        envvar="SAMU_RUN",
        help="Folder of this run.  [default: the first ENTRY's stem + _enhanced]",
    ),
    click.option(
        "--executor",
        type=click.Choice(["auto", "serial", "dask"]),
        default="auto",
        show_default=True,
        help="auto takes dask where there are several workers.",
    ),
    click.option("--scheduler", metavar="tcp://...", help="Join a Dask cluster that runs."),
    click.option(
        "--max-failures", type=Share(), default="0", show_default=True, help="Failures that still count as success."
    ),
    click.option("--retry-failed", is_flag=True, help="Try all failures again, not only the passing ones."),
    click.option("--update", is_flag=True, help="Redo what another model, other options or a newer revision change."),
    click.option("-q", "--quiet", is_flag=True, help="Show failures only."),
    click.option("-v", "--verbose", is_flag=True, help="Explain failures in full."),
    click.option("--json", "as_json", is_flag=True, help="Print a receipt a line on stdout; with -n the reasons."),
]


def source_options(command: F) -> F:
    """Add the options that say where maps come from."""
    return _decorated(command, _SOURCE)


def map_options(command: F) -> F:
    """Add the options that say how maps are enhanced."""
    return _decorated(command, _SOURCE + _MAP)


def run_options(command: F) -> F:
    """Add the options of a run over many maps, those of each map among them."""
    return _decorated(command, _RUN[:1] + _SOURCE + _MAP + _RUN[1:])


def take_map_options(
    values: dict[str, Any], *, maps: int, huge: Callable[[MapOptions], bool] = lambda _: False
) -> tuple[MapOptions, tuple[str, ...]]:
    """Remove the shared options from ``values``; return them with one device per worker.

    There are at most as many workers as ``maps``, unless one of them is so ``huge`` that all can work on it.
    """
    from samu_batch.emdb import DEFAULT_MIRRORS
    from samu_batch.machine import chosen_devices, cores, default_memory
    from samu_batch.task import MapOptions

    try:
        devices = chosen_devices(values.pop("devices"), workers=values.pop("workers"))
    except ValueError as error:
        raise CommandError(str(error)) from error
    threads, memory = values.pop("threads"), values.pop("memory")
    options = MapOptions(
        model=values.pop("model"),
        engine=values.pop("engine"),
        device="cpu" if devices[0] == "cpu" else "cuda",
        grid=values.pop("grid"),
        format=values.pop("format_"),
        batch=values.pop("batch"),
        max_voxels=values.pop("max_voxels"),
        mirrors=tuple(values.pop("mirrors")) or DEFAULT_MIRRORS,
        offline=values.pop("offline"),
        cache=_absolute(values.pop("cache")),
        scratch=_absolute(values.pop("scratch")),
    )
    if len(devices) > maps and not huge(options):
        devices = devices[: max(1, maps)]
    share = replace(
        options, threads=threads or max(1, cores() // len(devices)), memory=memory or default_memory(len(devices))
    )
    return share, devices


def _absolute(folder: Path | None) -> Path | None:
    return None if folder is None else folder.absolute()  # also for workers elsewhere


def read_spec(options: MapOptions) -> ModelSpec:
    """Return the spec of the model that ``options`` name.

    Raises
    ------
    CommandError
        There is none.
    """
    from samu_batch.errors import SamuError
    from samu_batch.model import ModelSpec

    try:
        return ModelSpec.load("identity" if options.engine == "identity" else options.model)
    except SamuError as error:
        raise CommandError(str(error)) from error


def any_huge(entries: Sequence[Entry], options: MapOptions) -> bool:
    """Whether a map is to be spread over all workers."""
    from samu_batch.cost import predicted_cubes
    from samu_batch.cubes import spread_above

    spec = read_spec(options)
    most = spread_above(spec)
    return any((predicted_cubes(entry, spec=spec, options=options) or 0) > most for entry in entries)


def read_entries(arguments: Sequence[str]) -> list[Entry]:
    """Parse ENTRY arguments; a RUN stands for its list.

    Raises
    ------
    CommandError
        A line cannot be read: nothing runs.
    """
    from samu_batch.entries import BadListError, parse_entries
    from samu_batch.run_directory import RunDirectory, RunMismatchError

    try:
        return parse_entries(arguments, stdin=sys.stdin, run_entries=lambda path: RunDirectory(path).entries)
    except (BadListError, RunMismatchError) as error:
        raise CommandError(str(error)) from error


def _decorated(command: F, options: list[Decorator]) -> F:
    for option in reversed(options):
        option(command)  # click notes it on the function itself
    return command
