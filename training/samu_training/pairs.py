"""The judge of training: compares real maps with their models before and after enhancement.

::

    python -m samu_training.pairs                                   samu-lite, as installed
    python -m samu_training.pairs --model run/samu-lite.onnx        any model: its name, or its sidecar's or ONNX file
    python -m samu_training.pairs --model identity                  what resampling alone does
    python -m samu_training.pairs --only 3j06 --only 5ly6 --json    some maps; everything as JSON

SAMU_DATA names the folder of real maps, with its ``manifest.csv``. Taken are the pairs from 3.3 to 8 A whose model was
not docked by us and sits in the density (``pair_check`` neither weak nor failed), and whose resolution is known. Each
map is enhanced by samu-batch itself and written on its own grid. For deposited and enhanced map alike:

- CC_mask, CC_box: with the model's map at 3 A and one B of 30 A^2, the same sharp reference before and after;
- FSC=0.5: where the masked FSC with the model first falls to 0.5, in A (smaller is better), with the model's own B
  factors and with the flat one; no radial scaling of the map, so no sharpening, changes it;
- CC_box own B: with the model's map at the reported resolution, B factors as deposited (see docs/evaluate.md);
- best B: CC_mask and CC_box of the first kind after the best single B factor and low-pass (3 A or the reported
  resolution), found per map against the model: an upper bound for global sharpening.

Figures are kept by the hashes of map, model and this code (``--cache``), so those of deposited maps are computed once.
Needs ``pip install 'samu-batch[evaluate]'``.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import inspect
import json
import os
import queue
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samu_batch import _cctbx
from samu_batch.engine import load_engine
from samu_batch.enhance import enhance_map
from samu_batch.entries import Entry
from samu_batch.evaluate import ask, write_job
from samu_batch.files import sha256_of, writing_aside
from samu_batch.locate import default_cache
from samu_batch.machine import cores
from samu_batch.task import MapOptions, MapTask
from samu_training import _pair_figures

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from samu_batch.engine import Engine

Figures = dict[str, Any]

RESOLUTIONS = 3.3, 8.0
METRICS = {
    "cc_mask": ("CC_mask", 3, 1),
    "cc_box": ("CC_box", 3, 1),
    "d_fsc_05": ("FSC=0.5", 2, -1),
    "d_fsc_05_flat": ("FSC=0.5 flat B", 2, -1),
    "cc_box_own": ("CC_box own B", 3, 1),
}
"""Title, decimals, and whether more or less is better."""


@dataclass(frozen=True)
class RealPair:
    """A real map and its model, and the EMDB entry that they belong to."""

    name: str
    entry: str
    resolution: float
    map: Path
    model: Path


@dataclass(frozen=True)
class Row:
    """Figures of one pair before and after enhancement."""

    pair: RealPair
    before: Figures
    after: Figures

    def gain(self, metric: str) -> float:
        """Return by how much the enhanced map is better; NaN where a figure could not be had."""
        before, after = self.before[metric], self.after[metric]
        return float("nan") if None in (before, after) else METRICS[metric][2] * (after - before)


def read_pairs(data: Path, *, only: Sequence[str] = ()) -> list[RealPair]:
    """Return the pairs of a data folder that count, the largest map first."""
    with (data / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "map" and _counts(row)]
    pairs = [
        RealPair(
            name=Path(row["file"]).name.split(".")[0],
            entry=row["emdb_id"] or row["pdb_id"],
            resolution=float(row["resolution"]),
            map=data / row["file"],
            model=data / row["paired_with"],
        )
        for row in rows
    ]
    chosen = [pair for pair in pairs if not only or any(word in pair.name for word in only)]
    return sorted(chosen, key=lambda pair: pair.map.stat().st_size, reverse=True)


def _counts(row: dict[str, str]) -> bool:
    if not row["resolution"] or not row["paired_with"] or "docked" in row["paired_with"] + row["note"]:
        return False
    low, high = RESOLUTIONS
    return low <= float(row["resolution"]) <= high and row["pair_check"].startswith("pair")


def judge(pair: RealPair, engine: Engine, *, options: MapOptions, cache: Path) -> Row:
    """Enhance the map of a pair, and compare both maps with the model.

    Raises
    ------
    RuntimeError
        The map could not be enhanced.
    """
    with tempfile.TemporaryDirectory(prefix="samu-pairs-") as folder:
        output = Path(folder) / pair.map.name.removesuffix(".gz")
        task = MapTask(
            entry=Entry(id=pair.name, source=str(pair.map.absolute()), kind="file"),
            options=options,
            output=output,
            receipt=output.with_suffix(".json"),
        )
        report = enhance_map(task, engine)
        if not report.done:
            raise RuntimeError(f"{pair.name}: {report.kind}: {report.message}")
        after = figures_of(output, pair, cache=cache, sharpen=False)
    return Row(pair, before=figures_of(pair.map, pair, cache=cache, sharpen=True), after=after)


def figures_of(map_path: Path, pair: RealPair, *, cache: Path, sharpen: bool) -> Figures:
    """Return the figures of a map against the model of a pair, from the cache where they are known."""
    code = [inspect.getsource(module) for module in (_cctbx, _pair_figures)]
    asked = [sha256_of(map_path), sha256_of(pair.model), pair.resolution, sharpen, *code]
    kept = cache / (hashlib.sha256(json.dumps(asked).encode()).hexdigest() + ".json")
    if kept.exists():
        known: Figures = json.loads(kept.read_text())
        return known
    with tempfile.TemporaryDirectory(prefix="samu-pairs-") as scratch:
        job = write_job(map_path, pair.model, Path(scratch))
        worker = [sys.executable, "-m", _pair_figures.__name__]
        figures = ask(worker, {**job, "resolution": pair.resolution, "sharpen": sharpen})
    with writing_aside(kept) as partial:
        partial.write_text(json.dumps(figures))
    return figures


def judge_all(pairs: Sequence[RealPair], *, model: str, engine: str, jobs: int, cache: Path) -> list[Row]:
    """Judge pairs side by side, each job with its own engine."""
    threads = max(1, cores() // jobs)
    options = MapOptions(model=model, engine=engine, threads=threads)
    engines: queue.SimpleQueue[Engine] = queue.SimpleQueue()
    for _ in range(jobs):
        engines.put(load_engine(model, engine=engine, threads=threads))

    def one(pair: RealPair) -> Row:
        mine = engines.get()
        try:
            return judge(pair, mine, options=options, cache=cache)
        finally:
            engines.put(mine)

    with ThreadPoolExecutor(jobs) as pool:
        rows = list(pool.map(one, pairs))
    return sorted(rows, key=lambda row: row.pair.name)


def table(rows: Sequence[Row]) -> str:
    """Return the figures as a markdown table, one row per map, before -> after."""
    titles = [title for title, _, _ in METRICS.values()]
    lines = [f"| map | A | {' | '.join(titles)} | best B: CC_mask | best B: CC_box |", "|---" * (4 + len(titles)) + "|"]
    for row in rows:
        cells = [_change(row.before[name], row.after[name], METRICS[name][1]) for name in METRICS]
        best = [row.before[f"best_b_{name}"] for name in ("cc_mask", "cc_box")]
        cells += [f"{found['cc']:.3f} ({found['b']})" for found in best]
        lines.append(f"| {row.pair.name} | {row.pair.resolution} | {' | '.join(cells)} |")
    before, after = [row.before for row in rows], [row.after for row in rows]
    means = [
        _change(_mean(of[name] for of in before), _mean(of[name] for of in after), METRICS[name][1]) for name in METRICS
    ]
    means += [f"{_mean(row.before[f'best_b_{name}']['cc'] for row in rows):.3f}" for name in ("cc_mask", "cc_box")]
    return "\n".join([*lines, f"| mean | | {' | '.join(means)} |"])


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return, for each metric, the mean gain, the worst, and on how many maps and entries it is better."""
    found = {}
    for metric in METRICS:
        gains = {row.pair.name: row.gain(metric) for row in rows}
        entries: dict[str, list[float]] = {}
        for row in rows:
            entries.setdefault(row.pair.entry, []).append(row.gain(metric))
        by_entry = {entry: _mean(values) for entry, values in entries.items()}
        worst = min(gains, key=lambda name: gains[name])
        found[metric] = {
            "mean_gain": _mean(gains.values()),
            "worst": [worst, gains[worst]],
            "better_maps": [sum(gain > 0 for gain in gains.values()), len(gains)],
            "better_entries": [sum(gain > 0 for gain in by_entry.values()), len(by_entry)],
        }
    for metric in ("cc_mask", "cc_box"):
        above = sum(row.after[metric] > row.before[f"best_b_{metric}"]["cc"] for row in rows)
        found[metric]["above_best_b"] = [above, len(rows)]
    return found


