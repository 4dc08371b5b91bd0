"""Cutting a map into cubes, normalising and stitching them, against MONAI's sliding window, without a network.

300^3 voxels at 1 A; cubes of 64 whose cores of 50 are kept, MONAI's windows of 64 that overlap by as much. In memory,
and from a map file to a map file. Needs monai and torch (pip install -r benches/requirements.txt).
"""

from pathlib import Path

import numpy as np
from measure import RUNS, best, compare, main, missing

EDGE, CUBE, CORE, SCALE = 300, 64, 50, 3.0
THREADS, MEMORY = 2, 1 << 29
MONAI = "monai sliding_window_inference"


def ours_in_memory(folder):
    stitched = _stitching()
    source, _ = _ingested(folder)
    return lambda: stitched(source)


def ours_with_files(folder):
    from samu_batch.volume import export_map

    stitched = _stitching()

    def work():
        source, header = _ingested(folder)
        export_map(stitched(source), folder / "ours.mrc", like=header, threads=THREADS, memory=MEMORY)

    return work


def monai_in_memory(folder):
    import mrcfile

    voxels = mrcfile.read(folder / "map.mrc")
    inference = _inference()
    return lambda: inference(voxels)


def monai_with_files(folder):
    import mrcfile

    inference = _inference()

    def work():
        enhanced = inference(mrcfile.read(folder / "map.mrc"))
        with mrcfile.new(folder / "monai.mrc", overwrite=True) as mrc:
            mrc.set_data(enhanced)
            mrc.voxel_size = 1.0

    return work


def _ingested(folder):
    from samu_batch.mrc import read_header
    from samu_batch.volume import ingest_map, voxels_of

    header = read_header(folder / "map.mrc")
    voxels = voxels_of(header)
    volume = ingest_map(voxels, None, header=header, spacing=1.0, chunk=CORE, threads=THREADS, memory=MEMORY)
    return volume, header


def _stitching():
    """Import what is needed, and return what cuts, normalises and stitches a volume."""
    from samu_batch.cubes import enhance_volume
    from samu_batch.engine import load_engine
    from samu_batch.volume import Volume

    engine = load_engine("identity", engine="identity")

    def stitched(source):
        target = Volume.create(None, shape=source.shape, chunk=CORE, spacing=source.spacing, origin=source.origin)
        enhance_volume(source, target, engine, scale=SCALE, batch=4, threads=THREADS)
        return target

    return stitched


def _inference():
    import torch
    from monai.inferers import sliding_window_inference

    torch.set_num_threads(THREADS)

    def inference(voxels):
        normalised = torch.from_numpy(np.array(voxels)).div_(SCALE).clamp_(0, 1)
        overlap = (CUBE - CORE) / CUBE
        with torch.inference_mode():
            stitched = sliding_window_inference(normalised[None, None], CUBE, 4, lambda cubes: cubes, overlap=overlap)
        return stitched[0, 0].numpy()

    return inference


def report(folder: Path) -> None:
    if missing("monai", "torch"):
        return
    import mrcfile

    with mrcfile.new(folder / "map.mrc") as mrc:
        mrc.set_data(np.random.default_rng(0).random((EDGE,) * 3, dtype=np.float32))
        mrc.voxel_size = 1.0
    volume = 4 * EDGE**3
    cubes = int(volume * (CUBE / CORE) ** 3)
    # The volume and the cubes, each read and written once.
    moved = 2 * volume + 2 * cubes
    ours, monais = (best(case, folder, runs=RUNS) for case in ("ours_in_memory", "monai_in_memory"))
    compare("cut, normalise and stitch in memory", ours, MONAI, monais, target=5, moved=moved)
    ours, monais = (best(case, folder, runs=RUNS) for case in ("ours_with_files", "monai_with_files"))
    compare("from file to file", ours, MONAI, monais, target=2.5, moved=moved + 4 * volume)


if __name__ == "__main__":
    cases = (ours_in_memory, ours_with_files, monai_in_memory, monai_with_files)
    main({case.__name__: case for case in cases}, report)
