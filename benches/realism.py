"""Are the benchmark's simulated maps like real ones? ``SAMU_DATA=... python benches/realism.py`` prints a table.

Of the real pairs of :mod:`samu_training.pairs` and of the frozen test set, on a grid of 1 A, the medians and ranges of:

- CC_mask with the 2 A target, and the masked FSC=0.5 over the reported resolution d;
- fall-off: the B factor by which the map's amplitudes fall below the target's, from 15 A to d, over d^2;
- cut-off: the power just beyond d (d/1.3 to d/1.15) over that just before (d to d/0.85);
- low: the power below 1/25 over that from 1/25 to 1/12, in units of the same of the target;
- solvent: its standard deviation over the 99.9th percentile. The pairs are cut out or masked, so this is of other maps
  of SAMU_DATA, which need no model: solvent is what is far from smooth density.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import mrcfile
import numpy as np
from scipy import fft
from scipy.ndimage import binary_dilation, gaussian_filter

from samu_batch.locate import default_cache
from samu_batch.mrc import read_header
from samu_training import fidelity
from samu_training.as_read import read_volume
from samu_training.atoms import read_atoms
from samu_training.pairs import read_pairs
from samu_training.testset import make_map, read_testset

if TYPE_CHECKING:
    from collections.abc import Iterable

    from samu_training.fidelity import Truth

WITH_SOLVENT = ("4uft", "6824_box", "6i5a_box", "6ksw", "betaGal", "emd_1883", "emd_5170", "emd_5625")
FINE = 5.0
"""Angstrom: the real pairs are no coarser."""
TITLES = ("CC_mask", "FSC=0.5 / d", "fall-off B / d^2", "cut-off", "low", "solvent")


def measure(density: np.ndarray, truth: Truth, resolution: float) -> list[float]:
    """Return what the titles say of a map."""
    frequency = fidelity._frequencies(density.shape, truth.spacing)
    shell = (frequency / 0.01).astype(int).ravel()
    spectra = [fft.rfftn(part * truth.soft) for part in (density, truth.target)]
    of_map, of_target = (np.bincount(shell, np.abs(part.ravel()) ** 2) / np.bincount(shell) for part in spectra)
    at = (np.arange(len(of_map)) + 0.5) * 0.01 * resolution  # in units of 1/d
    ratio = of_map / of_target
    fitted = (at > resolution / 15) & (at < 1)
    slope = np.polyfit((at[fitted] / resolution) ** 2, np.log(ratio[fitted]), 1)[0]
    low, middle = at < resolution / 25, (at > resolution / 25) & (at < resolution / 12)
    figures = fidelity.figures(density, truth)
    return [
        figures["cc_mask"],
        figures["d_fsc_05_masked"] / resolution,
        -2 * slope / resolution**2,
        of_map[(at > 1.15) & (at < 1.3)].mean() / of_map[(at > 0.85) & (at < 1)].mean(),
        ratio[low].mean() / ratio[middle].mean(),
        figures["solvent"],
    ]


def real(data: Path) -> Iterable[list[float]]:
    """Measure the real pairs; their solvent is not theirs."""
    for pair in read_pairs(data):
        (volume, _), atoms = read_volume(pair.map), read_atoms(pair.model)
        positions = atoms.positions - np.array(volume.origin, np.float32)
        truth = fidelity.Truth.of(positions, atoms.numbers, shape=volume.shape, spacing=1.0)
        yield measure(volume.read(), truth, pair.resolution)


def simulated(data: Path) -> Iterable[list[float]]:
    """Measure the test set, with the resolution in front; where there is a mask, the solvent counts for nothing."""
    for frozen in read_testset():
        path, positions, numbers = make_map(frozen, data, default_cache() / "benchmark" / "maps")
        volume, _ = read_volume(path)
        truth = fidelity.Truth.of(positions, numbers, shape=volume.shape, spacing=1.0)
        found = measure(volume.read(), truth, frozen.resolution)
        yield [frozen.resolution, *found[:-1], found[-1] if frozen.mask == "none" else float("nan")]


def solvents(data: Path) -> list[float]:
    """Return the solvent's figure of maps that are not masked."""
    found = []
    for name in WITH_SOLVENT:
        path = data / "maps" / f"{name}.mrc.gz"
        with warnings.catch_warnings(action="ignore"):  # of odd machine stamps
            density = mrcfile.read(path).astype(np.float32)
        spacing = read_header(path).spacing[0]
        smooth = gaussian_filter(density, 5 / spacing)
        molecule = binary_dilation(smooth > 0.15 * np.percentile(smooth, 97), iterations=max(1, round(6 / spacing)))
        solvent = density[~molecule & (density != 0)]
        found.append(float(solvent.std() / np.percentile(density[density != 0], fidelity.PERCENTILE)))
    return found


def spelled(values: np.ndarray, decimals: int) -> str:
    """Return the median and the range of what is known."""
    known = values[np.isfinite(values)]
    return f"{np.median(known):.{decimals}f} ({known.min():.{decimals}f} to {known.max():.{decimals}f})"


def main() -> None:
    """Print the table."""
    data = Path(os.environ["SAMU_DATA"])
    pairs, maps = np.array(list(real(data))), np.array(list(simulated(data)))
    fine = maps[maps[:, 0] < FINE]
    solvent = np.array(solvents(data))
    print(
        f"| | {len(pairs)} real pairs | {len(fine)} simulated below {FINE:g} A | all {len(maps)} |\n|---|---|---|---|"
    )
    for number, title in enumerate(TITLES):
        last = number == len(TITLES) - 1
        columns = (solvent if last else pairs[:, number], fine[:, number + 1], maps[:, number + 1])
        print(f"| {title} | {' | '.join(spelled(column, 3 if last else 2) for column in columns)} |")


if __name__ == "__main__":
    main()
