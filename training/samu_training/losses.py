"""What training minimises: the distance of densities, and one minus their correlation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

BETA = 0.1
DENSITY_WEIGHT = 5.0
PRESENT = 0.05
FLOOR = 1e-3
"""Standard deviation below which a crop counts as empty: its correlation says nothing."""


def correlation(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the correlation of each pair of cubes: (N, 1, D, H, W) twice, and a weight of each voxel, to (N,)."""
    weight = torch.ones_like(a) if weight is None else weight
    share = weight.flatten(1) / (weight.flatten(1).sum(dim=1, keepdim=True) + FLOOR)
    a, b = (x.flatten(1) - (share * x.flatten(1)).sum(dim=1, keepdim=True) for x in (a, b))
    spread = ((share * a.square()).sum(dim=1) + FLOOR**2) * ((share * b.square()).sum(dim=1) + FLOOR**2)
    return (share * a * b).sum(dim=1) / spread.sqrt()


def near_density(target: Tensor) -> Tensor:
    """Return 1 at voxels within 3 of target density, where the molecule is, and 0 in the solvent."""
    return (functional.max_pool3d(target, 7, stride=1, padding=3) > PRESENT).to(target.dtype)


def density_loss(enhanced: Tensor, target: Tensor) -> Tensor:
    """Smooth L1 (the paper's loss) plus one minus the correlation of every cube that holds density.

    Half of the correlation is that of whole cubes, molecule against solvent; half is that inside the molecule.
    """
    near = functional.smooth_l1_loss(enhanced, target, beta=BETA)
    holds = target.flatten(1).std(dim=1) > 10 * FLOOR
    inside = correlation(enhanced, target, near_density(target))
    unlike = (1 - (correlation(enhanced, target) + inside) / 2)[holds]
    return DENSITY_WEIGHT * near + (unlike.mean() if len(unlike) else torch.zeros(()))
