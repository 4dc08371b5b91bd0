"""The model's sidecar: everything that carries the science, once, for training and inference alike."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from samu_batch._rust import CubeGrid
from samu_batch.errors import EngineError, SamuError
from samu_batch.files import sha256_of
from samu_batch.golden import Golden

IDENTITY = "identity"
FORMAT = 1


@dataclass(frozen=True)
class Normalisation:
    """Density in the model's units: over a percentile of the map's non-zero voxels, clipped to [0, 1], < 1e-6 is 0."""

    percentile: float


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What a trained model asks of the data.

    Attributes
    ----------
    name, path
        Its name, and the sidecar's file (None for ``identity``).
    weights, weights_sha256
        The ONNX file and the hash that it must have.
    cube, core
        Edges in voxels of what the network reads and of what is kept.
    padding
        Least voxels beyond the ends of a map that its cubes read, as few as do; None for the paper's lattice.
    spacing
        Angstrom per voxel.
    normalisation
        None leaves densities as they are.
    card
        The model card: data, steps, hardware, date, figures.
    golden
        An input and what must come out of it, for the engines' check of themselves.
    """

    name: str
    cube: int
    core: int
    spacing: float
    normalisation: Normalisation | None = None
    padding: int | None = None
    path: Path | None = None
    weights: Path | None = None
    weights_sha256: str = ""
    card: dict[str, Any] = field(default_factory=dict, compare=False)
    golden: Golden | None = field(default=None, compare=False)

    @classmethod
    def load(cls, name_or_path: str | Path) -> ModelSpec:
        """Read a model by name, or by the path of its sidecar or its ONNX file.

        Raises
        ------
        EngineError
            There is no such model; the sidecar is not one.
        """
        if str(name_or_path) == IDENTITY:
            return identity_spec()
        path = _sidecar(str(name_or_path))
        try:
            values = json.loads(path.read_text())
            if values["format"] != FORMAT:
                raise ValueError(f"format {values['format']}, this version reads {FORMAT}")
            spec = _from_sidecar(path, values)
            spec.grid((1, 1, 1))  # now, and not map by map: a cube, core and padding that fit no lattice
            return spec
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise EngineError(f"{path} is no model: {error!r}") from error

    def check_weights(self) -> None:
        """Read the ONNX file and compare it with the sidecar.

        Raises
        ------
        EngineError
            It is missing, or not the file that the sidecar was written for.
        """
        if self.weights is None:
            return
        try:
            found = sha256_of(self.weights)
        except SamuError as error:
            raise EngineError(f"model {self.name}: {error}") from error
        if found != self.weights_sha256:
            raise EngineError(
                f"model {self.name}: {self.weights} has sha256 {found[:12]}, not {self.weights_sha256[:12]}"
            )

    @property
    def sha256(self) -> str:
        """Identity of the model: its weights and all that changes what comes out of them."""
        normalisation = self.normalisation and [self.normalisation.percentile, [0.0, 1.0], 1e-6]
        science = [self.weights_sha256, self.cube, self.core, self.spacing, normalisation]
        lattice = [] if self.padding is None else [self.padding]
        return hashlib.sha256(json.dumps([*science, *lattice]).encode()).hexdigest()

    def grid(self, shape: tuple[int, int, int]) -> CubeGrid:
        """Return the cubes of a volume of ``shape`` (ZYX voxels)."""
        return CubeGrid(shape, cube=self.cube, core=self.core, padding=self.padding)


def identity_spec(*, cube: int = 64, core: int = 50, spacing: float = 1.0) -> ModelSpec:
    """Return the model that changes nothing, without normalisation so that negative densities pass through it."""
    return ModelSpec(name=IDENTITY, cube=cube, core=core, spacing=spacing)


def model_names() -> dict[str, Path]:
    """Return the sidecars of all installed models by name."""
    folders = [Path(point.load()()) for point in entry_points(group="samu_batch.models")]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.json"))}


def _sidecar(name: str) -> Path:
    path = Path(name)
    if path.suffix in (".json", ".onnx"):
        return path.with_suffix(".json")
    known = model_names()
    if name not in known:
        raise EngineError(
            f"there is no model {name!r}; known: {', '.join([*known, IDENTITY])}, or name a sidecar's path"
        )
    return known[name]


def _from_sidecar(path: Path, values: dict[str, Any]) -> ModelSpec:
    normalisation = values["normalisation"]
    return ModelSpec(
        name=values["name"],
        cube=int(values["cube"]),
        core=int(values["core"]),
        spacing=float(values["spacing"]),
        padding=None if values.get("padding") is None else int(values["padding"]),
        normalisation=None if normalisation is None else Normalisation(float(normalisation["percentile"])),
        path=path,
        weights=path.with_name(values["file"]),
        weights_sha256=values["weights_sha256"],
        card=values.get("card", {}),
        golden=Golden.from_sidecar(values["golden"]) if "golden" in values else None,
    )
