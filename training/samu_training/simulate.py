"""Experimental maps simulated from structures: what a reconstruction at a drawn resolution would show.

::

    atoms --B factors--> signal --solvent, belts--> + noise --sharpening, low-pass--> map --mask--> experimental map
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from samu_training.as_seen import as_seen, b_factors
from samu_training.belt import belt
from samu_training.density import gaussians

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator
    from numpy.typing import NDArray

    from samu_training.atoms import Atoms
    from samu_training.recipe import Recipe

    Volume = NDArray[np.float32]

B_LEVELS = 6
COARSE = 0.12
"""Frequency (1/angstrom) below which contrast is more than that of atoms."""
SHELLS = 96
MOLECULE_SIGMA = 2.0
"""Width in angstrom of the blur whose level tells molecule from solvent."""


def place(atoms: Atoms, recipe: Recipe, rng: Generator) -> tuple[NDArray[np.float32], tuple[int, int, int]]:
    """Turn a structure at random and lay a box around it, or around one of its atoms if it is large.

    Returns
    -------
    positions, shape
        (N, 3) in angstrom from the box's first voxel, ZYX; the box in voxels.
    """
    turned = (atoms.positions - atoms.positions.mean(axis=0)) @ Rotation.random(random_state=rng).as_matrix().T
    low, high = turned.min(axis=0) - recipe.padding, turned.max(axis=0) + recipe.padding
    edges = np.minimum(high - low, recipe.longest)
    centre = turned[rng.integers(len(turned))]
    first = np.where(high - low > recipe.longest, np.clip(centre - edges / 2, low, high - edges), low)
    depth, height, width = (int(n) for n in np.round(edges / recipe.spacing))
    return (turned - first).astype(np.float32), (depth, height, width)


def simulate_map(
    positions: NDArray[np.float32],
    numbers: NDArray[np.float32],
    reach: NDArray[np.float32],
    recipe: Recipe,
    rng: Generator,
    *,
    shape: tuple[int, int, int],
    molecule: bool = True,
) -> Volume:
    """Return the experimental map of atoms in a box: float32 (D, H, W) at ``recipe.spacing``, in arbitrary units.

    Without ``molecule`` all is there but the atoms: noise and unmodelled density.
    """
    frequency = frequencies(shape, recipe.spacing)
    blur = gaussians(positions, numbers, shape=shape, spacing=recipe.spacing, sigma=MOLECULE_SIGMA)
    inside = blur > 0.25 * np.percentile(blur[blur > 0.01 * blur.max()], 50)
    b = b_factors(positions, recipe, rng) + recipe.side_b * reach
    signal = _signal(*as_seen(positions, numbers, b, recipe, rng), recipe, shape=shape, frequency=frequency)
    # The molecule stands out from the ice by what it has more of; the ice fills its surface, not its inside.
    solvent = recipe.solvent * signal[0, 0, 0].real / inside.sum()
    signal -= (
        solvent
        * fft.rfftn(inside.astype(np.float32))
        * np.exp(-0.25 * (recipe.b_factor + recipe.solvent_b) * frequency**2)
    )
    spectrum = molecule * signal + fft.rfftn(belt(inside, float(blur[inside].mean()), recipe, rng))
    return observed(spectrum, signal, inside, recipe, rng)


def observed(
    spectrum: NDArray[np.complex64],
    signal: NDArray[np.complex64],
    inside: NDArray[np.bool_],
    recipe: Recipe,
    rng: Generator,
) -> Volume:
    """Return what a reconstruction shows: with noise, filtered and masked, float32 (D, H, W).

    Parameters
    ----------
    spectrum, signal
        Transforms of all that is there, and of the molecule alone, by which the noise is measured.
    inside
        Where the molecule is, (D, H, W).
    recipe, rng
        What was drawn; for the noise and what is drawn with it.
    """
    frequency = frequencies(inside.shape, recipe.spacing)
    spectrum = spectrum + _noise(signal, inside, recipe, rng, frequency=frequency)
    spectrum *= _filter(recipe, rng)(frequency)
    density = fft.irfftn(spectrum, s=inside.shape).astype(np.float32)
    density += recipe.drift * density[inside].mean() * _waves(inside.shape, recipe.spacing, rng, shortest=40.0)
    return _masked(density, inside, recipe)


def frequencies(shape: tuple[int, ...], spacing: float) -> Volume:
    """1/angstrom of each coefficient of a real transform."""
    z, y = (fft.fftfreq(n, spacing) for n in shape[:2])
    x = fft.rfftfreq(shape[2], spacing)
    frequency: Volume = np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2).astype(np.float32)
    return frequency


def _signal(
    positions: NDArray[np.float32],
    numbers: NDArray[np.float32],
    b: NDArray[np.float64],
    recipe: Recipe,
    *,
    shape: tuple[int, int, int],
    frequency: Volume,
) -> NDArray[np.complex64]:
    """Transform of the atoms, each with its own B factor, interpolated between a few levels."""
    sigma = max(0.71, 0.6 * recipe.spacing)
    narrowest = 8 * np.pi**2 * sigma**2
    b = np.maximum(b, narrowest)
    levels = np.geomspace(b.min(), b.max() * 1.0001, B_LEVELS)
    share = np.interp(b, levels, np.arange(B_LEVELS))
    total = np.zeros(frequency.shape, np.complex64)
    for number, level in enumerate(levels):
        weight = numbers * np.maximum(0, 1 - np.abs(share - number))
        some = weight > 0
        part = gaussians(positions[some], weight[some], shape=shape, spacing=recipe.spacing, sigma=sigma)
        total += fft.rfftn(part) * np.exp(-0.25 * (level - narrowest) * frequency**2)
    return total


def _noise(
    signal: NDArray[np.complex64], inside: NDArray[np.bool_], recipe: Recipe, rng: Generator, *, frequency: Volume
) -> NDArray[np.complex64]:
    """Noise whose ratio to the signal inside the molecule is that of half maps with the recipe's FSC in every shell."""
    nyquist = 0.5 / recipe.spacing
    shell = np.minimum((frequency * (SHELLS / nyquist)).astype(int), SHELLS)
    count = np.bincount(shell.ravel(), minlength=SHELLS + 1)
    power = np.bincount(shell.ravel(), np.abs(signal.ravel()) ** 2, minlength=SHELLS + 1) / np.maximum(count, 1)
    centre = (np.arange(SHELLS + 1) + 0.5) * nyquist / SHELLS
    fsc = _fsc(recipe, centre)
    # The FSC is that of two half maps; the map is their mean, with half of their noise.
    ratio = power / inside.mean() * (1 - fsc) / (2 * fsc)
    # Where there is no signal left the noise goes on as it is at the last shell that shows some.
    last = int(np.searchsorted(centre, 1.15 / recipe.resolution))
    ratio[last:] = ratio[min(last, SHELLS) - 1] * np.exp(
        -rng.uniform(0, 2) * np.maximum(0, centre[last:] - centre[last - 1]) / nyquist
    )
    white = rng.normal(size=inside.shape).astype(np.float32)
    white *= 1 + 0.25 * _waves(inside.shape, recipe.spacing, rng, shortest=30.0)
    white *= 1 + recipe.noise_inside * gaussian_filter(inside.astype(np.float32), 3 / recipe.spacing)
    white /= white[inside].std()
    coloured: NDArray[np.complex64] = fft.rfftn(white) * np.sqrt(np.interp(frequency, centre, ratio) / white.size)
    return coloured


