"""What training minimises: the distance of densities, and one minus their correlation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from samu_training.as_read import CORE, CUBE

BETA = 0.1
DENSITY_WEIGHT = 5.0
SHELL_WEIGHT = 0.5
FINEST = 2.5
"""Angstrom (voxels): shells beyond hold nothing that maps at 3 to 9 A can show."""
PRESENT = 0.05
HALO = (CUBE - CORE) // 2
"""Voxels at a cube's faces that are not used at inference."""
LATTICE = 8
"""Voxels after which a network that halves its cubes three times sees a map alike."""
FLOOR = 1e-3
"""Standard deviation below which a crop counts as empty: its correlation says nothing."""


def correlation(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the correlation of each pair of cubes: (N, 1, D, H, W) twice, and a weight of each voxel, to (N,)."""
    weight = torch.ones_like(a) if weight is None else weight
    share = weight.flatten(1) / (weight.flatten(1).sum(dim=1, keepdim=True) + FLOOR)
    a, b = (x.flatten(1) - (share * x.flatten(1)).sum(dim=1, keepdim=True) for x in (a, b))
    spread = ((share * a.square()).sum(dim=1) + FLOOR**2) * ((share * b.square()).sum(dim=1) + FLOOR**2)
    return (share * a * b).sum(dim=1) / spread.sqrt()


def near_density(target: Tensor, *, reach: int = 3) -> Tensor:
    """Return 1 at voxels within ``reach`` of target density, where the molecule is, and 0 in the solvent."""
    widest, edge = target, 2 * reach + 1
    for kernel, padding in (
        ((edge, 1, 1), (reach, 0, 0)),
        ((1, edge, 1), (0, reach, 0)),
        ((1, 1, edge), (0, 0, reach)),
    ):
        widest = functional.max_pool3d(widest, kernel, stride=1, padding=padding)
    return (widest > PRESENT).to(target.dtype)


def shell_correlation(a: Tensor, b: Tensor, window: Tensor) -> Tensor:
    """Return the mean Fourier shell correlation of each pair of cubes under a window: (N, 1, E, E, E) each, to (N,).

    Shells are those of the cube, one frequency step wide, from the second to ``FINEST``.
    """
    edge = a.shape[-1]
    steps = torch.fft.fftfreq(edge, 1 / edge, device=a.device)
    radius = (steps[:, None, None] ** 2 + steps[:, None] ** 2 + steps[: edge // 2 + 1] ** 2).sqrt().round().long()
    count = int(edge / FINEST) + 1

    def summed(values: Tensor) -> Tensor:
        shells = torch.zeros(len(values), int(radius.max()) + 1, device=a.device)
        return shells.index_add(1, radius.flatten(), values.flatten(1))[:, 2:count]

    f, g = (torch.fft.rfftn(x * window, dim=(2, 3, 4)) for x in (a, b))
    power = summed(f.abs().square()) * summed(g.abs().square())
    return (summed((f * g.conj()).real) / (power + FLOOR).sqrt()).mean(dim=1)


def density_loss(enhanced: Tensor, target: Tensor) -> Tensor:
    """Smooth L1 (the paper's loss) plus what is missing in the correlations of every cube that holds density.

    Of the correlation in real space half is that of whole cubes, molecule against solvent, and half that inside the
    molecule. The Fourier shell correlation inside the molecule counts every shell alike, however weak: what a map shows
    of fine detail is not to be lost, and no filter can raise it.
    """
    near = functional.smooth_l1_loss(enhanced, target, beta=BETA)
    holds = target.flatten(1).std(dim=1) > 10 * FLOOR
    if not holds.any():
        return DENSITY_WEIGHT * near
    enhanced, target = enhanced[holds], target[holds]
    molecule = near_density(target)
    unlike = 1 - (correlation(enhanced, target) + correlation(enhanced, target, molecule)) / 2
    window = functional.avg_pool3d(molecule, 5, stride=1, padding=2) * _taper(target)
    lost = 1 - shell_correlation(enhanced, target, window)
    return DENSITY_WEIGHT * near + unlike.mean() + SHELL_WEIGHT * lost.mean()


def overlap_shift(edge: int) -> int:
    """Return by how much two cubes of an edge differ that are to agree: at most half of it.

    At inference neighbours lie ``CORE`` apart, which is no multiple of the network's stride: each sees the other's
    voxels at other places of its lattices. Cubes a multiple of the stride apart would learn nothing about that.
    """
    return edge // 2 - (edge // 2 - CORE) % LATTICE


def disagreement(first: Tensor, second: Tensor, *, shift: int) -> Tensor:
    """Return the mean difference of what a network says of the same voxels in two cubes.

    Parameters
    ----------
    first, second
        Enhanced cubes, (N, 1, E, E, E); the second begins ``shift`` voxels later along the third axis. Compared is
        what is used of both at inference, ``HALO`` voxels inside.
    """
    edge = first.shape[2]
    inner = slice(HALO, edge - HALO)
    one = first[:, :, shift + HALO : edge - HALO, inner, inner]
    other = second[:, :, HALO : edge - HALO - shift, inner, inner]
    return functional.l1_loss(one, other)


def _taper(cubes: Tensor) -> Tensor:
    """Fall to zero over the outer quarter of a cube, so that its faces add no frequencies of their own."""
    edge = cubes.shape[-1]
    from_face = torch.minimum(torch.arange(edge) + 0.5, edge - torch.arange(edge) - 0.5).to(cubes.device)
    ramp = torch.sin(torch.clamp(from_face / (edge / 4), max=1) * torch.pi / 2) ** 2
    return ramp[:, None, None] * ramp[:, None] * ramp
