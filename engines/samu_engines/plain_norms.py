"""Norms, and the SiLU behind them, step by step in PyTorch."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


class Norms(Protocol):
    """What computes norms: this module, or :mod:`samu_engines.fused_norms`."""

    def group_norm(
        self, features: Tensor, groups: int, gain: Tensor, bias: Tensor, *, epsilon: float, silu: bool
    ) -> Tensor:
        """As :func:`group_norm`."""
        ...

    def voxel_norm(self, features: Tensor, gain: Tensor, *, epsilon: float, silu: bool) -> Tensor:
        """As :func:`voxel_norm`."""
        ...


def group_norm(features: Tensor, groups: int, gain: Tensor, bias: Tensor, *, epsilon: float, silu: bool) -> Tensor:
    """Return the group norm of (N, C, D, H, W), of any precision, in that of ``gain`` with the channels last.

    ``gain`` and ``bias`` have C values. Computed in float32 at least; with ``silu``, x / (1 + exp(-x)) follows.
    """
    # torch's group norm of channels that are last is another one, and loses three digits.
    wide = features.to(wide_of(features.dtype), memory_format=torch.contiguous_format)
    normal = functional.group_norm(wide, groups, gain.to(wide.dtype), bias.to(wide.dtype), epsilon)
    return _finished(normal, gain.dtype, silu=silu)


def voxel_norm(features: Tensor, gain: Tensor, *, epsilon: float, silu: bool) -> Tensor:
    """Return each voxel of (N, C, D, H, W) over the root mean square of its channels, as :func:`group_norm` does."""
    wide = features.to(wide_of(features.dtype), memory_format=torch.contiguous_format)
    normal = wide * torch.rsqrt(wide.square().mean(dim=1, keepdim=True) + epsilon) * gain.to(wide.dtype)
    return _finished(normal, gain.dtype, silu=silu)


def wide_of(dtype: torch.dtype) -> torch.dtype:
    """Return the precision for what leaves the range of half precision."""
    return torch.promote_types(dtype, torch.float32)


def _finished(normal: Tensor, dtype: torch.dtype, *, silu: bool) -> Tensor:
    if silu:
        normal = functional.silu(normal, inplace=True)
    return normal.to(dtype, memory_format=torch.channels_last_3d)
