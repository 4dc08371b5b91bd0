"""What an engine needs of a model: satisfied by shape, so that engines import nothing of the product."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path


class Spec(Protocol):
    """Name, ONNX file and edge of the cubes (voxels) of a model."""

    @property
    def name(self) -> str:
        """Name of the model."""
        ...

    @property
    def weights(self) -> Path | None:
        """Its ONNX file."""
        ...

    @property
    def weights_sha256(self) -> str:
        """The hash that the file must have."""
        ...

    @property
    def cube(self) -> int:
        """Edge of a cube in voxels."""
        ...
