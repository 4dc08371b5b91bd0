"""What the network is built of.

Source: Zhang and Dao Duc, CryoSAMU, section 3.3; the linear attention is that of Shen et al. 2021, Efficient Attention.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from samu_engines.network import NetworkConfig

GROUPS = 32
HEADS = 4
HEAD_CHANNELS = 32
MEMORY_TOKENS = 4
EPSILON = 1e-2


class ResidualBlock(nn.Module):
    """Twice norm, SiLU, dropout, convolution; added to the input. With local norms it starts as the identity."""

    def __init__(self, config: NetworkConfig, channels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            norm_of(config, channels), nn.SiLU(), nn.Dropout(config.dropout), nn.Conv3d(channels, width, 3, padding=1)
        )
        self.second = nn.Sequential(
            norm_of(config, width), nn.SiLU(), nn.Dropout(config.dropout), nn.Conv3d(width, width, 3, padding=1)
        )
        self.shortcut = nn.Identity() if channels == width else nn.Conv3d(channels, width, 1)
        if config.norm == "voxel":
            nn.init.zeros_(self.second[-1].weight)

    def forward(self, features: Tensor) -> Tensor:
        """(N, channels, D, H, W) to (N, width, D, H, W)."""
        out: Tensor = self.shortcut(features) + self.second(self.first(features))
        return out


class VoxelNorm(nn.Module):
    """Divides each voxel by the root mean square of its channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1, channels, 1, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, D, H, W) to the same."""
        return features * torch.rsqrt(features.square().mean(dim=1, keepdim=True) + EPSILON) * self.gain


class LinearAttention(nn.Module):
    """Attention over all voxels of a level at linear cost: softmax of queries over channels, of keys over voxels.

    There is no residual connection around it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = HEADS * HEAD_CHANNELS
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.qkv = nn.Conv3d(channels, 3 * hidden, 1, bias=False)
        self.memory = nn.Parameter(torch.randn(2, HEADS, HEAD_CHANNELS, MEMORY_TOKENS))
        self.out = nn.Sequential(nn.Conv3d(hidden, channels, 1), nn.GroupNorm(GROUPS, channels))

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, D, H, W) to the same."""
        n, _, depth, height, width = features.shape
        qkv = self.qkv(self.norm(features)).reshape(n, 3, HEADS, HEAD_CHANNELS, depth * height * width)
        queries, keys, values = qkv[:, 0], qkv[:, 1], qkv[:, 2]  # (N, heads, channels, voxels)
        # The softmax of the keys weighs 262,144 voxels: its weights leave the normal range of half precision, so it and
        # the product are in float32. It is written out because engines add up its denominator one voxel after another,
        # and lose four digits where most voxels are alike; planes first, they do not.
        wide = torch.promote_types(keys.dtype, torch.float32)
        keys, values = keys.to(wide), values.to(wide)
        memory_keys, memory_values = self.memory.to(wide)
        largest = torch.maximum(keys.amax(dim=-1, keepdim=True), memory_keys.amax(dim=-1, keepdim=True))
        weights, memory_weights = torch.exp(keys - largest), torch.exp(memory_keys - largest)
        planes = weights.reshape(n, HEADS, HEAD_CHANNELS, depth, height * width).sum(dim=-1)
        total = planes.sum(dim=-1, keepdim=True) + memory_weights.sum(dim=-1, keepdim=True)
        context = weights @ values.transpose(-1, -2) + memory_weights @ memory_values.transpose(-1, -2)
        context = context / total  # (N, heads, key channels, value channels)
        queries = torch.softmax(queries, dim=-2) * HEAD_CHANNELS**-0.5
        attended = context.to(queries.dtype).transpose(-1, -2) @ queries  # (N, heads, value channels, voxels)
        out: Tensor = self.out(attended.reshape(n, HEADS * HEAD_CHANNELS, depth, height, width))
        return out


class CrossAttention(nn.Module):
    """Voxels of the middle attend to the structural embedding; without one, only the feed-forward part runs.

    In a batch some cubes may have none: theirs is zeros.
    """

    def __init__(self, channels: int, structure_channels: int) -> None:
        super().__init__()
        self.norm_voxels = nn.LayerNorm(channels)
        self.norm_structure = nn.LayerNorm(structure_channels)
        self.attention = nn.MultiheadAttention(
            channels, HEADS, kdim=structure_channels, vdim=structure_channels, batch_first=True
        )
        self.norm_out = nn.LayerNorm(channels)
        self.feed_forward = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.SiLU(), nn.Linear(4 * channels, channels)
        )

    def forward(self, features: Tensor, structure: Tensor | None) -> Tensor:
        """(N, C, D, H, W) and (N, L, structure_channels) or None to (N, C, D, H, W)."""
        tokens = features.flatten(2).transpose(1, 2)  # (N, voxels, C)
        if structure is not None:
            known = self.norm_structure(structure)
            attended = self.attention(self.norm_voxels(tokens), known, known, need_weights=False)[0]
            tokens = tokens + attended * structure.any(dim=2).any(dim=1)[:, None, None]
        tokens = tokens + self.feed_forward(self.norm_out(tokens))
        return tokens.transpose(1, 2).reshape(features.shape)


class Refinement(nn.Module):
    """Two convolutions over single voxels that see what was enhanced beside what it was made from."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(2, channels, 3, padding=1)
        self.second = nn.Conv3d(channels, 1, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, enhanced: Tensor, cubes: Tensor) -> Tensor:
        """(N, 1, D, H, W) twice to the same."""
        seen = torch.cat([enhanced, cubes.to(enhanced.dtype)], dim=1)
        out: Tensor = enhanced + self.second(functional.silu(self.first(seen)))
        return out


def norm_of(config: NetworkConfig, channels: int) -> nn.Module:
    """Return the norm that the network is made with."""
    return nn.GroupNorm(GROUPS, channels) if config.norm == "group" else VoxelNorm(channels)
