"""What one map is asked for and what came of it: data only, picklable, JSON."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from samu_batch.entries import Entry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from samu_batch.errors import SamuError

SCHEMA = 1
Grid = Literal["input", "model"]
Format = Literal["map", "zarr", "both"]


@dataclass(frozen=True, kw_only=True)
class MapOptions:
    """How maps are enhanced: everything a worker needs beyond the entry itself.

    Attributes
    ----------
    model
        Name or path of the model's sidecar.
    engine, device, threads
        Which engine runs, where, and on how many CPU threads.
    grid, format
        What is written; the only options that change bytes.
    batch
        Cubes an engine call takes; None leaves it to the engine.
    memory
        Budget of the tiler in bytes (the engine's own memory apart).
    max_voxels
        Limit of voxels at the model's spacing.
    mirrors, offline, update, cache, scratch
        Where maps are downloaded from and kept, whether a kept one must be the archive's present revision, and where
        unfinished volumes lie.
    """

    model: str
    engine: str = "auto"
    device: str | None = None
    threads: int = 1
    grid: Grid = "input"
    format: Format = "map"
    batch: int | None = None
    memory: int = 1 << 30
    max_voxels: int = 1_500_000_000
    mirrors: tuple[str, ...] = ()
    offline: bool = False
    update: bool = False
    cache: Path | None = None
    scratch: Path | None = None


@dataclass(frozen=True, kw_only=True)
class MapTask:
    """One map to enhance. ``output`` is the map file; the receipt and the view lie where they say.

    ``not_fetched`` is why its map could not be fetched ahead, where that was tried.
    """

    entry: Entry
    options: MapOptions
    output: Path
    receipt: Path
    view: Path | None = None
    not_fetched: SamuError | None = None

    @property
    def token(self) -> str:
        """Name of this task's unfinished things: it follows from the output's path, so that no two runs share one."""
        return hashlib.sha256(os.fsencode(self.output.absolute())).hexdigest()[:16]

    @property
    def zarr(self) -> Path:
        """The published OME-Zarr beside ``output``."""
        return self.output.with_name(self.output.stem + ".ome.zarr")


@dataclass(frozen=True, kw_only=True)
class MapReport:
    """What came of one map: the receipt, as it stands in ``receipt.json``.

    ``kind`` is ``done`` or a kind of failure (:mod:`samu_batch.errors`). Shapes are ZYX voxels, spacings ZYX angstrom,
    times UTC, memory bytes. ``scale`` is the density that became 1 in the model's units (None: no normalisation).
    """

    id: str
    entry: Entry
    kind: str
    message: str = ""
    identity: str | None = None
    started: str = ""
    finished: str = ""
    input: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    engine: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    scale: float | None = None
    shape: tuple[int, int, int] | None = None
    spacing: tuple[float, float, float] | None = None
    cubes: int | None = None
    cubes_skipped: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory: int = 0
    outputs: tuple[dict[str, Any], ...] = ()
    warnings: tuple[str, ...] = ()
    guesses: tuple[str, ...] = ()
    origin_conflict: bool = False
    versions: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    @property
    def done(self) -> bool:
        """Whether the enhanced map exists."""
        return self.kind == "done"

    def to_json(self, *, indent: int | None = 1) -> str:
        """Return the receipt's text; with ``indent`` None in one line."""
        return json.dumps(dataclasses.asdict(self), indent=indent) + "\n"

    @classmethod
    def from_json(cls, text: str) -> MapReport:
        """Read a receipt; fields of a newer version are ignored.

        Raises
        ------
        ValueError
            The text is no receipt.
        """
        values = json.loads(text)
        if not isinstance(values, dict) or not {"id", "entry", "kind"} <= values.keys():
            raise ValueError("not a receipt of samu-batch")
        known = {f.name for f in dataclasses.fields(cls)}
        values = {name: _frozen(value) for name, value in values.items() if name in known}
        values["entry"] = Entry(**values["entry"])
        return cls(**values)


def task_identity(*, input_sha256: str, model_sha256: str, options: Mapping[str, Any]) -> str:
    """Return the hash that two runs share exactly when their output bytes must agree.

    ``options`` are those that change bytes (:func:`byte_options`). Engines are not among them: all are held to parity.
    """
    text = json.dumps([input_sha256, model_sha256, dict(options)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def byte_options(options: MapOptions) -> dict[str, str]:
    """Return the options that change the bytes of the output."""
    return {"grid": options.grid, "format": options.format}


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
