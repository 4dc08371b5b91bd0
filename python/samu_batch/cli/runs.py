"""Which RUN a command means, what it takes from it, and the tasks that it asks for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samu_batch.cli.settings import CommandError, explicit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from samu_batch.entries import Entry
    from samu_batch.model import ModelSpec
    from samu_batch.run_directory import RunDirectory
    from samu_batch.task import MapOptions, MapTask

INHERITED = {"model": "model", "grid": "grid", "format_": "format"}
"""Options that a RUN keeps: those that change bytes, by parameter and by their name in ``run.json``."""

LONGEST_NAME = 200
"""Bytes of a name that leave room for what is appended to it."""


def run_directory(arguments: Sequence[str], listed: Sequence[Entry], named: Path | None) -> RunDirectory:
    """Return the RUN that is ``named``, or that follows from the first argument."""
    from samu_batch.map_names import name_of
    from samu_batch.run_directory import RunDirectory
    from samu_batch.sources import is_list

    if named is not None:
        return RunDirectory(named)
    first = arguments[0]
    if first == "-":
        raise CommandError("a list on standard input has no name: give the RUN with -o")
    holding = RunDirectory.holding(first)
    if holding is not None:
        return holding
    if is_list(first):
        return RunDirectory(Path(f"{Path(first).stem}_enhanced"))
    stem = name_of(listed[0].source) if listed[0].kind == "file" else ""
    return RunDirectory(Path(f"{stem if 0 < len(os.fsencode(stem)) <= LONGEST_NAME else listed[0].id}_enhanced"))


def inherit(values: dict[str, Any], run: RunDirectory | None, listed: list[Entry]) -> list[Entry]:
    """Take what changes bytes, and the ids of what is known, from the RUN where the command does not say them."""
    from samu_batch.run_directory import RunMismatchError

    try:
        settings = run.settings if run is not None else None
    except RunMismatchError as error:
        raise CommandError(str(error)) from error
    if run is None or settings is None:
        return listed
    before = {"model": settings["model"]["name"], **settings["options"]}
    for parameter, name in INHERITED.items():
        if not explicit(parameter):
            values[parameter] = before[name]
    return run.adopt(listed)


def tasks_of(
    run: RunDirectory | None, listed: Sequence[Entry], options: MapOptions, *, output: Path | None
) -> list[MapTask]:
    """Return the tasks of entries, into a RUN or into one file."""
    from samu_batch.run_directory import output_suffix
    from samu_batch.task import MapTask

    if run is not None:
        return [run.task(entry, options) for entry in listed]
    assert output is not None
    if len(listed) != 1:
        raise CommandError(f"--output takes one ENTRY, not {len(listed)}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"--output {output}: {error.strerror}") from error
    # Viewers place .mrc by ORIGIN, .map and .ccp4 by n*start: another suffix would move the map.
    suffix = output_suffix(listed[0], options)
    like = {".map", ".ccp4"} if suffix in (".map", ".ccp4") else {suffix}
    if output.suffix.lower() not in like:
        raise CommandError(f"--output {output}: name it {' or '.join(sorted(like))}, by which viewers place it")
    receipt = output.with_name(output.name + ".json")
    return [MapTask(entry=listed[0], options=options, output=output, receipt=receipt)]


def refuse(
    run: RunDirectory | None, tasks: Sequence[MapTask], spec: ModelSpec, options: MapOptions, *, update: bool
) -> None:
    """Refuse what would spoil an input, or mix two models in one RUN."""
    from samu_batch.run_directory import RunMismatchError

    inputs = {str(Path(task.entry.source).resolve()) for task in tasks if task.entry.kind == "file"}
    for task in tasks:
        for path in (task.output, task.receipt):
            if str(path.resolve()) in inputs:
                raise CommandError(f"{path} is an input; it would be overwritten")
    try:
        if run is not None and not update:
            run.check(spec, options)
    except RunMismatchError as error:
        raise CommandError(str(error)) from error


def take_shard(text: str | None, run: RunDirectory | None, listed: Sequence[Entry]) -> list[Entry]:
    """Return the entries that this task of a job array shall do; all of them without ``--shard``."""
    from samu_batch.shards import Shard, ids_of

    if text is None:
        return list(listed)
    if run is None:
        raise CommandError("--output writes one file: it does not go with --shard")
    partition = (run.settings or {}).get("partition")
    try:
        chosen = set(ids_of([entry.id for entry in listed], Shard.parse(text, os.environ), partition=partition))
    except ValueError as error:
        raise CommandError(str(error)) from error
    return [entry for entry in listed if entry.id in chosen]


def begin(
    run: RunDirectory,
    listed: Sequence[Entry],
    spec: ModelSpec,
    options: MapOptions,
    *,
    shared: bool = False,
    partition: dict[str, Any] | None = None,
) -> None:
    """Record what is asked for; where other tasks of an array share the RUN, only what is not yet recorded."""
    from samu_batch.errors import StoreError
    from samu_batch.journal import versions

    if shared and run.settings is not None:
        known = {entry.id for entry in run.entries}
        if new := [entry.source for entry in listed if entry.id not in known]:
            raise CommandError(f"the list of {run.path} does not hold {new[0]}: samu-batch array adds it for all tasks")
        return
    try:
        run.begin(listed, spec=spec, options=options, version=versions()["samu-batch"], partition=partition)
    except StoreError as error:
        raise CommandError(str(error)) from error
