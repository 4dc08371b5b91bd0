"""Training pairs on disk.

``python -m samu_training.data PACK.npz FOLDER --count 1000`` fills a folder; it goes on where it stopped.

A pair is one file, float16 (2, D, H, W) at the model's spacing: the experimental map divided by the density that
becomes 1, not yet clipped, and the target in the same way. Both pass through samu_batch itself, as a user's map does.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import mrcfile
import numpy as np
from scipy.ndimage import gaussian_filter

from samu_batch.files import writing_aside
from samu_batch.volume import model_grid
from samu_training.as_read import PERCENTILE, SPACING, read_normalised
from samu_training.atoms import is_test, load_atoms
from samu_training.density import target_density
from samu_training.recipe import LONGEST_EDGE, draw_recipe
from samu_training.simulate import place, simulate_map
from samu_training.structure import note_structure

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from samu_training.atoms import Atoms
    from samu_training.recipe import Recipe

LEAST_CORRELATION = 0.25
EMPTY_SHARE = 0.15
BRIGHTEST = 4.0
"""What is stored of a source, which is clipped to 1 when it is shown, ends here."""


def as_the_product_reads(density: NDArray[np.float32], *, spacing: float) -> NDArray[np.float32]:
    """Resample a map and divide by its percentile as ``samu-batch enhance`` does; not clipped."""
    with tempfile.NamedTemporaryFile(suffix=".mrc") as file:
        with mrcfile.new(file.name, data=density, overwrite=True) as stored:
            stored.voxel_size = spacing
        return read_normalised(Path(file.name))[0]


def make_pair(atoms: Atoms, rng: Generator, *, dense: bool = False, large: bool = False) -> NDArray[np.float16]:
    """Simulate the experimental map of a structure and the target on the same grid: float16 (2, D, H, W).

    A few hold no molecule: the source is noise and unmodelled density, the target nothing. A draw that drowns the
    molecule in noise is drawn again, as the paper leaves out pairs that hardly correlate.
    """
    if rng.random() < EMPTY_SHARE:
        if rng.random() < 0.25:
            return _noise_alone(rng)
        return _draw_pair(atoms, rng, draw_recipe(rng, dense=dense, large=large), molecule=False)
    while True:
        pair = _draw_pair(atoms, rng, draw_recipe(rng, dense=dense, large=large))
        source, target = np.clip(pair, 0, 1).astype(np.float64)
        if np.corrcoef(source.ravel(), target.ravel())[0, 1] > LEAST_CORRELATION:
            return pair


def _noise_alone(rng: Generator) -> NDArray[np.float16]:
    """Return blurred white noise, and a target of nothing."""
    field = gaussian_filter(rng.normal(size=(80, 80, 80)), rng.uniform(0.5, 3)).astype(np.float32)
    return as_pair(field / np.float32(np.percentile(field, PERCENTILE)), np.zeros_like(field))


def _draw_pair(atoms: Atoms, rng: Generator, recipe: Recipe, *, molecule: bool = True) -> NDArray[np.float16]:
    positions, shape = place(atoms, recipe, rng)
    density = simulate_map(positions, atoms.numbers, atoms.reach, recipe, rng, shape=shape, molecule=molecule)
    source = as_the_product_reads(density, spacing=recipe.spacing)
    grid, _ = model_grid(shape, (recipe.spacing,) * 3, target=SPACING)
    target = scaled(target_density(positions, atoms.numbers, shape=grid, spacing=SPACING))
    return as_pair(source, molecule * target)


def scaled(target: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide a target that holds something by its percentile, as its source was."""
    divided: NDArray[np.float32] = target / np.percentile(target[target > 0], PERCENTILE)
    return divided


def as_pair(source: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float16]:
    """Return source and target as they are stored: float16 (2, D, H, W)."""
    return np.stack([np.clip(source, -BRIGHTEST, BRIGHTEST), target]).astype(np.float16)


def make_pairs(
    pack: Path, folder: Path, *, count: int, seed: int, test: bool, dense: bool = False, large: bool = False
) -> None:
    """Fill ``folder`` with ``count`` pairs, of ``large`` structures only or of all; those there are left alone."""
    structures = [atoms for atoms in load_atoms(pack) if is_test(atoms.name) == test]
    if large:
        structures = [atoms for atoms in structures if np.ptp(atoms.positions, axis=0).max() > LONGEST_EDGE]
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"{number:05d}.npy"
        if path.exists():
            continue
        rng = np.random.default_rng([seed, number])
        atoms = structures[number % len(structures) if test else rng.integers(len(structures))]
        start = time.monotonic()
        pair = make_pair(atoms, rng, dense=dense, large=large)
        save_pair(path, pair, structure=atoms.name if pair[1].any() else "")
        print(f"{path.name} {atoms.name} {pair.shape[1:]} {time.monotonic() - start:.1f} s", flush=True)


def save_pair(path: Path, pair: NDArray[np.float16], *, structure: str) -> None:
    """Write a pair whole, and note which structure it shows (none: an empty name)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing_aside(path) as partial, partial.open("wb") as file:
        np.save(file, pair)
    note_structure(path.parent, path.name, structure)


def main() -> None:
    """Simulate pairs into a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--test", action="store_true", help="from the structures that are never trained on")
    parser.add_argument("--dense", action="store_true", help="most with detergent as dense as protein")
    parser.add_argument("--large", action="store_true", help="of structures over 112 A, in boxes of up to 192 A")
    make_pairs(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
