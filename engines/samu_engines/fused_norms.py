"""Norms, and the SiLU behind them, in Triton: half-precision features are read twice and written once, 6 bytes a value.

PyTorch needs them in float32 with the channels first and takes a step at a time, which moves 32. The arithmetic is
float32, and variances are sums of squares about the mean: where a mean is a hundred times the deviation, a mean of
squares less a square would lose half the digits.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from samu_engines import plain_norms

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = triton.__version__
TILE = 2048
"""Values that a program holds at once: of twice as many it would need all registers of a thread."""
ROUNDING = 1e-3
"""Twice the relative rounding error of half precision."""
STEPS = 16
"""Tiles that a program goes through for the moments."""


@triton.jit
def _moments(  # noqa: PLR0917
    features, means, squares, voxels, channels, STEPS: tl.constexpr, VOXELS: tl.constexpr, CHANNELS: tl.constexpr
):
    """Of some tiles: each channel's mean, and its sum of squares about that, tile after tile (Chan, Golub, LeVeque)."""
    cube, part, parts = tl.program_id(1).to(tl.int64), tl.program_id(0), tl.num_programs(0)
    channel = tl.arange(0, CHANNELS)
    used = channel < channels
    mean, square, seen = tl.zeros((CHANNELS,), tl.float32), tl.zeros((CHANNELS,), tl.float32), 0.0
    for step in range(STEPS):
        first = (part * STEPS + step) * VOXELS
        voxel = first + tl.arange(0, VOXELS)
        there = (voxel < voxels)[:, None] & used[None, :]
        place = (cube * voxels + voxel)[:, None] * channels + channel[None, :]
        values = tl.load(features + place, mask=there, other=0.0).to(tl.float32)
        count = tl.minimum(tl.maximum(voxels - first, 0), VOXELS).to(tl.float32)
        here = tl.sum(values, axis=0) / tl.maximum(count, 1.0)
        away = tl.where(there, values - here[None, :], 0.0)
        share = count / tl.maximum(seen + count, 1.0)
        square += tl.sum(away * away, axis=0) + (here - mean) * (here - mean) * (seen * share)
        mean += (here - mean) * share
        seen += count
    to = (cube * parts + part) * channels + channel
    tl.store(means + to, mean, mask=used)
    tl.store(squares + to, square, mask=used)


