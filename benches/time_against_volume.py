"""Time of whole maps against their volume, as in the paper's figure 5: a table, and with ``--plot FILE`` a picture.

``python benches/time_against_volume.py [--model NAME] [--engine NAME] [--threads N] [--edges 200 300] [--plot FILE]``

Maps are cubes of noise at 1 A, so that no cube is empty. The engine is loaded before; a map's time is from its file to
the enhanced map, receipt and checksums included. Needs some 3 GB of memory and disk for 700^3; matplotlib for the plot.
"""

import argparse
import tempfile
import time
from pathlib import Path

import mrcfile
import numpy as np
from parity import processor

from samu_batch.engine import load_engine
from samu_batch.enhance import enhance_map
from samu_batch.entries import Entry
from samu_batch.machine import GIB, peak_memory
from samu_batch.task import MapOptions, MapTask

EDGES = (200, 300, 400, 500, 600, 700)


def write_map(path, edge):
    """Write noise, a section at a time; sections repeat."""
    sections = np.random.default_rng(0).random((16, edge, edge), dtype=np.float32)
    with mrcfile.new_mmap(path, shape=(edge,) * 3, mrc_mode=2, overwrite=True) as mrc:
        for z in range(edge):
            mrc.data[z] = sections[z % len(sections)]
        mrc.voxel_size = 1.0
        mrc.update_header_from_data()


def time_map(engine, edge, folder, asked):
    """Return wall seconds, CPU seconds and the receipt of one map."""
    write_map(folder / "map.mrc", edge)
    task = MapTask(
        entry=Entry(id="map", source=str(folder / "map.mrc"), kind="file"),
        options=MapOptions(model=asked.model, scratch=folder, threads=asked.threads, memory=4 * GIB),
        output=folder / "out.mrc",
        receipt=folder / "out.json",
    )
    wall, cpu = time.perf_counter(), time.process_time()
    report = enhance_map(task, engine)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert report.done, report.message
    assert report.cubes_skipped == 0
    return wall, cpu, report


def plot(points, title, path):
    """Draw wall and CPU time against volume."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), dpi=120)
    volumes = [edge**3 / 1e6 for edge, *_ in points]
    for column, name, marker in ((1, "wall time", "o-"), (2, "CPU time, all threads", "s--")):
        axes.plot(volumes, [point[column] for point in points], marker, label=name)
    for edge, wall, *_ in points:
        axes.annotate(f"{edge}$^3$", (edge**3 / 1e6, wall), xytext=(-24, 6), textcoords="offset points", fontsize=8)
    axes.set(xlabel="volume (10$^6$ Å$^3$)", ylabel="seconds", xlim=(0, None), ylim=(0, None))
    axes.set_title(title, fontsize=9)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="samu-lite")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--edges", type=int, nargs="+", default=EDGES)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--note", default="", help="a line below the picture's title, on what else the machine did")
    asked = parser.parse_args()
    engine = load_engine(asked.model, engine=asked.engine, threads=asked.threads)
    facts = engine.describe()
    title = f"{asked.model} by {facts['name']} {facts['version'].split('-')[0]}, {asked.threads} threads, {processor()}"
    print(f"{title}, {time.strftime('%Y-%m-%d')}\n")
    print("| edge | cubes | wall s | CPU s | enhance, share of wall | peak memory |\n|---|---|---|---|---|---|")
    points = []
    with tempfile.TemporaryDirectory(prefix="samu-volume-") as folder:
        for edge in asked.edges:
            wall, cpu, report = time_map(engine, edge, Path(folder), asked)
            points.append((edge, wall, cpu))
            share, peak = report.seconds["enhance"] / wall, peak_memory() / 1e6
            print(f"| {edge} | {report.cubes} | {wall:.1f} | {cpu:.1f} | {share:.3f} | {peak:.0f} MB |", flush=True)
            if asked.plot:
                plot(points, f"{title}\n{asked.note}".rstrip(), asked.plot)


if __name__ == "__main__":
    main()
