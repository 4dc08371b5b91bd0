"""What share of an enhanced map passes: where protein is likely by all that lies around, far around.

It needs a margin of 24 voxels, or the faces of the cores show (docs/decisions/0007-wide-margin.md).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from samu_engines.folding import fold

if TYPE_CHECKING:
    from collections.abc import Sequence

PATCH = 2
"""Voxels along each axis that are one point of the gate's finest lattice."""


class Gate(nn.Module):
    """A small U-Net over cube and output, whose sigmoid multiplies the output; at first nearly all passes."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        levels = list(pairwise(widths))
        self.stem = _convolution(2 * PATCH**3, widths[0])
        self.down = nn.ModuleList(_convolution(fine, coarse, stride=2) for fine, coarse in levels)
        self.middle = nn.Sequential(nn.SiLU(), _convolution(widths[-1], widths[-1]), nn.SiLU())
        self.middle.append(_convolution(widths[-1], widths[-1]))
        self.up = nn.ModuleList(_convolution(coarse, fine) for fine, coarse in reversed(levels))
        self.head = _convolution(widths[0], 1)
        nn.init.zeros_(self.middle[-1].weight)
        nn.init.zeros_(self.head.weight)
        nn.init.constant_(self.head.bias, 2.0)

    def forward(self, enhanced: Tensor, cubes: Tensor) -> Tensor:
        """(N, 1, D, H, W) twice, edges divisible by 16, to the share of the enhanced cubes that passes times them."""
        return enhanced * passing(self.likely(enhanced, cubes)).to(enhanced.dtype)

    def likely(self, enhanced: Tensor, cubes: Tensor) -> Tensor:
        """Return how likely there is protein, as logits (N, 1, D/2, H/2, W/2), of (N, 1, D, H, W) twice."""
        features = self.stem(torch.cat([fold(enhanced, PATCH), fold(cubes.to(enhanced.dtype), PATCH)], dim=1))
        skips = []
        for down in self.down:
            skips.append(features)
            features = down(functional.silu(features))
        features = features + self.middle(features)
        for up in self.up:
            coarse = up(functional.silu(features))
            features = skips.pop() + functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        likely: Tensor = self.head(functional.silu(features))
        return likely


def passing(likely: Tensor) -> Tensor:
    """Return what share of each voxel passes, (N, 1, D, H, W), of logits at every second one.

    Each is repeated along each axis, and averaged with its two neighbours.
    """
    share = torch.sigmoid(likely)
    for axis in (2, 3, 4):
        last = share.shape[axis] - 1
        before = torch.cat([share.narrow(axis, 0, 1), share.narrow(axis, 0, last)], dim=axis)
        after = torch.cat([share.narrow(axis, 1, last), share.narrow(axis, last, 1)], dim=axis)
        pairs = torch.stack([share * 2 + before, share * 2 + after], dim=axis + 1)
        share = pairs.flatten(axis, axis + 1) / 3
    return share


def _convolution(channels: int, width: int, *, stride: int = 1) -> nn.Conv3d:
    convolution = nn.Conv3d(channels, width, 3, stride=stride, padding=1)
    # As torch makes them, what comes from the coarse lattices is too weak to be learnt from: nothing here has a norm.
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    nn.init.zeros_(convolution.bias)
    return convolution
