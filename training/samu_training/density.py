"""Density of atoms on a grid.

Source: CryoSAMU, equation 1 (Z-weighted Gaussians); the width at 2 A resolution is that of TEMPy's StructureBlurrer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIGMA_PER_RESOLUTION = 0.356
TARGET_RESOLUTION = 2.0
REACH = 4.0
"""Standard deviations beyond which a Gaussian is cut."""
AT_ONCE = 4096

Shape = tuple[int, int, int]


def gaussians(
    positions: NDArray[np.float32],
    weights: NDArray[np.float32],
    *,
    shape: Shape,
    spacing: float,
    sigma: float,
) -> NDArray[np.float32]:
    """Sum Gaussians of one width, each of integral ``weight``.

    Parameters
    ----------
    positions
        (N, 3) in angstrom from the centre of voxel (0, 0, 0), ZYX; those outside the grid count where they reach in.
    weights
        (N,).
    shape, spacing
        Of the grid: ZYX voxels, angstrom.
    sigma
        Standard deviation in angstrom.

    Returns
    -------
    NDArray
        float32 (D, H, W), per cubic angstrom.
    """
    reach = int(np.ceil(REACH * sigma / spacing))
    steps = np.arange(-reach, reach + 1)
    padded = tuple(n + 2 * reach for n in shape)
    total = np.zeros(padded, np.float64)
    grid = positions / spacing
    inside = np.all((grid > -reach) & (grid < np.array(shape) - 1 + reach), axis=1)
    grid, weights = grid[inside], weights[inside]
    height = weights * (2 * np.pi * sigma**2) ** -1.5
    for first in range(0, len(grid), AT_ONCE):
        part = grid[first : first + AT_ONCE]
        nearest = np.rint(part).astype(np.int64)
        index = nearest[:, :, None] + steps  # (n, 3, steps)
        axis = np.exp(-0.5 * ((index - part[:, :, None]) * (spacing / sigma)) ** 2)
        values = np.einsum("n,ni,nj,nk->nijk", height[first : first + AT_ONCE], axis[:, 0], axis[:, 1], axis[:, 2])
        z, y, x = (np.clip(index[:, i] + reach, 0, padded[i] - 1) for i in range(3))
        flat = (z[:, :, None, None] * padded[1] + y[:, None, :, None]) * padded[2] + x[:, None, None, :]
        total += np.bincount(flat.ravel(), values.ravel(), minlength=total.size).reshape(padded)
    return total[tuple(slice(reach, reach + n) for n in shape)].astype(np.float32)


def target_density(
    positions: NDArray[np.float32], numbers: NDArray[np.float32], *, shape: Shape, spacing: float
) -> NDArray[np.float32]:
    """Return what the network should give: equation 1 at 2 A resolution (arguments as :func:`gaussians`)."""
    sigma = SIGMA_PER_RESOLUTION * TARGET_RESOLUTION
    return gaussians(positions, numbers, shape=shape, spacing=spacing, sigma=sigma)
