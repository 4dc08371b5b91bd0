"""The network for inference on a GPU: the same parameters and outputs, with less memory and fewer passes.

Attention never holds the queries, keys and values of a whole cube (201 MB in half precision), but those of some voxels
at a time; its context and its last convolution become one small matrix. Norms and the SiLU behind them are one step.
What leaves the range of half precision is in float32, as :func:`samu_engines.graph.islands` has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from samu_engines import plain_norms
from samu_engines.blocks import EPSILON, HEAD_CHANNELS, HEADS, LinearAttention, VoxelNorm
from samu_engines.network import channels_last
from samu_engines.plain_norms import wide_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samu_engines.network import Network
    from samu_engines.plain_norms import Norms

CHUNK = 1 << 15
"""Voxels whose queries, or keys and values, are held at once: 8 MB of each in half precision, for each cube."""
HIDDEN = HEADS * HEAD_CHANNELS


class LeanNetwork(nn.Module):
    """A network in the precision ``dtype``, channels last; takes and gives float32. It uses up what it is made of."""

    def __init__(self, network: Network, *, dtype: torch.dtype, norms: Norms = plain_norms, chunk: int = CHUNK) -> None:
        super().__init__()
        self._dtype = dtype
        self._network = network.to(dtype).eval()
        channels_last(self._network)
        _make_lean(self._network, norms=norms, chunk=chunk)

    def forward(self, cubes: Tensor) -> Tensor:
        """(N, 1, D, H, W) to the same."""
        taken = cubes.to(self._dtype, memory_format=torch.channels_last_3d)
        enhanced: Tensor = self._network(taken).to(cubes.dtype)
        return enhanced


class Norm(nn.Module):
    """A group norm or a norm of voxels, and the SiLU behind it if there is one, computed in float32 at least."""

    def __init__(self, norm: nn.Module, norms: Norms, *, silu: bool) -> None:
        super().__init__()
        self._norm = norm
        self._norms = norms
        self._silu = silu

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, D, H, W), of any precision, to the same in that of the parameters."""
        norm = self._norm
        if isinstance(norm, VoxelNorm):
            return self._norms.voxel_norm(features, norm.gain, epsilon=EPSILON, silu=self._silu)
        assert isinstance(norm, nn.GroupNorm)
        return self._norms.group_norm(
            features, norm.num_groups, norm.weight, norm.bias, epsilon=norm.eps, silu=self._silu
        )


class LeanAttention(nn.Module):
    """A :class:`~samu_engines.blocks.LinearAttention`, ``chunk`` voxels at a time."""

    def __init__(self, attention: LinearAttention, *, norms: Norms = plain_norms, chunk: int = CHUNK) -> None:
        super().__init__()
        self._chunk = chunk
        convolution, norm = attention.out
        self._norm = Norm(attention.norm, norms, silu=False)
        self._norm_out = Norm(norm, norms, silu=False)
        self._qkv = attention.qkv.weight
        self._memory = attention.memory
        self._out, self._bias = convolution.weight, convolution.bias

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, D, H, W) to the same."""
        normal = self._norm(features)
        voxels = normal.permute(0, 2, 3, 4, 1).flatten(1, 3)  # (N, voxels, C): a view, where channels are last
        attended = self._attended(voxels, self._context(voxels))
        out: Tensor = self._norm_out(attended.unflatten(1, normal.shape[2:]).permute(0, 4, 1, 2, 3))
        return out

    def _context(self, voxels: Tensor) -> Tensor:
        """Return the values weighed by the softmax of the keys over voxels and memory: (N, heads, keys, values).

        The softmax goes on from chunk to chunk: what was added up is scaled down when a larger key comes.
        """
        wide = wide_of(voxels.dtype)
        keys, values = self._memory.to(wide).unsqueeze(1).expand(2, len(voxels), -1, -1, -1)  # (N, heads, channels, 4)
        largest = keys.amax(dim=-1)
        weights = torch.exp(keys - largest.unsqueeze(-1))
        total, context = weights.sum(dim=-1), weights @ values.transpose(-1, -2)
        for part in self._parts(voxels):
            keys, values = self._projected(part, slice(HIDDEN, None)).to(wide).chunk(2, dim=1)
            before, largest = largest, torch.maximum(largest, keys.amax(dim=-1))
            shrunk = torch.exp(before - largest)
            weights = torch.exp(keys - largest.unsqueeze(-1))
            total = total * shrunk + weights.sum(dim=-1)
            context = context * shrunk.unsqueeze(-1) + weights @ values.transpose(-1, -2)
        return context / total.unsqueeze(-1)

    def _attended(self, voxels: Tensor, context: Tensor) -> Tensor:
        """Return what the queries find in the context, convolved: (N, voxels, C), in float32 at least.

        A softmax's weights add up to one, so what their mean finds is a constant. Apart from it, the product deals in
        the small differences that the norm behind it makes large.
        """
        wide = context.dtype
        out = self._out.to(wide).reshape(-1, HEADS, HEAD_CHANNELS)  # (C, heads, values)
        mixing = torch.einsum("nhkv,chv->nhkc", context, out).flatten(1, 2) * HEAD_CHANNELS**-0.5
        constant = mixing.mean(dim=1, keepdim=True) * HEADS + self._bias.to(wide)
        attended = constant.new_empty((*voxels.shape[:2], constant.shape[-1]))
        filled = 0
        for part in self._parts(voxels):
            queries = torch.softmax(self._projected(part, slice(HIDDEN)).to(wide), dim=2) - 1 / HEAD_CHANNELS
            found = queries.flatten(1, 2).transpose(-1, -2) @ mixing + constant
            attended[:, filled : filled + part.shape[1]] = found
            filled += part.shape[1]
        return attended

    def _projected(self, part: Tensor, rows: slice) -> Tensor:
        """Return some of queries, keys and values: (N, times heads, channels, voxels)."""
        weights = self._qkv[rows].flatten(1)  # (times HIDDEN, C)
        return (weights @ part.transpose(-1, -2)).unflatten(1, (-1, HEAD_CHANNELS))

    def _parts(self, voxels: Tensor) -> Iterator[Tensor]:
        yield from voxels.split(self._chunk, dim=1)


def _make_lean(module: nn.Module, *, norms: Norms, chunk: int) -> None:
    """Replace, in place, each attention, and each norm with the SiLU and the dropout that follow it."""
    for name, child in module.named_children():
        if isinstance(child, LinearAttention):
            setattr(module, name, LeanAttention(child, norms=norms, chunk=chunk))
        elif isinstance(child, nn.Sequential) and isinstance(child[0], nn.GroupNorm | VoxelNorm):
            setattr(module, name, nn.Sequential(Norm(child[0], norms, silu=True), child[-1]))
        else:
            _make_lean(child, norms=norms, chunk=chunk)
