"""A map of 700^3 voxels over one worker and over two, with an engine of 20 ms a cube: the same bytes, how much faster.

``python benches/huge_map.py``; SAMU_BENCH_EDGE (700) is the map's in voxels, SAMU_BENCH_SCRATCH (/dev/shm) where its
two volumes lie (3 GB). Takes 3 GB of disk. Cubes sleep, the rest is real: on a busy machine, or one whose scratch is a
slow disk, the rest takes longer and the ratio is smaller.
"""

import os
import tempfile
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import fake_gpu
from memory import write_map

EDGE = int(os.environ.get("SAMU_BENCH_EDGE", "700"))
SCRATCH = os.environ.get("SAMU_BENCH_SCRATCH", "/dev/shm")
TARGET = 1.6
TIMES = ("started", "finished", "seconds", "peak_memory", "outputs")


def enhanced(path, folder, scratch, *, workers, gpus):
    """Enhance the map in a run of its own; return its report, and the bytes' sha256."""
    from samu_batch.batch import run_batch
    from samu_batch.entries import Entry
    from samu_batch.executors.dask import DaskExecutor
    from samu_batch.run_directory import RunDirectory
    from samu_batch.task import MapOptions

    options = MapOptions(model=gpus.model, engine="fake-gpu", scratch=Path(scratch), memory=1 << 29)
    task = RunDirectory(folder / f"over{workers}").task(Entry("huge", str(path), "file"), options)
    executor = DaskExecutor(["cpu"] * workers, threads=2 // workers, spread_above=100)
    [report] = run_batch([task], executor)
    assert report.done, report.message
    took = (datetime.fromisoformat(report.finished) - datetime.fromisoformat(report.started)).total_seconds()
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in report.seconds.items())
    shares = ", ".join(f"{sum(end - begin for begin, end, _ in spans):.1f}" for spans in gpus.spans())
    rest = took - sum(report.seconds.values())
    print(f"{workers} worker(s): {took:.1f} s ({stages}, rest {rest:.1f}); at work {shares} s", flush=True)
    task.output.unlink()
    return report, took


def main():
    with (
        tempfile.TemporaryDirectory(prefix="samu-bench-") as name,
        tempfile.TemporaryDirectory(prefix="samu-bench-", dir=SCRATCH) as scratch,
    ):
        folder = Path(name)
        gpus = fake_gpu.install(folder / "engine")
        write_map(folder / "huge.mrc", EDGE)
        (one, took_one), (two, took_two) = (
            enhanced(folder / "huge.mrc", folder, scratch, workers=workers, gpus=gpus) for workers in (1, 2)
        )
    ratio = took_one / took_two
    print(f"    {ratio:.2f} times faster (target {TARGET}: {'met' if ratio >= TARGET else 'MISSED'})")
    same = one.outputs == two.outputs and all(
        asdict(one)[fact] == asdict(two)[fact] for fact in asdict(one) if fact not in TIMES
    )
    print(f"    the same bytes, and the same receipt but for its times: {'yes' if same else 'NO'}")


if __name__ == "__main__":
    main()
