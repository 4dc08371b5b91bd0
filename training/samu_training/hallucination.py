"""What a model makes of maps that hold no protein, and of the solvent.

``python -m samu_training.hallucination --model NAME|PATH`` enhances pure noise and a blob that is no protein. It prints
how much of them lies above 0.3 of the model's unit, and the largest connected piece of it. With ``--pairs FOLDER`` it
prints the spread of the solvent of simulated maps too, after over before, in units of their 99.9th percentile.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import mrcfile
import numpy as np
from scipy.ndimage import gaussian_filter, label, maximum_filter

from samu_batch import MapOptions, MapTask, enhance_map, load_engine, parse_entries

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from samu_batch import Engine

EDGE = 120
LEVEL = 0.3
FAR = 8
"""Voxels from target density beyond which all is solvent."""


def noise(rng: np.random.Generator, *, sigma: float) -> NDArray[np.float32]:
    """White noise, blurred by ``sigma`` voxels."""
    field = gaussian_filter(rng.normal(size=(EDGE,) * 3).astype(np.float32), sigma)
    scaled: NDArray[np.float32] = field / field.std()
    return scaled


def blob(rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a ball of 35 voxels with a soft rim, in weak noise: a micelle, a vesicle."""
    z, y, x = np.ogrid[:EDGE, :EDGE, :EDGE]
    radius = np.sqrt((z - EDGE / 2) ** 2 + (y - EDGE / 2) ** 2 + (x - EDGE / 2) ** 2)
    return (1 / (1 + np.exp((radius - 35) / 2)) + 0.05 * noise(rng, sigma=1.5)).astype(np.float32)


def enhanced(density: NDArray[np.float32], engine: Engine) -> NDArray[np.float32]:
    """Enhance a map at 1 A as a user's map is."""
    with tempfile.TemporaryDirectory() as name:
        source, output = Path(name) / "in.mrc", Path(name) / "out.mrc"
        with mrcfile.new(source, data=density) as stored:
            stored.voxel_size = 1.0
        [entry] = parse_entries([str(source)])
        options = MapOptions(model=engine.spec.name)
        report = enhance_map(
            MapTask(entry=entry, options=options, output=output, receipt=output.with_suffix(".json")), engine
        )
        if not report.done:
            raise RuntimeError(report.message)
        result: NDArray[np.float32] = mrcfile.read(output)
        return result


def above(density: NDArray[np.float32]) -> str:
    """Say how much lies above the level."""
    found = density > LEVEL
    pieces, count = label(found)
    largest = int(np.bincount(pieces.ravel())[1:].max()) if count else 0
    return f"{100 * found.mean():.3f} % of the voxels above {LEVEL}, the largest piece {largest}"


def solvent_spread(folder: Path, engine: Engine, *, count: int) -> list[tuple[float, float]]:
    """Return the spread of the solvent before and after, for the first ``count`` pairs that have noise in it."""
    spreads: list[tuple[float, float]] = []
    for path in sorted(folder.glob("*.npy")):
        source, target = np.load(path).astype(np.float32)
        solvent = maximum_filter(target, 2 * FAR + 1) < 0.02
        if solvent.mean() < 0.05 or (source[solvent] == 0).mean() > 0.2:
            continue
        after = enhanced(source, engine)
        spreads.append(
            (float(source[solvent].std()), float(after[solvent].std() / np.percentile(after[after != 0], 99.9)))
        )
        if len(spreads) == count:
            break
    return spreads


def main() -> None:
    """Print what a model makes of nothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="samu-lite")
    parser.add_argument("--pairs", type=Path, help="folder of simulated pairs, for their solvent")
    arguments = parser.parse_args()
    engine = load_engine(arguments.model)
    rng = np.random.default_rng(0)
    for sigma in (0.8, 1.5, 2.5):
        print(f"noise, blurred by {sigma} voxels: {above(enhanced(noise(rng, sigma=sigma), engine))}")
    print(f"blob: {above(enhanced(blob(rng), engine))}")
    if arguments.pairs:
        ratios = [after / before for before, after in solvent_spread(arguments.pairs, engine, count=8)]
        print(f"solvent after / before, {len(ratios)} maps: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")


if __name__ == "__main__":
    main()
