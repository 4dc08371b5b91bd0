"""How near a map is to the density it should show: both on one grid, ZYX.

Correlations are Pearson's. A resolution is where the Fourier shell correlation with the target first falls below 0.5,
in angstrom, between shells by linear interpolation; twice the spacing where it never does. Shells coarser than 20 A are
not looked at: unmodelled density decides there, and no detail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft
from scipy.ndimage import distance_transform_edt, gaussian_filter

from samu_training.density import target_density

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Density = NDArray[np.float32]

INSIDE = 3.0
"""Angstrom from an atom within which a voxel is the molecule's."""
OUTSIDE = 8.0
"""Angstrom from all atoms beyond which a voxel is solvent."""
PERCENTILE = 99.9
COARSEST = 20.0
WIDEST_B = 800
"""Global B factors between minus this (sharper) and this are tried, in square angstrom."""
HIGHEST = 0.4
"""1/angstrom beyond which sharpening stays as it is: there is nothing but rounding."""
THIN = 5e-4


@dataclass(frozen=True)
class Truth:
    """What a map should show: the target density, and which voxels are the molecule's and the solvent's.

    Attributes
    ----------
    target
        Equation 1 at 2 A, float32 (D, H, W).
    inside, solvent
        Voxels within 3 A of an atom; voxels farther than 8 A from all.
    soft
        The mask of the masked resolution: one within 4 A, blurred by 2 A.
    spacing
        Angstrom.
    """

    target: Density
    inside: NDArray[np.bool_]
    solvent: NDArray[np.bool_]
    soft: Density
    spacing: float

    @classmethod
    def of(cls, positions: Density, numbers: Density, *, shape: tuple[int, int, int], spacing: float) -> Truth:
        """Return the truth for atoms: (N, 3) in angstrom from the first voxel, ZYX, and their atomic numbers."""
        free = np.ones(shape, bool)
        nearest = np.rint(positions / spacing).astype(int)
        within = np.all((nearest >= 0) & (nearest < shape), axis=1)
        free[tuple(nearest[within].T)] = False
        distance = distance_transform_edt(free, sampling=spacing)
        return cls(
            target=target_density(positions, numbers, shape=shape, spacing=spacing),
            inside=distance <= INSIDE,
            solvent=distance > OUTSIDE,
            soft=gaussian_filter((distance <= INSIDE + 1).astype(np.float32), 2 / spacing),
            spacing=spacing,
        )


def figures(density: Density, truth: Truth) -> dict[str, float]:
    """Return ``cc_box``, ``cc_mask``, ``d_fsc_05``, ``d_fsc_05_masked``, and ``solvent``.

    The last is the standard deviation of the solvent over the 99.9th percentile of the non-zero voxels.
    """
    level = np.percentile(density[density != 0], PERCENTILE)
    return {
        **correlations(density, truth),
        "d_fsc_05": resolution(density, truth.target, spacing=truth.spacing),
        "d_fsc_05_masked": resolution(density * truth.soft, truth.target * truth.soft, spacing=truth.spacing),
        "solvent": float(density[truth.solvent].std() / level) if truth.solvent.any() else float("nan"),
    }


def correlations(density: Density, truth: Truth) -> dict[str, float]:
    """Return ``cc_box`` and ``cc_mask``: the correlation with the target over all voxels, and inside the molecule."""
    return {
        "cc_box": _correlation(density, truth.target),
        "cc_mask": _correlation(density[truth.inside], truth.target[truth.inside]),
    }


def _correlation(a: Density, b: Density) -> float:
    a, b = (part.ravel() - part.mean(dtype=np.float64) for part in (a, b))
    return float((a @ b) / np.sqrt((a @ a) * (b @ b)))


