"""The network, once, in two sizes: ``SAMU`` is the paper's, ``SAMU_LITE`` the default where there is no GPU.

::

    stem -> [blocks, down] x levels -> middle -> [blocks with skips, up] x levels -> head

Source: Zhang and Dao Duc, CryoSAMU, section 3.3; what the paper leaves out follows the author's related networks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from samu_engines.blocks import CrossAttention, LinearAttention, Refinement, ResidualBlock, norm_of
from samu_engines.folding import fold, unfold
from samu_engines.gate import PATCH, Gate


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The size of a network.

    Attributes
    ----------
    patch
        Voxels along each axis that the stem folds into one lattice point (space to depth), and the head unfolds.
    widths
        Channels of each level; each level but the first has half the lattice of the one before.
    blocks
        Residual blocks of a level in the encoder; the decoder has one more, so that each takes a skip.
    attention_levels
        Levels with a linear attention after each residual block; the middle has one if there are any.
    structure_channels
        Width of the structural embedding that the middle attends to; 0 for a network without.
    norm
        ``"group"``: group normalisation, whose statistics are those of the cube. ``"voxel"``: root mean square over the
        channels of each voxel; what a voxel becomes then depends on its surroundings alone, and cores join.
    dropout
        Probability, in residual blocks, while training.
    early_upsampling
        Convolve to the next level's channels before the lattice is doubled, an eighth of the work, and not after.
    linear_path
        What the network gives is added to a learned linear filter of the cube, so that detail the map already shows
        need not pass through it.
    refine
        Channels of two last convolutions over single voxels, which even out the borders of patches; 0 for none.
    gate
        Channels of each level of a gate that lets pass what all that lies around makes likely to be protein; empty for
        none.
    """

    patch: int
    widths: tuple[int, ...]
    blocks: int
    attention_levels: tuple[int, ...] = ()
    structure_channels: int = 0
    norm: Literal["group", "voxel"] = "group"
    dropout: float = 0.0
    early_upsampling: bool = False
    linear_path: bool = False
    refine: int = 0
    gate: tuple[int, ...] = ()

    @property
    def coarsest(self) -> int:
        """Voxels from point to point of the coarsest lattice; edges of cubes are multiples of it."""
        levels = [(self.patch, len(self.widths)), (PATCH, len(self.gate))]
        return max(patch << (count - 1) for patch, count in levels if count)


SAMU = NetworkConfig(
    patch=1,
    widths=(32, 64, 64, 128),
    blocks=2,
    attention_levels=(0, 1, 2),
    structure_channels=512,
    dropout=0.2,
)
SAMU_LITE = NetworkConfig(
    patch=2,
    widths=(32, 64, 128),
    blocks=1,
    norm="voxel",
    early_upsampling=True,
    linear_path=True,
    refine=8,
    gate=(16, 32, 48, 64),
)
CONFIGS = {"samu": SAMU, "samu-lite": SAMU_LITE}


class Network(nn.Module):
    """A 3D U-Net with residual blocks: cubes of density in, enhanced cubes out."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        first = config.widths[0]
        self.stem = nn.Conv3d(config.patch**3, first, 3, padding=1)
        self.encoder = nn.ModuleList()
        skips = [first]
        channels = first
        for level, width in enumerate(config.widths):
            for _ in range(config.blocks):
                self.encoder.append(_Stage(config, level, channels, width))
                channels = width
                skips.append(channels)
            if level + 1 < len(config.widths):
                self.encoder.append(nn.Conv3d(channels, channels, 3, stride=2, padding=1))
                skips.append(channels)
        self.middle = _Middle(config, channels)
        self.decoder = nn.ModuleList()
        for level, width in reversed(list(enumerate(config.widths))):
            for number in range(config.blocks + 1):
                stage: nn.Module = _Stage(config, level, channels + skips.pop(), width)
                channels = width
                if number == config.blocks and level > 0:
                    upsample = _upsampling(config, width, config.widths[level - 1])
                    channels = width if not config.early_upsampling else config.widths[level - 1]
                    stage = nn.Sequential(stage, upsample)
                self.decoder.append(stage)
        self.head = nn.Sequential(
            norm_of(config, channels), nn.SiLU(), nn.Conv3d(channels, config.patch**3, 3, padding=1)
        )
        self.linear = nn.Conv3d(config.patch**3, config.patch**3, 5, padding=2) if config.linear_path else None
        if self.linear is not None:
            nn.init.zeros_(self.linear.weight)
        self.refine = Refinement(config.refine) if config.refine else None
        self.gate = Gate(config.gate) if config.gate else None

    def forward(self, cubes: Tensor, structure: Tensor | None = None) -> Tensor:
        """Enhance cubes.

        Parameters
        ----------
        cubes
            (N, 1, D, H, W), normalised density; D, H, W divisible by ``config.coarsest``.
        structure
            (N, L, structure_channels), the structural embeddings, zeros for a cube without; None to do without.

        Returns
        -------
        Tensor
            (N, 1, D, H, W).
        """
        folded = fold(cubes, self.config.patch)
        features = self.stem(folded)
        skips = [features]
        for stage in self.encoder:
            features = stage(features)
            skips.append(features)
        features = self.middle(features, structure)
        for stage in self.decoder:
            features = stage(torch.cat([features, skips.pop()], dim=1))
        enhanced = self.head(features)
        if self.linear is not None:
            enhanced = enhanced + self.linear(folded)
        enhanced = unfold(enhanced, self.config.patch)
        if self.refine is not None:
            enhanced = self.refine(enhanced, cubes)
        return enhanced if self.gate is None else self.gate(enhanced, cubes)


class _Stage(nn.Sequential):
    """A residual block, and the attention of its level."""

    def __init__(self, config: NetworkConfig, level: int, channels: int, width: int) -> None:
        block = ResidualBlock(config, channels, width)
        super().__init__(*([block, LinearAttention(width)] if level in config.attention_levels else [block]))


class _Middle(nn.Module):
    def __init__(self, config: NetworkConfig, channels: int) -> None:
        super().__init__()
        self.first = ResidualBlock(config, channels, channels)
        self.attention = LinearAttention(channels) if config.attention_levels else nn.Identity()
        self.structure = CrossAttention(channels, config.structure_channels) if config.structure_channels else None
        self.second = ResidualBlock(config, channels, channels)

    def forward(self, features: Tensor, structure: Tensor | None) -> Tensor:
        """(N, C, D, H, W) and (N, L, structure_channels) or None to (N, C, D, H, W)."""
        features = self.attention(self.first(features))
        if self.structure is not None:
            features = self.structure(features, structure)
        out: Tensor = self.second(features)
        return out


def channels_last(network: nn.Module) -> None:
    """Lay out the convolutions' weights as they are fastest; ``Module.to`` refuses the memory of attention."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)


def _upsampling(config: NetworkConfig, width: int, next_width: int) -> nn.Module:
    double = nn.Upsample(scale_factor=2.0, mode="nearest")
    if config.early_upsampling:
        return nn.Sequential(nn.Conv3d(width, next_width, 3, padding=1), double)
    return nn.Sequential(double, nn.Conv3d(width, width, 3, padding=1))
