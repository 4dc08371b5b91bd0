"""Eight fake GPUs over 400 maps whose sizes are spread 30-fold: which share of the time each was at work.

``python benches/fake_gpus.py``; SAMU_BENCH_MAPS (400) and SAMU_BENCH_GPUS (8) may be fewer. An engine takes 20 ms a
cube, asleep; reading, resampling from 1.25 A, writing and receipts are real, and need a core or more. The time runs
from when each GPU has begun until the last cube is done. Takes 1 GB of disk, and writes 6 GB there.
"""

import os
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import fake_gpu
import numpy as np
import psutil

MAPS = int(os.environ.get("SAMU_BENCH_MAPS", "400"))
GPUS = int(os.environ.get("SAMU_BENCH_GPUS", "8"))
SIZES = 40
SMALLEST, LARGEST = 1.0e6, 31.0e6  # cubic angstrom
SPACING = 1.25
TARGET = 0.95


def write_maps(folder):
    """Write maps of noise, their volumes evenly spread on a logarithmic scale; return paths, several of each size."""
    import mrcfile

    rng = np.random.default_rng(0)
    folder.mkdir()
    for number, volume in enumerate(np.geomspace(SMALLEST, LARGEST, SIZES)):
        with mrcfile.new(folder / f"size{number}.mrc") as mrc:
            mrc.set_data(rng.random((round(volume ** (1 / 3) / SPACING),) * 3, dtype=np.float32))
            mrc.voxel_size = SPACING
    paths = []
    for number in range(MAPS):
        paths.append(folder / f"map{number}.mrc")
        paths[-1].symlink_to(folder / f"size{number * SIZES // MAPS}.mrc")
    return paths


def run(paths, folder, model):
    """Enhance all; return the CPU seconds of all processes between the first report and the last."""
    from samu_batch.batch import run_batch
    from samu_batch.executors.dask import DaskExecutor

    decisions = fake_gpu.planned(paths, folder, model)
    outputs = {decision.task.entry.id: decision.task.output for decision in decisions}
    used = []
    for report in run_batch([decision.task for decision in decisions], DaskExecutor(["cpu"] * GPUS, threads=1)):
        assert report.done, report.message
        outputs[report.id].unlink()
        used.append((time.monotonic(), cpu_seconds()))
    (first, before), (last, after) = used[0], used[-1]
    return (after - before) / (last - first)


def cpu_seconds():
    me = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (me, *me.children(recursive=True)))


def idle(spans, begin, *, between):
    """Return the seconds that the GPUs rested between the batches of two maps, or of one."""
    gaps = (
        (after[0] - max(before[1], begin), after[2] != before[2]) for each in spans for before, after in pairwise(each)
    )
    return sum(gap for gap, other in gaps if gap > 0 and other == between)


def main():
    with tempfile.TemporaryDirectory(prefix="samu-bench-") as name:
        folder = Path(name)
        gpus = fake_gpu.install(folder / "engine")
        cores = run(write_maps(folder / "maps"), folder, gpus.model)
        spans = gpus.spans()
    begin, end = max(each[0][0] for each in spans), max(each[-1][1] for each in spans)
    shares = [sum(max(0.0, e - max(b, begin)) for b, e, _ in each) / (end - begin) for each in spans]
    seconds = sum(e - b for each in spans for b, e, _ in each)
    print(f"{MAPS} maps, {seconds / fake_gpu.SECONDS_PER_CUBE:.0f} cubes, {len(spans)} GPUs: {end - begin:.1f} s")
    print(f"    at work: {', '.join(f'{share:.1%}' for share in shares)}")
    mean = sum(shares) / GPUS
    print(f"    together {mean:.1%} (target {TARGET:.0%}: {'met' if mean >= TARGET else 'MISSED'})")
    print(f"    the rest took {cores:.2f} of {os.cpu_count()} cores; load of the machine {os.getloadavg()[0]:.1f}")
    between, within = (idle(spans, begin, between=between) / GPUS / (end - begin) for between in (True, False))
    print(f"    at rest between maps {between:.1%}, within maps {within:.1%}")
    ends = ", ".join(f"{end - each[-1][1]:.1f}" for each in spans)
    print(f"    seconds that each was done before the last: {ends}")


if __name__ == "__main__":
    main()
