"""How right the time to finish is while a real run goes: two workers, a thirtyfold spread, some maps of unknown size.

``python benches/time_to_finish.py``; SAMU_BENCH_MAPS (200) may be fewer. An engine takes 20 ms a cube, asleep; workers,
what they tell, and all else of the run are real. Of every tenth map the size is not told, as of one that must be
fetched first. After 5 % of the run an estimate shall be within 20 % of what was left.
"""

import os
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import fake_gpu
import numpy as np

MAPS = int(os.environ.get("SAMU_BENCH_MAPS", "200"))
WORKERS = 2
SMALLEST, LARGEST = 8, 240  # cubes
SHARES = (0.05, 0.10, 0.25, 0.50, 0.75, 0.90)
TARGET = 0.20


def write_maps(folder):
    """Write maps of noise of so many cubes, evenly spread on a logarithmic scale; return their paths."""
    import mrcfile

    rng = np.random.default_rng(0)
    folder.mkdir()
    paths = []
    for number, cubes in enumerate(rng.permutation(np.geomspace(SMALLEST, LARGEST, MAPS))):
        depth = max(1, round(cubes / 4))
        paths.append(folder / f"map{number}.mrc")
        with mrcfile.new(paths[-1]) as mrc:
            mrc.set_data(rng.random((50 * depth, 60, 60), dtype=np.float32))
            mrc.voxel_size = 1.0
    return paths


def run(paths, folder, model):
    """Enhance all; return what the display would have shown, five times a second, and when the last map was done."""
    from samu_batch.batch import run_batch
    from samu_batch.executors.dask import DaskExecutor
    from samu_batch.progress import RunProgress

    decisions = fake_gpu.planned(paths, folder, model)
    mean = sum(decision.cubes for decision in decisions) / len(decisions)
    untold = {decision.task.entry.id for decision in decisions[::10]}
    decisions = [replace(each, cubes=None) if each.task.entry.id in untold else each for each in decisions]
    decisions.sort(key=lambda decision: -(decision.cubes or mean))  # as plan_batch has them
    progress = RunProgress({decision.task.entry.id: decision.cubes for decision in decisions})
    seen, done = [], threading.Event()

    def look():
        while not done.wait(0.2):
            seen.append((time.monotonic(), progress.snapshot()))

    threading.Thread(target=look, daemon=True).start()
    executor = DaskExecutor(["cpu"] * WORKERS, threads=1)
    for report in run_batch([decision.task for decision in decisions], executor, progress=progress.tell):
        assert report.done, report.message
        end = time.monotonic()
        progress.finish(report)
    done.set()
    return seen, end


def main():
    with tempfile.TemporaryDirectory(prefix="samu-bench-") as name:
        folder = Path(name)
        gpus = fake_gpu.install(folder / "engine")
        seen, end = run(write_maps(folder / "maps"), folder, gpus.model)
    begin = next(moment for moment, now in seen if now.cubes)
    print(f"{MAPS} maps, {seen[-1][1].cubes_total} cubes, {WORKERS} workers: {end - begin:.1f} s")
    for share in SHARES:
        moment, now = next((moment, now) for moment, now in seen if moment >= begin + share * (end - begin))
        said, true = now.seconds_left, end - moment
        print(f"    at {share:.0%}: {said:.1f} s said, {true:.1f} s true: {said / true - 1:+.1%}")
    within = [(moment, now) for moment, now in seen if 0.05 <= (moment - begin) / (end - begin) <= 0.95]
    errors = [abs(now.seconds_left / (end - moment) - 1) for moment, now in within]
    met = sum(each <= TARGET for each in errors) / len(errors)
    print(f"    from 5 to 95 %: within {TARGET:.0%} in {met:.0%} of {len(errors)} looks, at worst {max(errors):.0%}")
    print(f"    load of the machine {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