def _fsc(recipe: Recipe, frequency: NDArray[np.float64] | Volume) -> NDArray[np.float64]:
    """Logistic curve through 0.143 at the resolution."""
    middle = 1 / recipe.resolution - recipe.falloff * np.log(1 / 0.143 - 1)
    exponent = np.clip((frequency - middle) / recipe.falloff, -30, 30)
    return 1 / (1 + np.exp(exponent))  # type: ignore[no-any-return]  # numpy's exp of an array is an array


def _filter(recipe: Recipe, rng: Generator) -> Callable[[Volume], Volume]:
    """Return what is done to a map's amplitudes before it is deposited."""
    phases, sizes = rng.uniform(0, 2 * np.pi, 3), recipe.amplitudes * rng.normal(size=3) / np.arange(1, 4)

    def amplitudes(frequency: Volume) -> Volume:
        log = 0.25 * recipe.sharpening * np.minimum(frequency, 1.3 / recipe.resolution) ** 2
        for wave in range(3):
            log = log + sizes[wave] * np.cos(2 * np.pi * (wave + 1) * frequency * 5 + phases[wave])
        factor = np.exp(log) * (1 + recipe.contrast * np.exp(-((frequency / COARSE) ** 2)))
        if recipe.weighted:
            fsc = _fsc(recipe, frequency)
            factor = factor * np.sqrt(2 * fsc / (1 + fsc))
        if recipe.lowpass:
            factor = factor / np.sqrt(1 + (frequency * recipe.resolution * recipe.lowpass) ** 16)
        single: Volume = factor.astype(np.float32)
        return single

    return amplitudes


def _waves(shape: tuple[int, ...], spacing: float, rng: Generator, *, shortest: float) -> Volume:
    """Return a smooth field between about -1 and 1, of wavelengths above ``shortest`` angstrom."""
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    total = np.zeros(shape, np.float32)
    for _ in range(3):
        direction = rng.normal(size=3)
        direction *= 2 * np.pi * spacing / rng.uniform(shortest, 3 * shortest) / np.linalg.norm(direction)
        phase = sum(d * g for d, g in zip(direction, grid, strict=True)) + rng.uniform(0, 2 * np.pi)
        total += np.cos(phase).astype(np.float32) / 2
    return total


def _masked(density: Volume, inside: NDArray[np.bool_], recipe: Recipe) -> Volume:
    if recipe.mask == "none":
        return density
    if recipe.mask == "threshold":
        smooth = gaussian_filter(density, 0.5 * recipe.resolution / recipe.spacing)
        mask = smooth > recipe.margin / 8 * smooth[inside].mean()
    else:
        mask = gaussian_filter(inside.astype(np.float32), recipe.margin / 2 / recipe.spacing) > 0.05
    if recipe.mask == "soft":
        mask = np.clip(gaussian_filter(mask.astype(np.float32), 2 / recipe.spacing) * 2 - 0.5, 0, 1)
    masked: Volume = density * mask
    return masked
