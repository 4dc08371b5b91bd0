"""Density around the molecule that no model explains: detergent, lipid, disordered parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from samu_training.recipe import Recipe

    Volume = NDArray[np.float32]

ATOMS = 0.05
"""Heavy atoms of detergent in a cubic angstrom."""


def belt(inside: NDArray[np.bool_], level: float, recipe: Recipe, rng: Generator) -> Volume:
    """Return what surrounds a molecule whose mean density is ``level``: float32 (D, H, W)."""
    if recipe.belt == "none":
        return np.zeros(inside.shape, np.float32)
    part = _micelle(inside, recipe, rng) if recipe.belt == "micelle" else _lumps(inside, recipe, rng)
    around: Volume = np.float32(level) * part
    return around.astype(np.float32)


def _lumps(inside: NDArray[np.bool_], recipe: Recipe, rng: Generator) -> Volume:
    """Blobs without order near the surface, everywhere or in a slab across a random axis."""
    near = gaussian_filter(inside.astype(np.float32), rng.uniform(4, 9) / recipe.spacing)
    field = gaussian_filter(rng.normal(size=inside.shape).astype(np.float32), rng.uniform(2.5, 6) / recipe.spacing)
    lumps = np.maximum(0, field / field.std() - rng.uniform(-0.5, 1.2))
    where = np.where(inside, 0, np.minimum(1, 4 * near))
    if recipe.belt == "slab":
        height = _height(inside, recipe, rng, axis=_random_axis(rng))
        where = where * (np.abs(height) < rng.uniform(12, 20))
    blobs: Volume = (recipe.belt_density * lumps * where).astype(np.float32)
    return blobs


def _micelle(inside: NDArray[np.bool_], recipe: Recipe, rng: Generator) -> Volume:
    """Return a ring around the molecule, rounded at its rims: heads, as dense as the belt, around tails that are less.

    Small rings are detergent micelles, wide ones nanodiscs. Its molecules are without order, so its atoms fluctuate as
    if thrown at random; the ice that they displace takes from their mean, not from that. What is the same in all
    particles of it stays.
    """
    axis = _principal_axis(inside, rng) if rng.random() < 0.7 else _random_axis(rng)
    height = np.abs(_height(inside, recipe, rng, axis=axis))
    away: Volume = distance_transform_edt(~inside, sampling=recipe.spacing).astype(np.float32)
    half, reach = rng.uniform(11, 20), rng.uniform(8, 32)
    radius = ((away / reach) ** 4 + (height / half) ** 4) ** 0.25
    heads = rng.uniform(3, 7)
    tails = rng.uniform(-0.2, 0.8)
    # Heads lie within a few angstrom of the outer surface.
    at_surface = np.clip((radius - 1) * min(half, reach) / heads + 1, 0, 1)
    thrown = rng.normal(size=inside.shape) / np.sqrt(ATOMS * recipe.spacing**3)
    mean = recipe.belt_density * (tails + (1 - tails) * at_surface)
    ring = ((radius < 1) & ~inside) * (mean + recipe.belt_texture * thrown)
    smear = np.sqrt(rng.uniform(0.7, 1.6) * recipe.b_factor / (8 * np.pi**2))
    smeared: Volume = gaussian_filter(ring.astype(np.float32), smear / recipe.spacing)
    return smeared


def _random_axis(rng: Generator) -> NDArray[np.float64]:
    axis = rng.normal(size=3)
    return axis / np.linalg.norm(axis)


def _principal_axis(inside: NDArray[np.bool_], rng: Generator) -> NDArray[np.float64]:
    """Return one of the molecule's axes of inertia; the long one as often as the others together."""
    places = np.argwhere(inside).astype(np.float64)
    _, axes = np.linalg.eigh(np.cov(places.T))
    axis: NDArray[np.float64] = axes[:, rng.choice(3, p=(0.25, 0.25, 0.5))]
    return axis


def _height(inside: NDArray[np.bool_], recipe: Recipe, rng: Generator, *, axis: NDArray[np.float64]) -> Volume:
    """Return angstrom along an axis from about the middle of the molecule."""
    along = sum(a * c for a, c in zip(axis, np.ogrid[tuple(slice(n) for n in inside.shape)], strict=True))
    height: Volume = ((along - along[inside].mean()) * recipe.spacing + rng.normal() * 8).astype(np.float32)
    return height
