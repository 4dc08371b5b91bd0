"""What of a model's atoms is in its map: displaced, there in part, mobile, and among others that were not built."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from samu_training.recipe import Recipe

WAVES = 8


def b_factors(positions: NDArray[np.float32], recipe: Recipe, rng: Generator) -> NDArray[np.float64]:
    """B factors that vary smoothly through space and grow toward the molecule's rim."""
    from_centre = np.linalg.norm(positions - positions.mean(axis=0), axis=1)
    rim = recipe.b_rim * (from_centre / from_centre.max()) ** 2
    waves = _waves_at(positions, rng, 10, 90)
    # Lognormal: parts of B factors many times those of the core are what deposited maps show at low resolution only.
    b: NDArray[np.float64] = recipe.b_factor * np.exp(recipe.b_waves * waves + rim - rim.mean())
    return b


def as_seen(
    positions: NDArray[np.float32],
    numbers: NDArray[np.float32],
    b: NDArray[np.float64],
    recipe: Recipe,
    rng: Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Return positions, weights and B factors of what is in the map: not quite what the model says.

    Models are off by a fraction of an angstrom, parts are there only in some of the particles, and some of what is
    there was not built. That is why real maps and their models agree to 0.6 to 0.9 even in shells without noise.
    """
    smooth = np.stack([_waves_at(positions, rng, 8, 40) for _ in range(3)], axis=1)
    displaced = positions + recipe.shift * smooth + recipe.jitter * rng.normal(size=positions.shape)
    weights = numbers * np.clip(1 + recipe.occupancy * _waves_at(positions, rng, 5, 25), 0.05, 2)
    near = rng.integers(len(positions), size=int(recipe.strays * len(positions)))
    away = rng.normal(size=(len(near), 3))
    away *= rng.uniform(2.5, 5, (len(near), 1)) / np.linalg.norm(away, axis=1, keepdims=True)
    return (
        np.concatenate([displaced, positions[near] + away]).astype(np.float32),
        np.concatenate([weights, rng.uniform(4, 12, len(near))]).astype(np.float32),
        np.concatenate([b, b[near]]),
    )


def _waves_at(positions: NDArray[np.float32], rng: Generator, shortest: float, longest: float) -> NDArray[np.float64]:
    """Return a smooth field of mean 0 and spread 1 at positions, of wavelengths between these (angstrom)."""
    waves = np.zeros(len(positions))
    for _ in range(WAVES):
        direction = rng.normal(size=3)
        direction *= 2 * np.pi / rng.uniform(shortest, longest) / np.linalg.norm(direction)
        waves += np.cos(positions @ direction + rng.uniform(0, 2 * np.pi))
    field: NDArray[np.float64] = waves * np.sqrt(2 / WAVES)
    return field
