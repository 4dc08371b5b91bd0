"""The judge of training: compares real maps with their models before and after enhancement.

::

    python -m samu_training.pairs                                   samu-lite, as installed
    python -m samu_training.pairs --model run/samu-lite.onnx        any model: its name, or its sidecar's or ONNX file
    python -m samu_training.pairs --model identity                  what resampling alone does
    python -m samu_training.pairs --grid model                      both maps on the model's grid of 1 A
    python -m samu_training.pairs --only 3j06 --only 5ly6 --json    some maps; everything as JSON
    python -m samu_training.pairs --held-out EMD-3240,EMD-5778=sibling.onnx    judge those entries by a sibling of the
                                                                    model, which was trained without them

SAMU_DATA names the folder of real maps, with its ``manifest.csv``. Taken are the pairs from 3.3 to 8 A whose model was
not docked by us and sits in the density (``pair_check`` neither weak nor failed), and whose resolution is known. Each
map is enhanced by samu-batch itself and written on its own grid, as users get it; where the voxel is larger than 1.5 A
that grid cannot hold a map at 3 A, and ``--grid model`` is the fairer one. For deposited and enhanced map alike:

- CC_mask, CC_box: with the model's map at 3 A and one B of 30 A^2, the same sharp reference before and after;
- FSC=0.5: where the masked FSC with the model first falls to 0.5, in A (smaller is better), with the model's own B
  factors and with the flat one; no radial scaling of the map, so no sharpening, changes it;
- CC_box own B: with the model's map at the reported resolution, B factors as deposited (see docs/evaluate.md);
- in the means and in JSON also CC_volume and CC_peaks, against both references;
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
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from samu_batch import _cctbx
from samu_batch.engine import load_engine
from samu_batch.enhance import enhance_map
from samu_batch.entries import Entry
from samu_batch.evaluate import ask, write_job
from samu_batch.files import sha256_of, writing_aside
from samu_batch.locate import default_cache
from samu_batch.machine import cores
from samu_batch.model import IDENTITY
from samu_batch.task import MapOptions, MapTask
from samu_training import _pair_figures
from samu_training._pair_table import Row, spelled, summary, table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from samu_batch.engine import Engine
    from samu_training._pair_table import Figures

RESOLUTIONS = 3.3, 8.0


@dataclass(frozen=True)
class RealPair:
    """A real map and its model, and the EMDB entry that they belong to."""

    name: str
    entry: str
    resolution: float
    map: Path
    model: Path


def read_pairs(data: Path, *, only: Sequence[str] = ()) -> list[RealPair]:
    """Return the pairs of a data folder that count, the largest map first."""
    with (data / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "map" and _counts(row)]
    pairs = [
        RealPair(
            name=Path(row["file"]).name.split(".")[0],
            entry=entry_of(row),
            resolution=float(row["resolution"]),
            map=data / row["file"],
            model=data / row["paired_with"],
        )
        for row in rows
    ]
    chosen = [pair for pair in pairs if not only or any(word in pair.name for word in only)]
    return sorted(chosen, key=lambda pair: pair.map.stat().st_size, reverse=True)


def entry_of(row: dict[str, str]) -> str:
    """Return which entry a row of the manifest belongs to."""
    return row["emdb_id"] or row["pdb_id"]


def is_paired(row: dict[str, str]) -> bool:
    """Whether a row's map has a model that was not docked by us and sits in the density."""
    docked = "docked" in row["paired_with"] + row["note"]
    return bool(row["paired_with"]) and not docked and row["pair_check"].startswith("pair")


def _counts(row: dict[str, str]) -> bool:
    low, high = RESOLUTIONS
    return is_paired(row) and bool(row["resolution"]) and low <= float(row["resolution"]) <= high


def judge(pair: RealPair, engine: Engine, *, options: MapOptions, cache: Path) -> Row:
    """Enhance the map of a pair, and compare both maps with the model.

    On the model's grid the deposited map is resampled too, by the identity engine.

    Raises
    ------
    RuntimeError
        The map could not be enhanced.
    """
    with tempfile.TemporaryDirectory(prefix="samu-pairs-") as folder:
        deposited = pair.map
        if options.grid == "model":
            deposited = _enhanced(pair, load_engine(IDENTITY), Path(folder) / "deposited.mrc", options=options)
        enhanced = Path(folder) / pair.map.name.removesuffix(".gz")
        _enhanced(pair, engine, enhanced, options=options)
        return Row(
            pair,
            before=figures_of(deposited, pair, cache=cache, sharpen=True),
            after=figures_of(enhanced, pair, cache=cache, sharpen=False),
        )


