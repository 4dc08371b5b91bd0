"""Peak memory of whole identity runs with `--memory 0.5`, on maps of 384^3 and 768^3 voxels (2 GB of disk, minutes)."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from measure import compare_peak

EDGES = (384, 768)


def write_map(path: Path, edge: int) -> None:
    """Write an ``edge``^3 map of noise, a section at a time: a child's peak is at least its parent's memory."""
    import mrcfile

    rng = np.random.default_rng(0)
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.zeros((1, edge, edge), dtype=np.float32))
        mrc.set_volume()
        mrc.voxel_size = 1.0
        mrc.header.nz = mrc.header.mz = edge
        mrc.header.cella.z = edge
    with path.open("r+b") as file:
        file.seek(1024)
        for _ in range(edge):
            file.write(rng.random((edge, edge), dtype=np.float32))


def peak_of(edge: int, folder: Path) -> int:
    """Return the receipt's peak memory of a run in its own process."""
    path, output = folder / "map.mrc", folder / "enhanced.mrc"
    write_map(path, edge)
    command = [sys.executable, "-m", "samu_batch", "enhance", path, "--output", output, "--engine", "identity"]
    subprocess.run([*command, "--memory", "0.5", "--scratch", folder, "--threads", "2"], check=True)
    return json.loads(output.with_name("enhanced.mrc.json").read_text())["peak_memory"]


def main() -> None:
    peaks = {}
    for edge in EDGES:
        with tempfile.TemporaryDirectory(prefix="samu-bench-") as folder:
            peaks[edge] = peak_of(edge, Path(folder))
        compare_peak(f"peak of a run on {edge}^3", peaks[edge], target=700_000_000)
    small, large = (peaks[edge] for edge in EDGES)
    verdict = "met" if abs(large / small - 1) <= 0.15 else "MISSED"
    print(f"    {EDGES[1]}^3 over {EDGES[0]}^3: {large / small:.2f} (target 1 within 15 %: {verdict})")


if __name__ == "__main__":
    main()
