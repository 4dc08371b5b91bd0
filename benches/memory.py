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
    """Write noise, a section at a time."""
    import mrcfile

    rng = np.random.default_rng(0)
    with mrcfile.new_mmap(path, (edge, edge, edge), mrc_mode=2) as mrc:
        for section in range(edge):
            mrc.data[section] = rng.random((edge, edge), dtype=np.float32)
        mrc.voxel_size = 1.0
        mrc.update_header_stats()


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
