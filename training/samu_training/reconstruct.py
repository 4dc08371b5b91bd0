"""Reconstructs the maps of the test set: not simulated as the maps that are trained on.

::

    structure -> potential (samu_training.potential) --+ noise--> half map 1 --+
                                                       +-- other noise--> half map 2 --mean--> post-processing

Nothing here is shared with :mod:`samu_training.simulate`. Resolution is what the Fourier shell correlation of two half
maps says; the map is then weighted, sharpened, cut off and masked as RELION's post-processing does it.

Frozen: what is changed here changes every map of the test set, and with it every figure that was published of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import fft
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.spatial.transform import Rotation

from samu_training.potential import detergent, electron_potential, frequencies, read_sites

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.random import Generator
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Spectrum = NDArray[np.complex128]

GOLD = 0.143
SHELL = 0.01
"""Width of a Fourier shell, 1/angstrom."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What is drawn for one map. Lengths in angstrom, B factors in square angstrom.

    Attributes
    ----------
    resolution, spacing, padding
        Where the FSC of the half maps is 0.143; of the grid; between molecule and box.
    b_factor
        Mean over the atoms: what the deposited B factors are scaled to, motion and misalignment included.
    ice, micelle
        Potential of the solvent over the molecule's mean; whether detergent surrounds the molecule.
    noise_b, noise_low, noise_inside
        B factor of the noise's spectrum; its excess at low frequency; how much stronger it is in the molecule.
    weighted, sharpening, lowpass
        Whether amplitudes are weighted by the FSC; share of ``b_factor`` that is undone; cut-off over resolution, 0 for
        none.
    mask, margin
        What the map is multiplied by; how far from the molecule.
    """

    resolution: float
    spacing: float
    padding: float
    b_factor: float
    ice: float
    micelle: bool
    noise_b: float
    noise_low: float
    noise_inside: float
    weighted: bool
    sharpening: float
    lowpass: float
    mask: Literal["none", "soft", "ball"]
    margin: float


def draw(rng: Generator) -> Draw:
    """Draw a map of 4 to 8 A on a grid of 0.8 to 2 A."""
    resolution = rng.uniform(4, 8)
    return Draw(
        resolution=resolution,
        spacing=round(rng.uniform(0.8, min(2.0, resolution / 2.6)), 3),
        padding=rng.uniform(10, 22),
        b_factor=rng.uniform(8, 15) * resolution**2,
        ice=rng.uniform(0.4, 0.65),
        micelle=bool(rng.random() < 0.15),
        noise_b=rng.uniform(0, 60),
        noise_low=rng.uniform(0, 0.6),
        noise_inside=rng.uniform(0.5, 2.5),
        weighted=bool(rng.random() < 0.85),
        sharpening=rng.uniform(0.2, 0.9),
        lowpass=rng.uniform(0.85, 1.0) if rng.random() < 0.9 else 0.0,
        mask=("none", "soft", "ball")[rng.choice(3, p=(0.6, 0.3, 0.1))],
        margin=rng.uniform(3, 9),
    )


def reconstruct(path: Path, drawn: Draw, rng: Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a map of a structure, and where its heavy atoms lie.

    Parameters
    ----------
    path
        A structure file; its first model is used, without water and hydrogens.
    drawn, rng
        What was drawn; for orientation, detergent and noise.

    Returns
    -------
    map, positions
        float32 (D, H, W) at ``drawn.spacing``; float32 (N, 3) in angstrom from its first voxel, ZYX.
    """
    sites = read_sites(path, mean_b=drawn.b_factor)
    positions = sites[:, :3] @ Rotation.from_quat(rng.normal(size=4)).as_matrix().T
    positions += drawn.padding - positions.min(axis=0)
    sites[:, :3] = positions
    depth, height, width = (_even(edge) for edge in (positions.max(axis=0) + drawn.padding) / drawn.spacing)
    shape = depth, height, width
    if drawn.micelle:
        sites = np.vstack([sites, detergent(positions, rng, b=1.5 * drawn.b_factor)])
    # The ice moves with the molecule, so its border is as blurred as the atoms are.
    potential = electron_potential(sites, shape=shape, spacing=drawn.spacing, ice=drawn.ice, ice_b=drawn.b_factor)
    frequency = frequencies(shape, drawn.spacing)
    distance = _distances(positions, shape, drawn.spacing)
    halves = _half_maps(potential, distance, frequency, drawn, rng)
    spectrum = _post_processed(halves, distance, frequency, drawn)
    density = fft.irfftn(spectrum, s=shape) * _mask(distance, drawn)
    return density.astype(np.float32), positions.astype(np.float32)


