"""The notes taken while one map is treated, and the receipt they become."""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import platform
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from samu_batch.errors import SamuError
from samu_batch.events import MapEvent, nobody
from samu_batch.files import sha256_of, write_whole
from samu_batch.machine import peak_memory
from samu_batch.map_columns import extent_of, joined
from samu_batch.task import MapReport, byte_options, task_identity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from samu_batch.engine import Engine
    from samu_batch.events import Listener
    from samu_batch.locate import Located
    from samu_batch.mrc import MapHeader
    from samu_batch.task import MapTask
    from samu_batch.volume import Volume

COARSE_FOR_DETAIL = 1.5
COARSE_FOR_MODEL = 2.5
SPACING_AGREES = 0.01
RESOLUTION_OF_MODEL = (3.0, 9.0)


class Journal:
    """Collects the facts of one map; ``write`` turns them into the receipt on disk. ``progress`` is told the stages."""

    def __init__(self, task: MapTask, engine: Engine, *, progress: Listener = nobody) -> None:
        self._task = task
        self._progress = progress
        self._engine = engine
        self._facts: dict[str, Any] = {"kind": "done", "started": _now()}
        self._seconds: dict[str, float] = {}
        self._outputs: list[dict[str, Any]] = []
        self._warnings: list[str] = []

    @contextmanager
    def stage(self, name: str, *, total: int = 0) -> Iterator[None]:
        """Time a stage, also when it fails; ``total`` is told as that of its event."""
        start = time.monotonic()
        self._progress(MapEvent(self._task.entry.id, name, total=total))
        try:
            yield
        finally:
            self._seconds[name] = round(time.monotonic() - start, 3)

    def located(self, located: Located) -> None:
        """Note which file is about to be read, so that a later run sees whether it changed."""
        self._facts["input"] = located.provenance()

    def read(self, header: MapHeader, *, sha256: str) -> None:
        """Note what was read and how it will be understood."""
        self._facts["input"] |= {"sha256": sha256, "shape": header.shape, "spacing": header.spacing}
        self._facts |= {
            "identity": task_identity(
                input_sha256=sha256, model_sha256=self._engine.spec.sha256, options=byte_options(self._task.options)
            ),
            "guesses": header.guesses,
            "origin_conflict": header.origin_conflict,
        }
        self._warnings += _doubts(header, self._task)

    def enhanced(self, volume: Volume, *, cubes: int, skipped: int, scale: float | None) -> None:
        """Note what the engine did."""
        self._facts |= {
            "shape": volume.shape,
            "spacing": volume.spacing,
            "cubes": cubes,
            "cubes_skipped": skipped,
            "scale": scale,
        }

    def wrote(self, path: Path) -> None:
        """Note an output that now exists, with its size and hash (a folder: that of its files, in order)."""
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        digest = sha256_of(path) if path.is_file() else _sha256_of_all(files)
        size = sum(file.stat().st_size for file in files)
        self._outputs.append({"file": path.name, "bytes": size, "sha256": digest})

    def failed(self, error: Exception) -> None:
        """Note the reason why there is no enhanced map."""
        self._facts |= {"kind": kind_of(error), "message": str(error) or type(error).__name__}
        self._outputs = []

    def write(self) -> MapReport:
        """Write the receipt, whole or not at all, and return it."""
        task, engine = self._task, self._engine
        report = MapReport(
            id=task.entry.id,
            entry=task.entry,
            finished=_now(),
            model={"name": engine.spec.name, "sha256": engine.spec.sha256},
            engine={"batch": task.options.batch or engine.batch} | engine.describe(),
            options=byte_options(task.options),
            seconds=self._seconds,
            peak_memory=peak_memory(),
            outputs=tuple(self._outputs),
            warnings=tuple(self._warnings),
            versions=versions(),
            **self._facts,
        )
        return _written(task, report)


def failed_outside(task: MapTask, error: Exception) -> MapReport:
    """Write and return the receipt of a map whose worker could not write one."""
    report = MapReport(
        id=task.entry.id,
        entry=task.entry,
        kind=kind_of(error),
        message=str(error),
        finished=_now(),
        options=byte_options(task.options),
        versions=versions(),
    )
    return _written(task, report)


def kind_of(error: BaseException) -> str:
    """Return the stable kind of any error."""
    if isinstance(error, SamuError):
        return error.kind
    if isinstance(error, MemoryError):
        return "out-of-memory"
    if isinstance(error, PermissionError):
        return "unreadable"
    if isinstance(error, FileNotFoundError):
        return "not-found"
    if isinstance(error, OSError) and error.errno != errno.EINVAL:
        return "store"
    return "internal"


def _written(task: MapTask, report: MapReport) -> MapReport:
    task.receipt.parent.mkdir(parents=True, exist_ok=True)
    write_whole(task.receipt, report.to_json())
    return report


def _sha256_of_all(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {sha256_of(file)}\n".encode())
    return digest.hexdigest()


def _doubts(header: MapHeader, task: MapTask) -> list[str]:
    """Return the sentences a user should read before trusting the enhanced map."""
    doubts = []
    coarsest = max(header.spacing)
    if coarsest > COARSE_FOR_MODEL:
        doubts.append(
            f"voxels of {coarsest:.2f} A are coarser than {COARSE_FOR_MODEL} A: the model has not seen such maps"
        )
    if coarsest > COARSE_FOR_DETAIL and task.options.grid == "input":
        doubts.append(f"voxels of {coarsest:.2f} A cannot hold all the enhanced detail; use --grid model")
    return [*doubts, *_doubts_by_list(header, task.entry.columns)]


def _doubts_by_list(header: MapHeader, columns: Mapping[str, str]) -> Iterator[str]:
    """Yield what the columns of a LIST make doubtful."""
    try:
        resolution = float(columns.get("resolution", ""))
    except ValueError:
        resolution = None
    low, high = RESOLUTION_OF_MODEL
    if resolution is not None and not low <= resolution <= high:
        yield f"a resolution of {resolution:g} A is outside the {low:g}-{high:g} A of the model"
    listed = extent_of(columns)
    if listed is not None and not (
        listed.shape == header.shape and np.allclose(listed.spacing, header.spacing, rtol=SPACING_AGREES, atol=0)
    ):
        yield (
            f"the list says {joined(listed.shape)} voxels of {joined(listed.spacing)} A, the map has"
            f" {joined(header.shape)} of {joined(header.spacing)} A: another revision, or another map"
        )


@cache
def versions() -> dict[str, str]:
    """Return the versions that a receipt records."""
    return {
        "samu-batch": importlib.metadata.version("samu-batch"),
        "samu-engines": importlib.metadata.version("samu-engines"),
        "numpy": importlib.metadata.version("numpy"),
        "python": platform.python_version(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
