"""What training minimises: the distance of densities, and one minus their correlation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

BETA = 0.1
DENSITY_WEIGHT = 5.0
FLOOR = 1e-3
"""Standard deviation below which a crop counts as empty: its correlation says nothing."""


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Return the correlation of each pair of cubes: (N, 1, D, H, W) twice to (N,)."""
    a, b = (x.flatten(1) - x.flatten(1).mean(dim=1, keepdim=True) for x in (a, b))
    spread = (a.square().mean(dim=1) + FLOOR**2) * (b.square().mean(dim=1) + FLOOR**2)
    return (a * b).mean(dim=1) / spread.sqrt()


def density_loss(enhanced: Tensor, target: Tensor) -> Tensor:
    """Smooth L1 (the paper's loss) plus one minus the correlation of every cube that holds density."""
    near = functional.smooth_l1_loss(enhanced, target, beta=BETA)
    holds = target.flatten(1).std(dim=1) > 10 * FLOOR
    unlike = (1 - correlation(enhanced, target))[holds]
    return DENSITY_WEIGHT * near + (unlike.mean() if len(unlike) else torch.zeros(()))
