"""Whether the faces of the cores show where a model has to guess: law 6 on maps with and without detergent.

``python benches/seams.py [--model NAME|PATH]... [--maps 5]``: the mean jump between neighbours across the faces of the
cores, in units of the jumps beside them, over that at the same voxels when the map begins so much later that they lie
inside a core, at four places of the network's lattice. Of maps of the frozen test set (samu_training.testset) that are
larger than a core, so many with a belt of detergent and so many without. Needs SAMU_DATA.
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
    """Return the jump of each pair of planes along each axis, of the map as it lay before it was shifted."""
    voxels, _ = read_normalised(path)
    with mrcfile.new(folder / "in.mrc", overwrite=True) as mrc:
        mrc.set_data(np.pad(voxels, [(shift, 0)] * 3))
        mrc.voxel_size = SPACING
    enhanced, _ = enhanced_map(folder / "in.mrc", str(engine.spec.path), engine)
    inner = enhanced[shift:, shift:, shift:].astype(np.float64)
    others = [(1, 2), (0, 2), (0, 1)]
    return [np.abs(np.diff(inner, axis=axis)).sum(axis=others[axis]) for axis in range(3)]


def ratio(paths, engine, folder):
    """Return the step at faces over that of the same places inside cores, of all maps together."""
    faces, cores = np.zeros(2), np.zeros(2)  # the jumps there, and the mean of those beside
    for path in paths:
        plain = jumps(path, 0, engine, folder)
        for shift in (engine.spec.core // 2 + more for more in SHIFTS):
            for as_it_lies, later in zip(plain, jumps(path, shift, engine, folder), strict=True):
                on_face = np.arange(engine.spec.core - 1, len(as_it_lies) - BESIDE[-1], engine.spec.core)
                for sums, planes in ((faces, as_it_lies), (cores, later)):
                    sums += planes[on_face].sum(), np.mean([planes[on_face + away].sum() for away in BESIDE])
    return (faces[0] / faces[1]) / (cores[0] / cores[1])


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append")
    parser.add_argument("--maps", type=int, default=5)
    chosen = parser.parse_args()
    data = Path(os.environ["SAMU_DATA"])
    engines = {model: load_engine(model) for model in chosen.model or ["samu-lite"]}
    largest = max(engine.spec.core for engine in engines.values())
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
