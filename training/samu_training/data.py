"""Training pairs on disk, and the crops that are trained on.

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
from samu_training.recipe import draw_recipe
from samu_training.simulate import place, simulate_map
from samu_training.structure import note_structure

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator
    from numpy.typing import NDArray

    from samu_training.atoms import Atoms
    from samu_training.structure import Embeddings

    Augmentation = Callable[[NDArray[np.float32], Generator], NDArray[np.float32]]

OVERHANG = 0.75
"""Share of its edge by which a crop may reach over the box: of a map's last cubes most lies there, and is zero."""
ON_MOLECULE = 0.75
"""Share of the crops whose centre is a voxel with target density."""
LEAST_CORRELATION = 0.25
EMPTY_SHARE = 0.15
BRIGHTNESS = (0.75, 1.3)
BRIGHTEST = 4.0
"""What is stored of a source, which is clipped to 1 when it is shown, ends here."""


def as_the_product_reads(density: NDArray[np.float32], *, spacing: float) -> NDArray[np.float32]:
    """Resample a map and divide by its percentile as ``samu-batch enhance`` does; not clipped."""
    with tempfile.NamedTemporaryFile(suffix=".mrc") as file:
        with mrcfile.new(file.name, data=density, overwrite=True) as stored:
            stored.voxel_size = spacing
        return read_normalised(Path(file.name))[0]


def make_pair(atoms: Atoms, rng: Generator, *, dense: bool = False) -> NDArray[np.float16]:
    """Simulate the experimental map of a structure and the target on the same grid: float16 (2, D, H, W).

    A few hold no molecule: the source is noise and unmodelled density, the target nothing. A draw that drowns the
    molecule in noise is drawn again, as the paper leaves out pairs that hardly correlate.
    """
    if rng.random() < EMPTY_SHARE:
        return _noise_alone(rng) if rng.random() < 0.25 else _draw_pair(atoms, rng, dense=dense, molecule=False)
    while True:
        pair = _draw_pair(atoms, rng, dense=dense)
        source, target = np.clip(pair, 0, 1).astype(np.float64)
        if np.corrcoef(source.ravel(), target.ravel())[0, 1] > LEAST_CORRELATION:
            return pair


def _noise_alone(rng: Generator) -> NDArray[np.float16]:
    """Return blurred white noise, and a target of nothing."""
    field = gaussian_filter(rng.normal(size=(80, 80, 80)), rng.uniform(0.5, 3)).astype(np.float32)
    return as_pair(field / np.float32(np.percentile(field, PERCENTILE)), np.zeros_like(field))


def _draw_pair(atoms: Atoms, rng: Generator, *, dense: bool, molecule: bool = True) -> NDArray[np.float16]:
    recipe = draw_recipe(rng, dense=dense)
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


def make_pairs(pack: Path, folder: Path, *, count: int, seed: int, test: bool, dense: bool = False) -> None:
    """Fill ``folder`` with ``count`` pairs; those that are there are left alone."""
    structures = [atoms for atoms in load_atoms(pack) if is_test(atoms.name) == test]
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"{number:05d}.npy"
        if path.exists():
            continue
        rng = np.random.default_rng([seed, number])
        atoms = structures[number % len(structures) if test else rng.integers(len(structures))]
        start = time.monotonic()
        pair = make_pair(atoms, rng, dense=dense)
        save_pair(path, pair, structure=atoms.name if pair[1].any() else "")
        print(f"{path.name} {atoms.name} {pair.shape[1:]} {time.monotonic() - start:.1f} s", flush=True)


