"""What a piece of work costs, in a fresh process each time: CPU seconds and peak resident memory.

A bench is a script of cases. `main` runs its report, or, called again by `best` with a case's name, that one case.
The first touch of memory varies widely between runs, so the best of several counts.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

Case = Callable[[Path], Callable[[], object]]
"""Prepares its work in a folder, untimed, and returns it."""

RUNS = 5


@dataclass(frozen=True)
class Cost:
    """CPU and wall seconds of the work, all threads together, and the peak memory of its whole process in bytes."""

    cpu: float
    wall: float
    peak: int

    def __str__(self) -> str:
        return f"{self.cpu:.2f} CPU-s, {self.wall:.2f} s, {self.peak / 1e6:.0f} MB"


def best(case: str, folder: Path, *, runs: int = RUNS) -> Cost:
    """Return the least of each cost of `runs` fresh processes."""
    costs = [_once(case, folder) for _ in range(runs)]
    return Cost(min(c.cpu for c in costs), min(c.wall for c in costs), min(c.peak for c in costs))


def main(cases: dict[str, Case], report: Callable[[Path], None]) -> None:
    """Run one case and print its cost as JSON, or the whole report in a folder of its own."""
    if len(sys.argv) > 1:
        name, folder = sys.argv[1:]
        print(json.dumps(_cost_of(cases[name](Path(folder))).__dict__))
        return
    with tempfile.TemporaryDirectory(prefix="samu-bench-") as folder:
        report(Path(folder))


def missing(*modules: str) -> bool:
    """Say which of some optional modules are not installed."""
    absent = [module for module in modules if find_spec(module) is None]
    if absent:
        print(f"not measured: {', '.join(absent)} not installed (pip install -r benches/requirements.txt)")
    return bool(absent)


def copy_rate() -> float:
    """Return the bytes per second, read and written together, that copying memory already touched moves on one core."""
    import numpy as np

    source = np.ones(1 << 26, dtype=np.float32)
    target = np.ones_like(source)
    seconds = []
    for _ in range(9):
        start = time.perf_counter()
        np.copyto(target, source)
        seconds.append(time.perf_counter() - start)
    return 2 * source.nbytes / min(seconds)


def compare(what: str, ours: Cost, named: str, baseline: Cost, *, target: float, moved: int) -> None:
    """Print the ratio of CPU times against its target, and the distance to the time of moving `moved` bytes."""
    ratio = baseline.cpu / ours.cpu
    verdict = "met" if ratio >= target else "MISSED"
    rate = copy_rate()
    print(f"{what}: {ours}")
    print(f"    {named}: {baseline}")
    print(f"    {ratio:.1f} times cheaper (target {target:g}: {verdict})")
    moving = f"move its {moved / 1e6:.0f} MB at {rate / 1e9:.1f} GB/s"
    print(f"    {ours.cpu * rate / moved:.1f} times the time to {moving}")


def compare_peak(what: str, peak: int, *, target: int) -> None:
    """Print a peak of memory against its target, in bytes."""
    print(f"    {what}: {peak / 1e6:.0f} MB (target {target / 1e6:.0f} MB: {'met' if peak <= target else 'MISSED'})")


def _once(case: str, folder: Path) -> Cost:
    command = [sys.executable, sys.argv[0], case, str(folder)]
    # numpy's BLAS threads, which nothing here uses, spin when they start and would be counted.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return Cost(**json.loads(done.stdout))


def _cost_of(work: Callable[[], object]) -> Cost:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    status = Path("/proc/self/status").read_text()
    return Cost(cpu, wall, int(status.partition("VmHWM:")[2].split()[0]) * 1024)
