"""What a model makes of maps that hold no protein: noise, blurred to three degrees, and a blob.

``python -m samu_training.hallucination --model NAME|PATH`` prints how much of them comes out above 0.3 of the model's
unit, and the largest connected piece of it. ``docs/hallucination.py`` makes the page and the pictures of the docs.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import mrcfile
import numpy as np
from scipy.ndimage import gaussian_filter, label

from samu_batch import MapOptions, MapTask, enhance_map, load_engine, parse_entries

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from samu_batch import Engine

EDGE = 120
LEVEL = 0.3
MOST_ABOVE = 0.001
LARGEST_PIECE = 100


@dataclass(frozen=True)
class Trial:
    """A map without protein, before and after; float32 (120, 120, 120) at 1 A."""

    name: str
    before: NDArray[np.float32]
    after: NDArray[np.float32]

    @property
    def above(self) -> float:
        """Share of the voxels that came out above the level."""
        return float((self.after > LEVEL).mean())

    @property
    def largest_piece(self) -> int:
        """Voxels of the largest connected piece above the level."""
        pieces, count = label(self.after > LEVEL)
        return int(np.bincount(pieces.ravel())[1:].max()) if count else 0

    @property
    def passed(self) -> bool:
        """Whether next to nothing came out."""
        return self.above <= MOST_ABOVE and self.largest_piece <= LARGEST_PIECE


def trials(engine: Engine) -> list[Trial]:
    """Return what a model makes of the maps without protein; they are the same every time."""
    rng = np.random.default_rng(0)
    maps = {f"noise, blurred by {sigma} A": noise(rng, sigma=sigma) for sigma in (0.8, 1.5, 2.5)}
    maps["blob"] = blob(rng)
    return [Trial(name, density, enhanced(density, engine)) for name, density in maps.items()]


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


def main() -> None:
    """Print what a model makes of nothing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="samu-lite")
    arguments = parser.parse_args()
    for trial in trials(load_engine(arguments.model)):
        found = f"{100 * trial.above:.3f} % of the voxels above {LEVEL}, the largest piece {trial.largest_piece}"
        print(f"{trial.name}: {found}{'' if trial.passed else '  TOO MUCH'}")


if __name__ == "__main__":
    main()