def _spell(summary_of: dict[str, Any]) -> str:
    lines = []
    for metric, found in summary_of.items():
        title, decimals, sign = METRICS[metric]
        (worst, gain), maps, entries = found["worst"], found["better_maps"], found["better_entries"]
        line = f"{title}: mean {sign * found['mean_gain']:+.{decimals + 1}f},"
        line += f" better on {maps[0]} of {maps[1]} maps, {entries[0]} of {entries[1]} entries,"
        line += f" worst {sign * gain:+.{decimals + 1}f} ({worst})"
        if "above_best_b" in found:
            line += f"; above the best B on {found['above_best_b'][0]} of {found['above_best_b'][1]}"
        lines.append(line)
    return "\n".join(lines)


def _change(before: float | None, after: float | None, decimals: int) -> str:
    return " -> ".join("-" if value is None else f"{value:.{decimals}f}" for value in (before, after))


def _mean(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None and value == value]
    return sum(known) / len(known) if known else float("nan")


def main() -> None:
    """Run the judge from the command line."""
    parser = argparse.ArgumentParser(prog="python -m samu_training.pairs", description="Judge a model on real pairs.")
    parser.add_argument("--model", default="samu-lite", help="name, or path of a sidecar or ONNX file")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="maps whose name has WORD")
    parser.add_argument("--jobs", type=int, default=2, help="maps at a time")
    parser.add_argument("--cache", type=Path, default=default_cache() / "pairs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    if not os.environ.get("SAMU_DATA"):
        parser.error("SAMU_DATA does not name a folder of real maps")
    began = time.perf_counter()
    pairs = read_pairs(Path(os.environ["SAMU_DATA"]), only=chosen.only)
    if not pairs:
        parser.error("no pair is left")
    rows = judge_all(pairs, model=chosen.model, engine=chosen.engine, jobs=chosen.jobs, cache=chosen.cache)
    seconds = time.perf_counter() - began
    if chosen.json:
        listed = [
            {"map": row.pair.name, "entry": row.pair.entry, "before": row.before, "after": row.after} for row in rows
        ]
        print(json.dumps({"model": chosen.model, "pairs": listed, "summary": summary(rows), "seconds": seconds}))
        return
    print(table(rows))
    print()
    print(_spell(summary(rows)))
    print(f"{len(rows)} maps, {seconds:.0f} s")


if __name__ == "__main__":
    main()