def _even(edge: float) -> int:
    return 2 * int(fft.next_fast_len(int(np.ceil(edge / 2))))


def _distances(positions: Floats, shape: tuple[int, ...], spacing: float) -> Floats:
    """Angstrom from each voxel to the nearest atom, to within half a voxel."""
    free = np.ones(shape, bool)
    free[tuple(np.rint(positions / spacing).astype(int).T)] = False
    distances: Floats = distance_transform_edt(free, sampling=spacing)
    return distances


def _edge(distance: Floats, begins: float, width: float) -> Floats:
    """One up to a distance, then a cosine down to zero."""
    edge: Floats = 0.5 + 0.5 * np.cos(np.pi * np.clip((distance - begins) / width, 0, 1))
    return edge


def _half_maps(
    potential: Spectrum, distance: Floats, frequency: Floats, drawn: Draw, rng: Generator
) -> tuple[Spectrum, Spectrum]:
    """Add independent noise to the potential, so much that their FSC inside a soft mask is 0.143 at the resolution."""
    shape = distance.shape
    spectrum = np.exp(-0.125 * drawn.noise_b * frequency**2) * (1 + drawn.noise_low * np.exp(-((frequency * 15) ** 2)))
    envelope = 1 + drawn.noise_inside * _edge(distance, 2, 6)
    noises = [fft.rfftn(envelope * rng.normal(size=shape)) * spectrum for _ in range(2)]
    shell = np.abs(frequency - 1 / drawn.resolution) < SHELL
    mask = _edge(distance, 5, 6)
    signal, *noise = (_power(part, mask, shell) for part in (potential, *noises))
    scale = np.sqrt(signal / np.mean(noise) * (1 / GOLD - 1))
    return potential + scale * noises[0], potential + scale * noises[1]


def _power(spectrum: Spectrum, mask: Floats, shell: NDArray[np.bool_]) -> float:
    masked = fft.rfftn(fft.irfftn(spectrum, s=mask.shape) * mask)
    return float((np.abs(masked[shell]) ** 2).mean())


def shell_correlation(one: Spectrum, other: Spectrum, frequency: Floats) -> tuple[Floats, Floats]:
    """Return the middle of each Fourier shell (1/angstrom), and the correlation of two spectra in it."""
    shell = (frequency / SHELL).astype(int).ravel()
    cross, first, second = (
        np.bincount(shell, (a * b.conj()).real.ravel()) for a, b in ((one, other), (one, one), (other, other))
    )
    middles: Floats = (np.arange(len(cross), dtype=np.float64) + 0.5) * SHELL
    return middles, cross / np.sqrt(np.maximum(first * second, 1e-300))


def _post_processed(halves: tuple[Spectrum, Spectrum], distance: Floats, frequency: Floats, drawn: Draw) -> Spectrum:
    """Average, weight by the masked FSC (Rosenthal and Henderson 2003), sharpen, and cut off with a cosine edge."""
    mask = _edge(distance, 5, 6)
    masked = [fft.rfftn(fft.irfftn(half, s=mask.shape) * mask) for half in halves]
    middles, fsc = shell_correlation(masked[0], masked[1], frequency)
    factor = np.exp(0.25 * drawn.sharpening * drawn.b_factor * np.minimum(frequency, 1.2 / drawn.resolution) ** 2)
    if drawn.weighted:
        noisy = np.flatnonzero(fsc < GOLD)
        fsc[noisy[0] if len(noisy) else len(fsc) :] = 0
        factor *= np.interp(frequency, middles, np.sqrt(2 * fsc.clip(0) / (1 + fsc.clip(0))))
    if drawn.lowpass:
        factor *= _edge(frequency, 1 / (drawn.lowpass * drawn.resolution), 2 * SHELL)
    return (halves[0] + halves[1]) / 2 * factor


def _mask(distance: Floats, drawn: Draw) -> Floats:
    if drawn.mask == "none":
        return np.ones_like(distance)
    if drawn.mask == "soft":
        return _edge(gaussian_filter(distance, 4 / drawn.spacing), drawn.margin, 6)
    shape = distance.shape
    middle = np.ogrid[tuple(slice(-(n - 1) / 2, (n - 1) / 2, complex(0, n)) for n in shape)]
    radius = np.sqrt(sum(m**2 for m in middle)) * drawn.spacing
    return _edge(radius, radius[distance < 2].max() + drawn.margin / 2, 6)