def resolution(density: Density, target: Density, *, spacing: float) -> float:
    """Return where the FSC of two maps first falls below 0.5, in angstrom."""
    one, other = fft.rfftn(density), fft.rfftn(target)
    frequency = _frequencies(density.shape, spacing)
    width = 1 / (spacing * min(density.shape))
    shell = np.rint(frequency / width).astype(int).ravel()
    cross, first, second = (
        np.bincount(shell, (a * b.conj()).real.ravel())[1:] for a, b in ((one, other), (one, one), (other, other))
    )
    fsc = cross / np.sqrt(np.maximum(first * second, 1e-300))
    below = np.flatnonzero((fsc < 0.5) & (np.arange(1, len(fsc) + 1) * width > 1 / COARSEST))
    nyquist = 0.5 / spacing
    if not len(below):
        return 1 / nyquist
    at = int(below[0])
    part = (fsc[at - 1] - 0.5) / (fsc[at - 1] - fsc[at]) if at and fsc[at - 1] > 0.5 else 1.0
    return float(1 / min(nyquist, (at + part) * width))


def best_global_b(density: Density, truth: Truth, *, resolution: float) -> dict[str, float]:
    """Return the figures of the map after the global B factor and low-pass that bring it closest to the target.

    They are found against the target itself: an upper bound of global sharpening. ``cc_mask`` is that of the filter
    best for it, all others are those of the filter best for ``cc_box``. The low-pass is a cosine edge at the given
    resolution, at three quarters of it, or none.
    """
    spectrum, frequency = fft.rfftn(density), _frequencies(density.shape, truth.spacing)

    def filtered(cut: float, b: float) -> Density:
        filtered_map: Density = fft.irfftn(spectrum * _filter(frequency, cut, b), s=density.shape)
        return filtered_map.astype(np.float32)

    def inside(cut: float, b: float) -> float:
        return _correlation(filtered(cut, b)[truth.inside], truth.target[truth.inside])

    cuts = (0.0, 0.75 * resolution, resolution)
    in_box = _best_filter(_box_correlation(spectrum, fft.rfftn(truth.target), frequency), cuts, step=10)
    in_mask = _best_filter(inside, cuts[::2], step=100)
    best = figures(filtered(*in_box), truth) | {"b": in_box[1], "b_mask": in_mask[1]}
    return best | {"cc_mask": inside(*in_mask)}


def _best_filter(
    correlation: Callable[[float, float], float], cuts: Sequence[float], *, step: int
) -> tuple[float, float]:
    tried = {(cut, float(b)): correlation(cut, b) for cut in cuts for b in range(-WIDEST_B, WIDEST_B + 1, step)}
    cut, near = max(tried, key=lambda at: tried[at])
    tried |= {(cut, near + part * step / 4): correlation(cut, near + part * step / 4) for part in (-3, -2, -1, 1, 2, 3)}
    return max(tried, key=lambda at: tried[at])


def _box_correlation(
    one: NDArray[np.complex64], other: NDArray[np.complex64], frequency: Density
) -> Callable[[float, float], float]:
    """Return how the correlation of two maps depends on a filter of the first: by Parseval, over thin shells."""
    weight = np.full(one.shape, 2.0)
    weight[:, :, 0] = 1
    weight[0, 0, 0] = 0  # the mean
    shell = (frequency / THIN).astype(int).ravel()
    cross, first, second = (
        np.bincount(shell, (weight * (a * b.conj()).real).ravel())
        for a, b in ((one, other), (one, one), (other, other))
    )
    middles = (np.arange(len(cross)) + 0.5) * THIN

    def correlation(cut: float, b: float) -> float:
        factor = _filter(middles, cut, b)
        return float((factor * cross).sum() / np.sqrt((factor**2 * first).sum() * second.sum()))

    return correlation


def _filter(frequency: NDArray[np.floating], cut: float, b: float) -> NDArray[np.floating]:
    factor: NDArray[np.floating] = np.exp(-0.25 * b * np.minimum(frequency, HIGHEST) ** 2)
    if cut:
        factor *= 0.5 + 0.5 * np.cos(np.pi * np.clip((frequency - 1 / cut) / 0.02, 0, 1))
    return factor


def _frequencies(shape: tuple[int, ...], spacing: float) -> Density:
    z, y, x = np.ix_(fft.fftfreq(shape[0], spacing), fft.fftfreq(shape[1], spacing), fft.rfftfreq(shape[2], spacing))
    frequency: Density = np.sqrt(z**2 + y**2 + x**2).astype(np.float32)
    return frequency
