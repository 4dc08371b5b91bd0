"""Resampling, and all that is done to a map before and after the network, against scipy's zoom.

The map is 256^3 voxels at 1.2 A, float32, uncompressed; the model's spacing is 1 A. Needs scipy.
"""

import dataclasses
from pathlib import Path

import numpy as np
from measure import RUNS, best, compare, compare_peak, main, missing

SHAPE, SPACING = (256, 256, 256), 1.2
THREADS, MEMORY = 2, 1 << 29
ZOOM = "scipy.ndimage.zoom(order=3)"


def ingest(folder):
    from samu_batch.mrc import read_header
    from samu_batch.volume import ingest_map, voxels_of

    header = read_header(folder / "map.mrc")
    return lambda: ingest_map(
        voxels_of(header), None, header=header, spacing=1.0, chunk=50, threads=THREADS, memory=MEMORY
    )


def zoom(folder):
    from scipy import ndimage

    voxels = np.fromfile(folder / "map.mrc", dtype=np.float32, offset=1024).reshape(SHAPE)
    return lambda: ndimage.zoom(voxels, SPACING, order=3)


def whole(folder):
    """Prepare a run from a map file to an enhanced one: hashed, surveyed, normalised, cut, stitched, resampled back."""
    from samu_batch.engine import load_engine
    from samu_batch.enhance import enhance_map
    from samu_batch.entries import Entry
    from samu_batch.model import Normalisation, identity_spec
    from samu_batch.task import MapOptions, MapTask

    spec = dataclasses.replace(identity_spec(), normalisation=Normalisation(99.9))
    engine = load_engine(spec, engine="identity")
    task = MapTask(
        entry=Entry(id="map", source=str(folder / "map.mrc"), kind="file", columns={}, line=None),
        options=MapOptions(model="identity", threads=THREADS, memory=MEMORY, scratch=folder),
        output=folder / "enhanced.mrc",
        receipt=folder / "receipt.json",
    )

    def work():
        report = enhance_map(task, engine)
        if not report.done:
            raise RuntimeError(report.message)

    return work


def report(folder: Path) -> None:
    if missing("scipy"):
        return
    write_map(folder / "map.mrc")
    scipys = best("zoom", folder, runs=2)
    before = 4 * np.prod(SHAPE)
    after = int(before * SPACING**3)
    compare("resampling", best("ingest", folder), ZOOM, scipys, target=60, moved=before + after)
    cost = best("whole", folder, runs=2 * RUNS)
    # Three reads of the input, cubes in and out of the volumes, the enhanced map.
    moved = 3 * before + 2 * after + int(4 * after * (64 / 50) ** 3) + 2 * after + before
    compare("before and after the network", cost, ZOOM, scipys, target=13, moved=moved)
    compare_peak("peak memory", cost.peak, target=450_000_000)


def write_map(path: Path) -> None:
    """Write smooth density in a third of the box, and noise everywhere."""
    import mrcfile

    rng = np.random.default_rng(0)
    axes = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in SHAPE)]
    radius = np.sqrt(sum(axis**2 for axis in axes))
    voxels = rng.normal(scale=0.1, size=SHAPE) + np.maximum(0, 0.7 - radius) * 10
    with mrcfile.new(path) as mrc:
        mrc.set_data(voxels.astype(np.float32))
        mrc.voxel_size = SPACING


if __name__ == "__main__":
    main({"ingest": ingest, "zoom": zoom, "whole": whole}, report)
