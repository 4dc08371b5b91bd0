"""The engine that returns its input: a run with it gives the map back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray


class IdentityEngine:
    """Returns every cube as it came."""

    def __init__(self, spec: Any, *, device: str | None, threads: int | None) -> None:
        self.spec = spec
        self.batch = 4

    def stream(self, batches: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Yield the batches themselves."""
        yield from batches

    def run(self, cubes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the cubes themselves."""
        return cubes

    def describe(self) -> dict[str, Any]:
        """Return the engine's name."""
        return {"name": "identity"}

    def close(self) -> None:
        """Do nothing."""
