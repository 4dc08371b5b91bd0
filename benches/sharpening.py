"""What becomes of a map that was sharpened or smoothed before it is enhanced: the ten real pairs, judged as ever.

``python benches/sharpening.py [--model NAME|PATH] [--held-out ENTRY[,ENTRY]=MODEL]... [--b -2 --b 2]``: each map is
multiplied by exp(-B s^2 / 4) in Fourier space, B in multiples of the square of its resolution (negative sharpens), as
it is first of all (B = 0), and constant beyond 1.2 / resolution. Means of phenix's figures. Needs SAMU_DATA.
"""

import argparse
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np

from samu_batch.locate import default_cache
from samu_batch.machine import cores
from samu_batch.task import MapOptions
from samu_training.pairs import add_held_out, judge_all, read_held_out, read_pairs
from samu_training.real import resharpened

JOBS = 2
COLUMNS = "cc_mask", "cc_box", "d_fsc_05"


def with_b(pair, b, folder):
    """Return the pair with its map at another sharpness, its header and its zeros as they were."""
    with mrcfile.open(pair.map, permissive=True) as mrc:
        voxels, spacing, header = mrc.data.astype(np.float32), mrc.voxel_size.copy(), mrc.header.copy()
    assert np.ptp(spacing.tolist()) < 1e-3, f"{pair.name}: voxels that are no cubes"
    changed = resharpened(voxels, spacing=float(spacing.x), resolution=pair.resolution, b=b)
    path = folder / f"{pair.name}.mrc"
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(changed)
        for field in ("nxstart", "nystart", "nzstart", "mx", "my", "mz", "cella", "cellb", "mapc", "mapr", "maps"):
            mrc.header[field] = header[field]
        mrc.header.origin, mrc.header.ispg = header.origin, header.ispg
    return replace(pair, map=path)


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="samu-lite")
    parser.add_argument("--b", action="append", type=float, help="over the square of the resolution")
    add_held_out(parser)
    chosen = parser.parse_args()
    pairs = read_pairs(Path(os.environ["SAMU_DATA"]))
    siblings = read_held_out(chosen.held_out, pairs, parser)
    options = MapOptions(model=chosen.model, threads=max(1, cores() // JOBS))
    print(f"| B / d^2 | {' | '.join(COLUMNS)} | maps with a higher CC_mask than as they are |\n|{'---|' * 5}")
    as_it_is = None
    for b in [0.0, *(chosen.b or [-2, 2, 4])]:
        with tempfile.TemporaryDirectory(prefix="samu-bench-") as folder:
            shown = [with_b(pair, b, Path(folder)) for pair in pairs] if b else pairs
            rows = judge_all(shown, options=options, jobs=JOBS, cache=default_cache() / "pairs", siblings=siblings)
        after = np.array([[row.after[column] for column in COLUMNS] for row in rows])
        as_it_is = after if as_it_is is None else as_it_is
        cells = " | ".join(f"{mean:.3f}" for mean in after.mean(axis=0))
        print(f"| {b:g} | {cells} | {np.sum(after[:, 0] > as_it_is[:, 0])} of {len(rows)} |", flush=True)


if __name__ == "__main__":
    main()