def _enhanced(pair: RealPair, engine: Engine, output: Path, *, options: MapOptions) -> Path:
    entry = Entry(id=pair.name, source=str(pair.map.absolute()), kind="file")
    task = MapTask(entry=entry, options=options, output=output, receipt=output.with_suffix(".json"))
    report = enhance_map(task, engine)
    if not report.done:
        raise RuntimeError(f"{pair.name}: {report.kind}: {report.message}")
    return output


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


def judge_all(
    pairs: Sequence[RealPair],
    *,
    options: MapOptions,
    jobs: int,
    cache: Path,
    siblings: Mapping[str, str] = MappingProxyType({}),
) -> list[Row]:
    """Judge pairs by a model, those of some entries by a sibling of it that was trained without them."""
    rows = []
    for model in dict.fromkeys([options.model, *siblings.values()]):
        own = [pair for pair in pairs if siblings.get(pair.entry, options.model) == model]
        if own:
            rows += _judge_side_by_side(own, options=replace(options, model=model), jobs=jobs, cache=cache)
    return sorted(rows, key=lambda row: row.pair.name)


def _judge_side_by_side(pairs: Sequence[RealPair], *, options: MapOptions, jobs: int, cache: Path) -> list[Row]:
    """Judge pairs by one model, each job with its own engine."""
    engines: queue.SimpleQueue[Engine] = queue.SimpleQueue()
    for _ in range(jobs):
        engines.put(load_engine(options.model, engine=options.engine, threads=options.threads))

    def one(pair: RealPair) -> Row:
        mine = engines.get()
        try:
            return judge(pair, mine, options=options, cache=cache)
        finally:
            engines.put(mine)

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, pairs))


def add_held_out(parser: argparse.ArgumentParser) -> None:
    """Add the option that names siblings."""
    words = "ENTRY[,ENTRY]=MODEL"
    parser.add_argument(
        "--held-out", action="append", default=[], metavar=words, help="judge these by a model trained without them"
    )


def read_held_out(words: Sequence[str], pairs: Sequence[RealPair], parser: argparse.ArgumentParser) -> dict[str, str]:
    """Return the model of each entry that was held out."""
    siblings: dict[str, str] = {}
    known = {pair.entry for pair in pairs}
    for word in words:
        entries, separator, model = word.partition("=")
        if not separator or not Path(model).exists() or not known.issuperset(entries.split(",")):
            parser.error(f"--held-out {word}: not ENTRY[,ENTRY]=MODEL with a file and entries of {sorted(known)}")
        siblings |= dict.fromkeys(entries.split(","), str(Path(model).absolute()))
    return siblings


def main() -> None:
    """Run the judge from the command line."""
    parser = argparse.ArgumentParser(prog="python -m samu_training.pairs", description="Judge a model on real pairs.")
    parser.add_argument("--model", default="samu-lite", help="name, or path of a sidecar or ONNX file")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--grid", choices=["input", "model"], default="input", help="compare on this grid")
    parser.add_argument("--only", action="append", default=[], metavar="WORD", help="maps whose name has WORD")
    parser.add_argument("--jobs", type=int, default=2, help="maps at a time")
    add_held_out(parser)
    parser.add_argument("--cache", type=Path, default=default_cache() / "pairs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    if not os.environ.get("SAMU_DATA"):
        parser.error("SAMU_DATA does not name a folder of real maps")
    began = time.perf_counter()
    pairs = read_pairs(Path(os.environ["SAMU_DATA"]), only=chosen.only)
    if not pairs:
        parser.error("no pair is left")
    threads = max(1, cores() // chosen.jobs)
    options = MapOptions(model=chosen.model, engine=chosen.engine, grid=chosen.grid, threads=threads)
    siblings = read_held_out(chosen.held_out, pairs, parser)
    rows = judge_all(pairs, options=options, jobs=chosen.jobs, cache=chosen.cache, siblings=siblings)
    seconds = time.perf_counter() - began
    if chosen.json:
        listed = [
            {"map": row.pair.name, "entry": row.pair.entry, "before": row.before, "after": row.after} for row in rows
        ]
        print(json.dumps({"model": chosen.model, "pairs": listed, "summary": summary(rows), "seconds": seconds}))
        return
    print(table(rows))
    print()
    print(spelled(summary(rows)))
    print(f"{len(rows)} maps, {seconds:.0f} s")


if __name__ == "__main__":
    main()
