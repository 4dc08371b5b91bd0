"""Space to depth and back: blocks of voxels as channels of one lattice point."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def fold(cubes: Tensor, patch: int) -> Tensor:
    """(N, 1, D, H, W) to (N, patch^3, D/patch, H/patch, W/patch)."""
    if patch == 1:
        return cubes
    n = cubes.shape[0]
    sizes = _split(cubes.shape[2:], patch)
    folded = cubes.reshape(n, *sizes).permute(0, 2, 4, 6, 1, 3, 5)
    return folded.reshape(n, patch**3, *sizes[::2])


def unfold(features: Tensor, patch: int) -> Tensor:
    """Undo :func:`fold`."""
    if patch == 1:
        return features
    n, _, *sizes = features.shape
    unfolded = features.reshape(n, patch, patch, patch, *sizes).permute(0, 4, 1, 5, 2, 6, 3)
    return unfolded.reshape(n, 1, *(patch * size for size in sizes))


def _split(shape: Sequence[int], patch: int) -> list[int]:
    return [part for size in shape for part in (size // patch, patch)]
