"""What is drawn at random for one simulated map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.random import Generator

Mask = Literal["none", "soft", "hard", "threshold"]
Belt = Literal["none", "lumps", "slab", "micelle"]

LONGEST_EDGE, LARGE_EDGE = 112.0, 192.0
"""Angstrom: of a longer structure a box of this edge is simulated, as deposited maps are cut out; of large ones."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that is drawn for one map but its random fields. Lengths in angstrom, B factors in square angstrom.

    Attributes
    ----------
    resolution, falloff
        Where the FSC of half maps is 0.143, and how fast it falls there (1/angstrom).
    spacing, padding, longest
        Of the map's grid; between molecule and box; no edge of the box is longer.
    b_factor, b_waves, b_rim
        Mean B factor; its smooth local variation and its growth from the centre to the rim, as shares.
    shift, jitter
        How far the density lies from where the model says, along each axis: smoothly through space, and atom by atom.
    occupancy, side_b, strays
        Smooth variation of what is there of each part, as a share; B factor added with each step along a side chain;
        share of unmodelled atoms (waters, ions, ligands) at the molecule.
    solvent, solvent_b
        Density of the bulk solvent, as a share of the molecule's mean, and how fast it fades into it.
    belt, belt_density, belt_texture
        What surrounds the molecule that no model explains; its density over the molecule's mean; how much its atoms
        fluctuate, over what as many as in protein, thrown at random, would.
    noise_inside, drift
        Strengths of additional noise inside, of slow background.
    contrast
        By what share coarse features, below a tenth of an angstrom inverse, are stronger than atoms alone make them.
    sharpening, amplitudes, lowpass, weighted
        B factor that is undone; size of a random smooth curve on the log amplitudes; cut-off over resolution (0 for
        none); whether amplitudes are weighted by the FSC.
    mask, margin
        How the map is masked, and how far from the molecule.
    """

    resolution: float
    falloff: float
    spacing: float
    padding: float
    longest: float
    b_factor: float
    b_waves: float
    b_rim: float
    shift: float
    jitter: float
    occupancy: float
    side_b: float
    strays: float
    solvent: float
    solvent_b: float
    belt: Belt
    belt_density: float
    belt_texture: float
    noise_inside: float
    drift: float
    contrast: float
    sharpening: float
    amplitudes: float
    lowpass: float
    weighted: bool
    mask: Mask
    margin: float


def draw_recipe(
    rng: Generator, *, lowest: float = 3.0, highest: float = 8.5, dense: bool = False, large: bool = False
) -> Recipe:
    """Draw a map's recipe; if ``dense``, most have detergent .5 to 1.5 times as dense as protein, and no mask."""
    resolution = rng.uniform(lowest, highest)
    b_factor = rng.uniform(3.0, 16.0) * resolution**2
    belts: tuple[Belt, ...] = ("none", "lumps", "slab", "micelle")
    belt = belts[rng.choice(4, p=(0.15, 0, 0, 0.85) if dense else (0.3, 0.1, 0.1, 0.5))]
    masks: tuple[Mask, ...] = ("none", "soft", "hard", "threshold")
    return Recipe(
        resolution=resolution,
        falloff=rng.uniform(0.025, 0.09) / resolution,
        spacing=float(np.exp(rng.uniform(np.log(0.85), np.log(min(2.2, resolution / 2.5))))),
        padding=rng.uniform(4, 24),
        longest=LARGE_EDGE if large else LONGEST_EDGE,
        b_factor=b_factor,
        b_waves=rng.uniform(0.2, 0.6),
        b_rim=rng.uniform(0, 1.0),
        shift=rng.uniform(0.1, 0.6) * (3 if rng.random() < 0.1 else 1),
        jitter=rng.uniform(0.05, 0.4),
        occupancy=rng.uniform(0.1, 0.45),
        side_b=rng.uniform(0, 0.15) * b_factor,
        strays=rng.uniform(0, 0.05),
        solvent=rng.uniform(0, 0.5),
        solvent_b=rng.uniform(20, 200),
        belt=belt,
        belt_density=rng.uniform(0.5, 1.5) if dense else rng.uniform(0.15, 0.75) * (2 if belt == "micelle" else 1),
        belt_texture=rng.uniform(0, 3),
        noise_inside=rng.uniform(0, 0.6),
        drift=rng.uniform(0, 0.15) * (rng.random() < 0.5),
        contrast=rng.uniform(-0.3, 2.5),
        sharpening=b_factor * rng.uniform(0, 0.7),
        amplitudes=rng.uniform(0, 0.5),
        lowpass=rng.uniform(0.9, 1.5) * (rng.random() < 0.9),
        weighted=bool(rng.random() < 0.8),
        mask=masks[rng.choice(4, p=(0.8, 0.1, 0.05, 0.05) if dense else (0.5, 0.22, 0.15, 0.13))],
        margin=rng.uniform(2, 8),
    )
