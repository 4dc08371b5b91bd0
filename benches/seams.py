"""Whether the faces of the cores show where a model has to guess: law 6 on maps with and without detergent.

``python benches/seams.py [--model NAME|PATH]... [--maps 5]``: the mean jump between neighbours across the faces of the
cores, in units of the jumps beside them, over that at the same voxels when the map begins so much later that they lie
inside a core, at four places of the network's lattice. Of maps of the frozen test set (samu_training.testset) that are
larger than a cube, so many with a belt of detergent and so many without. Needs SAMU_DATA.
"""

import argparse
import os
import tempfile
from pathlib import Path

import mrcfile
import numpy as np

from samu_batch.engine import load_engine
from samu_batch.locate import default_cache
from samu_training.as_read import SPACING, read_normalised
from samu_training.benchmark import enhanced_map
from samu_training.reconstruct import draw
from samu_training.testset import make_map, read_testset

SHIFTS = range(-2, 2)
BESIDE = [-4, -3, -2, -1, 1, 2, 3, 4]
CACHE = default_cache() / "benchmark" / "maps"


def jumps(path, shift, engine, folder):
    """Return along each axis the jumps between planes, of the map as it lay before, and where the cores meet."""
    voxels, _ = read_normalised(path)
    with mrcfile.new(folder / "in.mrc", overwrite=True) as mrc:
        mrc.set_data(np.pad(voxels, [(shift, 0)] * 3))
        mrc.voxel_size = SPACING
    enhanced, _ = enhanced_map(folder / "in.mrc", str(engine.spec.path), engine)
    inner = enhanced[shift:, shift:, shift:].astype(np.float64)
    others = [(1, 2), (0, 2), (0, 1)]
    planes = [np.abs(np.diff(inner, axis=axis)).sum(axis=others[axis]) for axis in range(3)]
    return planes, faces(engine.spec.grid(enhanced.shape))


def faces(grid):
    """Return of each axis the pairs of planes, by the first of them, between which two cores meet."""
    stops = [{cube.write.stop[axis] for cube in grid} - {grid.shape[axis]} for axis in range(3)]
    return [np.array(sorted(axis), int) - 1 for axis in stops]


def ratio(paths, engine, folder):
    """Return the step at faces over that of the same places inside cores, of all maps together."""
    at_faces, inside = np.zeros(2), np.zeros(2)  # the jumps there, and the mean of those beside
    for path in paths:
        plain, meet = jumps(path, 0, engine, folder)
        for shift in (engine.spec.core // 2 + more for more in SHIFTS):
            shifted, _ = jumps(path, shift, engine, folder)
            for as_it_lies, later, at in zip(plain, shifted, meet, strict=True):
                for sums, planes in ((at_faces, as_it_lies), (inside, later)):
                    sums += planes[at].sum(), np.mean([planes[at + away].sum() for away in BESIDE])
    return (at_faces[0] / at_faces[1]) / (inside[0] / inside[1])


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append")
    parser.add_argument("--maps", type=int, default=5)
    chosen = parser.parse_args()
    data = Path(os.environ["SAMU_DATA"])
    engines = {model: load_engine(model) for model in chosen.model or ["samu-lite"]}
    largest = max(engine.spec.cube for engine in engines.values())
    kinds = {"no detergent": [], "detergent": []}
    for frozen in read_testset():
        kind = kinds["detergent" if draw(np.random.default_rng(frozen.seed)).micelle else "no detergent"]
        if len(kind) < chosen.maps:
            path = make_map(frozen, data, CACHE)[0]
            if max(read_normalised(path)[0].shape) > largest:  # else there is no face
                kind.append(path)
    print(f"| model | {' | '.join(kinds)} |\n|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="samu-bench-") as folder:
        for model, engine in engines.items():
            found = [f"{ratio(paths, engine, Path(folder)):.3f}" for paths in kinds.values()]
            print(f"| {model} | {' | '.join(found)} |", flush=True)


if __name__ == "__main__":
    main()