@triton.jit
def _normalise(  # noqa: PLR0917
    features,
    mean,
    scale,
    bias,
    out,
    voxels,
    channels,
    SILU: tl.constexpr,
    VOXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """(features - mean) * scale + bias, of each cube's channels, and the SiLU of that."""
    cube, tile = tl.program_id(1).to(tl.int64), tl.program_id(0)
    voxel = tile * VOXELS + tl.arange(0, VOXELS)
    channel = tl.arange(0, CHANNELS)
    used = channel < channels
    there = (voxel < voxels)[:, None] & used[None, :]
    place = (cube * voxels + voxel)[:, None] * channels + channel[None, :]
    values = tl.load(features + place, mask=there, other=0.0).to(tl.float32)
    of = cube * channels + channel
    values -= tl.load(mean + of, mask=used, other=0.0)[None, :]
    values *= tl.load(scale + of, mask=used, other=0.0)[None, :]
    values += tl.load(bias + channel, mask=used, other=0.0).to(tl.float32)[None, :]
    if SILU:
        values *= tl.sigmoid(values)
    tl.store(out + place, values.to(out.dtype.element_ty), mask=there)


@triton.jit
def _normalise_voxels(  # noqa: PLR0917
    features,
    gain,
    out,
    voxels,
    channels,
    epsilon,
    SILU: tl.constexpr,
    VOXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Each voxel over the root mean square of its channels, times the gain, and the SiLU of that."""
    voxel = tl.program_id(0).to(tl.int64) * VOXELS + tl.arange(0, VOXELS)
    channel = tl.arange(0, CHANNELS)
    used = channel < channels
    there = (voxel < voxels)[:, None] & used[None, :]
    place = voxel[:, None] * channels + channel[None, :]
    values = tl.load(features + place, mask=there, other=0.0).to(tl.float32)
    values *= tl.rsqrt(tl.sum(values * values, axis=1) / channels + epsilon)[:, None]
    values *= tl.load(gain + channel, mask=used, other=0.0).to(tl.float32)[None, :]
    if SILU:
        values *= tl.sigmoid(values)
    tl.store(out + place, values.to(out.dtype.element_ty), mask=there)


def group_norm(features: Tensor, groups: int, gain: Tensor, bias: Tensor, *, epsilon: float, silu: bool) -> Tensor:
    """As :func:`samu_engines.plain_norms.group_norm`."""
    features = features.contiguous(memory_format=torch.channels_last_3d)
    n, channels, voxels = len(features), features.shape[1], features[0, 0].numel()
    options = _options(channels)
    parts = triton.cdiv(voxels, STEPS * options["VOXELS"])
    means, squares = features.new_empty((2, n, parts, channels), dtype=torch.float32)
    _moments[(parts, n)](features, means, squares, voxels, channels, STEPS=STEPS, **options)
    mean, deviation = _of_groups(means, squares, voxels, part=STEPS * options["VOXELS"], groups=groups, epsilon=epsilon)
    out = torch.empty_like(features, dtype=gain.dtype)
    grid = (triton.cdiv(voxels, options["VOXELS"]), n)
    _normalise[grid](features, mean, gain.float() / deviation, bias, out, voxels, channels, SILU=silu, **options)
    return out


def voxel_norm(features: Tensor, gain: Tensor, *, epsilon: float, silu: bool) -> Tensor:
    """As :func:`samu_engines.plain_norms.voxel_norm`."""
    features = features.contiguous(memory_format=torch.channels_last_3d)
    channels, voxels = features.shape[1], features.numel() // features.shape[1]
    options = _options(channels)
    out = torch.empty_like(features, dtype=gain.dtype)
    grid = (triton.cdiv(voxels, options["VOXELS"]),)
    _normalise_voxels[grid](features, gain.flatten(), out, voxels, channels, epsilon, SILU=silu, **options)
    return out


def check(device: str) -> None:
    """Compile the kernels for a device and hold them to PyTorch's norms.

    Raises
    ------
    ArithmeticError
        They differ; or whatever Triton raises.
    """
    features = 5 + torch.randn(2, 64, 8, 8, 8).to(device, torch.float16)
    gain, bias = torch.randn(2, 64).to(device, torch.float16)
    for given, silu in itertools.product((features, features.float()), (True, False)):
        finish = {"epsilon": 1e-5, "silu": silu}
        _hold_to(plain_norms.group_norm, group_norm, given, 32, gain, bias, **finish)
        _hold_to(plain_norms.voxel_norm, voxel_norm, given, gain.reshape(1, -1, 1, 1, 1), **finish)


def _hold_to(plain: Callable[..., Tensor], fused: Callable[..., Tensor], *given: Any, **finish: Any) -> None:
    expected, found = (norm(*given, **finish).float() for norm in (plain, fused))
    error = float((found - expected).norm() / expected.norm())
    if not error < ROUNDING:
        raise ArithmeticError(f"its norms are {error:.1e} off")


def _options(channels: int) -> dict[str, int]:
    wide = triton.next_power_of_2(channels)
    return {"VOXELS": max(1, TILE // wide), "CHANNELS": wide, "enable_fp_fusion": True}


def _of_groups(
    means: Tensor, squares: Tensor, voxels: int, *, part: int, groups: int, epsilon: float
) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each cube's groups, for each channel, from those of its parts: (N, C) each."""
    _, parts, channels = means.shape
    counts = (voxels - part * torch.arange(parts, device=means.device)).clamp(max=part).float().unsqueeze(1)
    each = channels // groups
    means, squares = (of.unflatten(2, (groups, each)).transpose(1, 2) for of in (means, squares))
    mean = (means * counts).sum(dim=(2, 3), keepdim=True) / (voxels * each)  # (N, groups, 1, 1)
    variance = (squares + counts * (means - mean).square()).sum(dim=(2, 3)) / (voxels * each)
    mean, deviation = mean[..., 0, 0], torch.sqrt(variance + epsilon)
    return mean.repeat_interleave(each, dim=1), deviation.repeat_interleave(each, dim=1)
