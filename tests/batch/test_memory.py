"""Law 5: the peak of memory depends on the budget, not on the map."""

import json
import subprocess
import sys

import numpy as np
import pytest

MIB = 1 << 20
RUNS = 5


def write_map(path, edge):
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


def peak_memory(path, folder):
    """Enhance a map in a process of its own, and return the bytes that it took at most."""
    output = folder / "enhanced.mrc"
    command = [sys.executable, "-m", "samu_batch", "enhance", path, "--output", output, "--engine", "identity"]
    subprocess.run([*command, "--memory", "0.5", "--scratch", folder, "--threads", "2"], check=True)
    receipt = output.with_name("enhanced.mrc.json")
    peak = json.loads(receipt.read_text())["peak_memory"]
    output.unlink()
    receipt.unlink()
    return peak


@pytest.mark.slow
def test_peak_memory_of_a_map_eight_times_larger(tmp_path):
    # How full the queues between the stages get is a matter of timing: peaks of one map differ by up to a fifth.
    peaks = {}
    for edge in (384, 768):
        path = tmp_path / f"map{edge}.mrc"
        write_map(path, edge)
        peaks[edge] = [peak_memory(path, tmp_path) for _ in range(RUNS)]
        path.unlink()
    assert max(map(max, peaks.values())) < 700 * MIB
    assert np.median(peaks[768]) < 1.15 * np.median(peaks[384])
