"""Training pairs of real maps and their models, in the form in which simulated ones are trained on.

::

    python -m samu_training.real FOLDER --accepted data/accepted.csv    what samu_training.dataset accepted
    python -m samu_training.real FOLDER [--without EMD-3240]...         the pairs in SAMU_DATA, of any resolution

A model that learnt from an entry says nothing by its figures on it: ``--without`` leaves an entry out. What a model can
do that was trained on all of them is what its siblings show on the entries that each of them was trained without.
"""

from __future__ import annotations

import argparse
import csv
import os
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter

from samu_training.as_read import SPACING, read_normalised
from samu_training.atoms import read_atoms
from samu_training.data import as_pair, as_the_product_reads, save_pair, scaled
from samu_training.density import target_density
from samu_training.pairs import entry_of, is_paired
from samu_training.recipe import draw_recipe
from samu_training.simulate import frequencies, observed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.random import Generator
    from numpy.typing import NDArray

MOLECULE_SIGMA = 2.0
NEAR = 0.5
"""Of the target's standard deviation: blurred density above it is the molecule."""
MARGIN = 16
LEAST_LOSS = 1.1
"""A degraded map is of at least so many times its resolution."""
SHARPNESS, FINEST_SHARPENED = (-3.0, 4.0), 1.2
"""B factors over the square of the resolution, negative where sharpened; the last frequency, times the resolution."""


def real_pair(path: Path, model: Path) -> NDArray[np.float16]:
    """Return a map as the network is shown it, and the target of its model on the same grid: float16 (2, D, H, W).

    Raises
    ------
    SamuError
        The map cannot be read, or is empty.
    ValueError
        The model cannot be read, or none of it lies in the map.
    """
    atoms = read_atoms(model)
    source, origin = read_normalised(path)
    depth, height, width = source.shape
    positions = atoms.positions - np.array(origin, np.float32)
    target = target_density(positions, atoms.numbers, shape=(depth, height, width), spacing=SPACING)
    if not target.any():
        raise ValueError(f"{model} lies outside {path}")
    return as_pair(source, scaled(target))


def degraded(pair: NDArray[np.float16], resolution: float, rng: Generator) -> NDArray[np.float16]:
    """Return a pair as it would be had it been reconstructed at a lower resolution than it was (angstrom).

    The map is blurred as by larger B factors, then gets noise, filter and mask as simulated maps do; what is real in
    it, how it differs from its model, stays.
    """
    pair = _around_density(pair)
    source, target = pair.astype(np.float32)
    recipe = draw_recipe(rng, lowest=LEAST_LOSS * resolution)
    b_factor = recipe.b_factor * (1 - (resolution / recipe.resolution) ** 2)
    sharpening = b_factor * recipe.sharpening / recipe.b_factor
    recipe = replace(recipe, spacing=SPACING, b_factor=b_factor, sharpening=sharpening)
    inside = gaussian_filter(target, MOLECULE_SIGMA) > NEAR * target.std()
    signal = fft.rfftn(source) * np.exp(-0.25 * b_factor * frequencies(source.shape, SPACING) ** 2)
    density = observed(signal, signal, inside, recipe, rng)
    return as_pair(as_the_product_reads(density, spacing=SPACING), target)


def at_another_sharpness(pair: NDArray[np.float16], resolution: float, rng: Generator) -> NDArray[np.float16]:
    """Return a pair whose map was sharpened or smoothed before it was read: how sharp it is, its depositor chose."""
    source, target = pair.astype(np.float32)
    density = resharpened(source, spacing=SPACING, resolution=resolution, b=rng.uniform(*SHARPNESS))
    return as_pair(as_the_product_reads(density, spacing=SPACING), target)


def resharpened(density: NDArray[np.float32], *, spacing: float, resolution: float, b: float) -> NDArray[np.float32]:
    """Return a map (D, H, W) times exp(-B s^2 / 4) in Fourier space, zeros (a mask) as they were.

    ``b`` is B over the square of the resolution, negative to sharpen; spacing and resolution are in angstrom. What lies
    beyond ``FINEST_SHARPENED`` is changed as what lies there.
    """
    frequency = np.minimum(frequencies(density.shape, spacing), FINEST_SHARPENED / resolution)
    factor = np.exp(-0.25 * b * (resolution * frequency) ** 2)
    changed = fft.irfftn(fft.rfftn(density) * factor, s=density.shape)
    return np.where(density == 0, 0, changed).astype(np.float32)


def _around_density(pair: NDArray[np.float16]) -> NDArray[np.float16]:
    """Cut out what lies within ``MARGIN`` of the target's density, an even number of voxels along each axis."""
    where = np.argwhere(pair[1] > 0.01)
    low = np.maximum(where.min(axis=0) - MARGIN, 0)
    high = np.minimum(where.max(axis=0) + MARGIN + 1, pair.shape[1:])
    high -= (high - low) % 2
    return pair[(slice(None), *(slice(a, b) for a, b in zip(low, high, strict=True)))]


@dataclass(frozen=True)
class _Source:
    name: str
    map: Path
    model: Path
    resolution: float | None


def _paired(data: Path, *, without: list[str]) -> Iterator[_Source]:
    with (data / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "map" and is_paired(row)]
    entries = {entry_of(row) for row in rows}
    if unknown := set(without) - entries:
        raise SystemExit(f"no such entry: {', '.join(sorted(unknown))}; there are {', '.join(sorted(entries))}")
    for row in rows:
        if entry_of(row) not in without:
            path, resolution = Path(row["file"]), float(row["resolution"]) if row["resolution"] else None
            yield _Source(path.name.split(".")[0], data / path, data / row["paired_with"], resolution)


def _accepted(table: Path) -> Iterator[_Source]:
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            name = f"{row['emdb_id']}_{row['pdb_id']}"
            yield _Source(name, Path(row["map"]), Path(row["model"]), float(row["resolution"]))


def _write(source: _Source, folder: Path, *, lowered: int, resharpened: int, seed: int) -> None:
    pair = real_pair(source.map, source.model)
    structure = source.model.name.split(".")[0].lower()
    save_pair(folder / f"{source.name}.npy", pair, structure=structure)
    print(f"{source.name} {pair.shape[1:]}", flush=True)
    if source.resolution is None:
        return
    for change, mark, count in (degraded, "", lowered), (at_another_sharpness, "_b", resharpened):
        for number in range(count):
            rng = np.random.default_rng([seed, number, zlib.crc32(source.name.encode())])
            changed = change(pair, source.resolution, rng)
            save_pair(folder / f"{source.name}{mark}_{number:03d}.npy", changed, structure=structure)


def main() -> None:
    """Write the pairs into a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--accepted", type=Path, help="table of samu_training.dataset; without it SAMU_DATA is read")
    parser.add_argument("--without", action="append", default=[], metavar="ENTRY", help="leave out; may be repeated")
    parser.add_argument(
        "--degraded", type=int, default=0, help="how many times each map is added at a lower resolution"
    )
    parser.add_argument("--resharpened", type=int, default=0, help="how many times it is added sharper or smoother")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    if chosen.accepted:
        sources = _accepted(chosen.accepted)
    else:
        sources = _paired(Path(os.environ["SAMU_DATA"]), without=chosen.without)
    for source in sources:
        _write(source, chosen.folder, lowered=chosen.degraded, resharpened=chosen.resharpened, seed=chosen.seed)


if __name__ == "__main__":
    main()
