"""The science of one map: from a map file to the enhanced map and its receipt.

::

    locate -> unpack -> survey -> ingest -> enhance -> export -> receipt

Nothing here knows an executor, a command line or another map.
"""

from __future__ import annotations

import logging
import secrets
import shutil
from typing import TYPE_CHECKING, NamedTuple

from samu_batch import _rust
from samu_batch.cubes import CubeWork, spread_above
from samu_batch.errors import EmptyMapError, EngineError, NonFiniteError, TooLargeError
from samu_batch.events import MapEvent, nobody
from samu_batch.files import remove, remove_partials
from samu_batch.journal import Journal
from samu_batch.locate import forget, locate
from samu_batch.mrc import MapHeader, read_header
from samu_batch.scratch import scratch_folder
from samu_batch.unpack import unpack_map
from samu_batch.view import write_view
from samu_batch.volume import (
    export_map,
    ingest_map,
    model_grid,
    refuse_too_large,
    stored_bytes,
    target_volume,
    voxels_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from samu_batch._rust import Voxels
    from samu_batch.cubes import Spread
    from samu_batch.engine import Engine
    from samu_batch.events import Listener
    from samu_batch.model import ModelSpec
    from samu_batch.task import MapReport, MapTask
    from samu_batch.volume import Volume

log = logging.getLogger("samu_batch")

TILER_SHARE = 8
"""The streaming resampler takes one part in this many of the memory budget; volumes may take the rest."""


def enhance_map(
    task: MapTask, engine: Engine, *, progress: Listener = nobody, spread: Spread | None = None
) -> MapReport:
    """Enhance one map, leave its receipt, and never raise because the map is bad.

    ``progress`` is told each stage when it begins, and the cubes after every batch. ``spread`` does the cubes of a huge
    map.

    Raises
    ------
    StoreError
        Not even the receipt could be written.
    """
    journal = Journal(task, engine, progress=progress)
    try:
        for path in (task.output, task.zarr, task.receipt, *([task.view] if task.view else [])):
            remove_partials(path)
        _enhance(task, engine, journal, progress=progress, spread=spread)
    except Exception as error:  # whatever is wrong with one map must not reach the others
        log.debug("%s failed", task.entry.id, exc_info=True)
        journal.failed(error)
    report = journal.write()
    forget(task)
    return report


def _enhance(
    task: MapTask, engine: Engine, journal: Journal, *, progress: Listener, spread: Spread | None = None
) -> None:
    map_id = task.entry.id
    with scratch_folder(task) as scratch:
        with journal.stage("fetch"):
            located = locate(task, progress=lambda have, length: progress(MapEvent(map_id, "fetch", have, length or 0)))
        journal.located(located)
        with journal.stage("unpack"):
            header = read_header(located.path)
            shape, _ = model_grid(header.shape, header.spacing, target=engine.spec.spacing)
            # First, so that no header makes a small file fill the scratch.
            refuse_too_large(shape, spacing=engine.spec.spacing, limit=task.options.max_voxels)
            unpacked = unpack_map(header, scratch)
            header = unpacked.header
        journal.read(header, sha256=unpacked.sha256)
        voxels = voxels_of(header, unpacked.path)
        plan = _plan(task, shape, spec=engine.spec, scratch=scratch, spread=spread)
        with journal.stage("survey"):
            scale = _density_scale(voxels, engine.spec, threads=task.options.threads)
        with journal.stage("ingest", total=plan.cubes):
            source = ingest_map(
                voxels,
                plan.source,
                header=header,
                spacing=engine.spec.spacing,
                chunk=engine.spec.core,
                threads=task.options.threads,
                memory=plan.memory,
            )
        with journal.stage("enhance"):
            target = target_volume(source, plan.target, engine.spec.grid(source.shape))
            work = CubeWork(map_id, source, target, scale, task.options)
            if spread is not None and plan.spread:
                cubes, skipped = spread.do(work, progress)
            else:
                cubes, skipped = work.do(engine, progress=progress)
        del source, work
        journal.enhanced(target, cubes=cubes, skipped=skipped, scale=scale)
        with journal.stage("export"):
            _export(task, target, header, voxels, journal=journal, memory=plan.memory)


class _Plan(NamedTuple):
    """Where a map's volumes go (None: memory), the resampler's bytes, the number of cubes, and whether others help."""

    source: Path | None
    target: Path | None
    memory: int
    cubes: int
    spread: bool = False


def _plan(
    task: MapTask, shape: tuple[int, int, int], *, spec: ModelSpec, scratch: Path, spread: Spread | None
) -> _Plan:
    """Decide between memory and disk before anything is allocated."""
    grid = spec.grid(shape)
    cubes, stored = len(grid), stored_bytes(grid)
    budget = task.options.memory
    huge = spread is not None and cubes > (spread_above(spec) if spread.above is None else spread.above)
    if not huge and stored <= budget * (TILER_SHARE - 1) // TILER_SHARE:
        return _Plan(None, None, budget // TILER_SHARE, cubes)
    free = shutil.disk_usage(scratch).free
    if stored > free:
        raise TooLargeError(
            f"needs {stored / 1e9:.1f} GB of scratch, {free / 1e9:.1f} GB are free in {scratch};"
            " name a larger place with --scratch"
        )
    # Names of this attempt alone: a helper of an earlier one that was thought lost finds nothing of it.
    attempt = secrets.token_hex(4)
    source, target = (scratch / f"{name}-{attempt}.zarr" for name in ("source", "target"))
    return _Plan(source, target, budget // TILER_SHARE, cubes, spread=huge)


def _density_scale(voxels: Voxels, spec: ModelSpec, *, threads: int) -> float | None:
    """Return the percentile of the map's non-zero voxels that the model's sidecar asks for."""
    survey = _rust.survey(voxels, threads=threads)
    if survey.nonfinite:
        raise NonFiniteError(f"{survey.nonfinite} voxels are NaN or infinite")
    if not survey.nonzero:
        raise EmptyMapError("every voxel is zero")
    if spec.normalisation is None:
        return None
    percent = spec.normalisation.percentile
    scale = _rust.percentile(voxels, percent, threads=threads)
    if scale <= 0:
        raise EmptyMapError(f"the {percent}th percentile of the non-zero voxels is {scale:g}: no density above zero")
    return scale


def _export(task: MapTask, target: Volume, header: MapHeader, voxels: Voxels, *, journal: Journal, memory: int) -> None:
    """Write what ``--format`` asks for; if any of it fails, none stays."""
    options = task.options
    task.output.parent.mkdir(parents=True, exist_ok=True)
    survey = export_map(target, task.output, like=header, grid=options.grid, threads=options.threads, memory=memory)
    try:
        if survey.nonfinite:
            raise EngineError(f"{survey.nonfinite} voxels of the enhanced map are NaN or infinite")
        if options.format != "map":
            from samu_batch.ome_zarr import publish

            # Made from the exported map, so that both hold the same voxels.
            publish(task.output, task.zarr, like=header)
            journal.wrote(task.zarr)
        if options.format == "zarr":
            task.output.unlink()
            return
        if task.view is not None:
            write_view(task, header, voxels, threads=options.threads)
        journal.wrote(task.output)
    except BaseException:
        remove(task.output)
        remove(task.zarr)
        raise
