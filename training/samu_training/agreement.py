"""Whether a map and a model show the same thing in the same place.

Source: CryoSAMU, section 3.1, which asks that neither has large regions without the other, and a correlation of at
least 0.65 in ChimeraX. The limits of coverage are ours: the paper gives none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from samu_batch._rust import Region
from samu_training.density import gaussians

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from samu_batch._rust import Volume
    from samu_training.atoms import Atoms

SPACING = 1.0
SIGMA_PER_RESOLUTION = 1 / (np.pi * 2**0.5)
"""That of ChimeraX's molmap, with which the paper's correlations were measured."""
MARGIN = 3.0
"""Resolutions that the compared box reaches beyond the atoms, as molmap's grid does."""
NEAR = 5.0
"""Angstrom from an atom within which density is explained by it."""
MOST_SAMPLED = 200_000


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Of a map and a model, each from 0 to 1 (a correlation from -1).

    Attributes
    ----------
    inside
        Share of the atoms that lie in density above the contour level.
    explained
        Share of the voxels above the contour level that lie within 5 A of an atom.
    correlation
        Of map and simulated density, about their means, in the model's box and 3 resolutions around it.
    """

    inside: float
    explained: float
    correlation: float


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The least of each that is accepted."""

    inside: float = 0.8
    explained: float = 0.7
    correlation: float = 0.65

    def refuse(self, found: Agreement) -> str | None:
        """Return why a pair is refused; None if it is not."""
        if found.inside < self.inside:
            return f"coverage: {found.inside:.2f} of the atoms lie in density"
        if found.explained < self.explained:
            return f"coverage: {found.explained:.2f} of the density is explained by the model"
        # "not at least" refuses NaN, the correlation with a constant map.
        if not found.correlation >= self.correlation:
            return f"correlation: {found.correlation:.2f}"
        return None


def compare(volume: Volume, atoms: Atoms, *, resolution: float, contour: float) -> Agreement:
    """Compare a map with a model.

    Parameters
    ----------
    volume
        At 1 A.
    resolution, contour
        Angstrom; in units of the map.
    """
    positions = (atoms.positions - np.array(volume.origin, np.float32)) / SPACING
    density = volume.read()
    return Agreement(
        inside=_inside(density, positions, contour=contour),
        explained=_explained(density, positions, contour=contour),
        correlation=_correlation(volume, positions, atoms.numbers, resolution=resolution),
    )


def _inside(density: NDArray[np.float32], positions: NDArray[np.float32], *, contour: float) -> float:
    nearest = np.rint(positions).astype(np.int64)
    within = np.all((nearest >= 0) & (nearest < density.shape), axis=1)
    z, y, x = nearest[within].T
    return float((density[z, y, x] > contour).sum() / len(positions))


def _explained(density: NDArray[np.float32], positions: NDArray[np.float32], *, contour: float) -> float:
    from scipy.spatial import cKDTree

    above = np.flatnonzero(density > contour)
    if not len(above):
        return 0.0
    sampled = above[:: -(-len(above) // MOST_SAMPLED)]
    voxels = np.column_stack(np.unravel_index(sampled, density.shape))
    distances, _ = cKDTree(positions).query(voxels, distance_upper_bound=NEAR / SPACING)
    return float(np.isfinite(distances).mean())


def _correlation(
    volume: Volume, positions: NDArray[np.float32], numbers: NDArray[np.float32], *, resolution: float
) -> float:
    margin = MARGIN * resolution / SPACING
    low = np.clip(np.floor(positions.min(axis=0) - margin), 0, volume.shape).astype(int)
    high = np.clip(np.ceil(positions.max(axis=0) + margin) + 1, 0, volume.shape).astype(int)
    z, y, x = (int(n) for n in high - low)
    if min(z, y, x) < 1:
        return 0.0  # the model lies outside the map
    start = (int(low[0]), int(low[1]), int(low[2]))
    observed = volume.read(Region(start, (z, y, x)))
    sigma = SIGMA_PER_RESOLUTION * resolution
    placed = ((positions - low) * SPACING).astype(np.float32)
    simulated = gaussians(placed, numbers, shape=(z, y, x), spacing=SPACING, sigma=sigma)
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.corrcoef(observed.ravel(), simulated.ravel())[0, 1])