def save_pair(path: Path, pair: NDArray[np.float16], *, structure: str) -> None:
    """Write a pair whole, and note which structure it shows (none: an empty name)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing_aside(path) as partial, partial.open("wb") as file:
        np.save(file, pair)
    note_structure(path.parent, path.name, structure)


class Crops:
    """Random crops of the pairs in a folder; pairs that arrive while training goes on are used as they come.

    Crops are cubes of ``edge`` voxels, and ``longer`` than that along their first axis.
    """

    def __init__(
        self,
        folder: Path,
        *,
        edge: int,
        longer: int = 0,
        augment: Augmentation | None = None,
        embeddings: Embeddings | None = None,
    ) -> None:
        self._folder = folder
        self._edge = edge
        self._longer = longer
        self._augment = augment
        self._embeddings = embeddings
        self._pairs: dict[str, NDArray[np.float16]] = {}

    def batch(self, rng: Generator, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return sources in [0, 1] and targets in [0, 1], each (count, 1, edge, edge, edge)."""
        crops = [self.draw(rng) for _ in range(count)]
        return np.stack([source for source, *_ in crops]), np.stack([target for _, target, *_ in crops])

    def draw(self, rng: Generator) -> list[NDArray[np.float32]]:
        """Return source and target, (1, edge, edge, edge) each, and the structural embedding if there are any."""
        names = self._names()
        name = names[rng.integers(len(names))]
        crop = self._crop(name, rng)
        return [crop[:1], crop[1:], *([self._embeddings.of(name)] if self._embeddings else [])]

    def _crop(self, name: str, rng: Generator) -> NDArray[np.float32]:
        pair = self._load(name)
        shape = np.full(3, self._edge)
        if self._longer:
            shape[rng.integers(3)] += self._longer
        start = self._start(pair, shape, rng)
        box = [slice(max(0, s), max(0, min(n, s + e))) for s, n, e in zip(start, pair.shape[1:], shape, strict=True)]
        inside = pair[(slice(None), *box)].astype(np.float32)
        padding = [
            (b.start - s, e - (b.start - s) - (b.stop - b.start)) for b, s, e in zip(box, start, shape, strict=True)
        ]
        crop = np.pad(inside, [(0, 0), *padding])
        crop[0] *= rng.uniform(*BRIGHTNESS)
        crop = np.clip(crop, 0, 1)
        if self._augment is not None:
            crop[:1] = self._augment(crop[:1], rng)
        crop[crop < 1e-6] = 0
        return longest_first(turned(crop, rng))

    def _start(self, pair: NDArray[np.float16], shape: NDArray[np.int64], rng: Generator) -> NDArray[np.int64]:
        whole = np.array(pair.shape[1:])
        if rng.random() < ON_MOLECULE:
            for _ in range(40):
                centre = rng.integers(whole)
                if pair[1][tuple(centre)] > 0.05:
                    return np.asarray(centre - rng.integers(shape // 4, 3 * shape // 4))
        overhang = (OVERHANG * shape).astype(int)
        return np.asarray(rng.integers(-overhang, np.maximum(whole - shape + overhang, -overhang) + 1))

    def _names(self) -> list[str]:
        names = sorted(path.name for path in self._folder.glob("*.npy"))
        if not names:
            raise FileNotFoundError(f"{self._folder} holds no pairs: make some with python -m samu_training.data")
        return names

    def _load(self, name: str) -> NDArray[np.float16]:
        if name not in self._pairs:
            self._pairs[name] = np.load(self._folder / name, mmap_mode="r")
        return self._pairs[name]


class Mixed:
    """Crops of two folders, of the second with a given probability."""

    def __init__(self, crops: Crops, others: Crops, *, share: float) -> None:
        self._crops = crops
        self._others = others
        self._share = share

    def draw(self, rng: Generator) -> list[NDArray[np.float32]]:
        """Return what :meth:`Crops.draw` does."""
        return (self._others if rng.random() < self._share else self._crops).draw(rng)


def turned(crop: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """Turn by one of the 24 proper rotations of the cube: a mirror image of a protein is none."""
    axes = rng.permutation(3)
    flips = rng.integers(2, size=3)
    odd = (np.linalg.det(np.eye(3)[axes]) < 0) != (flips.sum() % 2 == 1)
    if odd:
        flips[0] ^= 1
    crop = crop.transpose(0, *(axes + 1))
    return np.ascontiguousarray(crop[(slice(None), *(slice(None, None, -1 if flip else 1) for flip in flips))])


def longest_first(crop: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn the longest axis of (C, D, H, W) to the front; a cyclic change of axes is a rotation, no mirror."""
    axes = 1 + (np.argmax(crop.shape[1:]) + np.arange(3)) % 3
    return np.ascontiguousarray(crop.transpose(0, *axes))


def main() -> None:
    """Simulate pairs into a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pack", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--test", action="store_true", help="from the structures that are never trained on")
    parser.add_argument("--dense", action="store_true", help="most with detergent as dense as protein")
    asked = parser.parse_args()
    make_pairs(asked.pack, asked.folder, count=asked.count, seed=asked.seed, test=asked.test, dense=asked.dense)


if __name__ == "__main__":
    main()
