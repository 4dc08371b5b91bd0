"""The frozen benchmark of quality: what models make of maps that nobody trained on.

::

    python -m samu_training.benchmark                                 the models that are installed
    python -m samu_training.benchmark --model run/samu-lite.onnx      any others: names, or sidecars or ONNX files
    python -m samu_training.benchmark --json                          every figure of every map, as JSON

SAMU_DATA names the folder of real maps and structures. Two sets are judged, each as deposited, after the best global B
factor (found per map against the model: an upper bound of that method), and enhanced by each model:

- simulated: the maps of ``testset.csv`` (:mod:`samu_training.testset`), 4 to 8 A, of structures never trained on, and
  made by other code than the maps that are trained on. Maps are compared with the 2 A target density (equation 1) on
  the model's grid of 1 A (:mod:`samu_training.fidelity`);
- real: the pairs of :mod:`samu_training.pairs`, by phenix's own code. Needs ``pip install 'samu-batch[evaluate]'``.
  Entries that a model was trained on are judged by siblings of it that were not: ``--held-out``.

The gates at the end are those that a model has to pass; the last one is that of :mod:`samu_training.hallucination`.
Test maps (about 300 MB) and figures are kept in ``--cache``.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import inspect
import json
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import mrcfile

from samu_batch.engine import load_engine
from samu_batch.enhance import enhance_map
from samu_batch.entries import Entry
from samu_batch.files import writing_aside
from samu_batch.locate import default_cache
from samu_batch.machine import cores
from samu_batch.model import IDENTITY, model_names
from samu_batch.task import MapOptions, MapTask
from samu_training import density, fidelity
from samu_training._benchmark_table import empty_gate, gates, real_table, simulated_table
from samu_training.hallucination import trials
from samu_training.pairs import add_held_out, judge_all, read_held_out, read_pairs
from samu_training.testset import FrozenMap, make_map, read_testset

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from samu_batch.engine import Engine

Figures = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Figures of one simulated map: ``deposited``, ``best_b``, and by model."""

    frozen: FrozenMap
    deposited: Figures
    best_b: Figures
    models: dict[str, Figures]


def judge_simulated(frozen: FrozenMap, *, models: Sequence[str], data: Path, cache: Path, threads: int) -> Judged:
    """Make a map of the test set, and hold it and what each model makes of it against its target."""
    path, positions, numbers = make_map(frozen, data, cache / "maps")
    code = [inspect.getsource(module) for module in (fidelity, density)]

    def figures(model: str) -> dict[str, Figures]:
        engine = _engine(model, threads)
        asked = json.dumps([frozen.digest, engine.spec.sha256, *code])
        kept = cache / "figures" / (hashlib.sha256(asked.encode()).hexdigest() + ".json")
        if not kept.exists():
            enhanced, spacing = enhanced_map(path, model, engine)
            truth = fidelity.Truth.of(positions, numbers, shape=enhanced.shape, spacing=spacing)
            found = {"as_it_is": fidelity.figures(enhanced, truth)}
            if model == IDENTITY:
                found["best_b"] = fidelity.best_global_b(enhanced, truth, resolution=frozen.resolution)
            with writing_aside(kept) as partial:
                partial.write_text(json.dumps(found))
        known: dict[str, Figures] = json.loads(kept.read_text())
        return known

    deposited = figures(IDENTITY)
    after = {model: figures(model)["as_it_is"] for model in models}
    return Judged(frozen=frozen, deposited=deposited["as_it_is"], best_b=deposited["best_b"], models=after)


@functools.lru_cache
def _engine(model: str, threads: int) -> Engine:
    return load_engine(model, threads=threads)


def enhanced_map(path: Path, model: str, engine: Engine) -> tuple[NDArray[np.float32], float]:
    """Return the map that an engine makes, on the model's grid, and its spacing in angstrom."""
    with tempfile.TemporaryDirectory(prefix="samu-benchmark-") as folder:
        output = Path(folder) / "enhanced.mrc"
        entry = Entry(id=path.stem, source=str(path.absolute()), kind="file")
        options = MapOptions(model=model, grid="model")
        task = MapTask(entry=entry, options=options, output=output, receipt=output.with_suffix(".json"))
        report = enhance_map(task, engine)
        if not report.done:
            raise RuntimeError(f"{path}: {report.kind}: {report.message}")
        with mrcfile.open(output) as held:
            return held.data.copy(), round(float(held.voxel_size.x), 4)


def judge_all_simulated(
    maps: Sequence[FrozenMap], *, models: Sequence[str], data: Path, cache: Path, jobs: int
) -> list[Judged]:
    """Judge maps side by side in processes of their own, the largest structures first."""
    judge = functools.partial(judge_simulated, models=models, data=data, cache=cache, threads=max(1, cores() // jobs))
    largest_first = sorted(maps, key=lambda frozen: (data / frozen.structure).stat().st_size, reverse=True)
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        judged = list(pool.map(judge, largest_first))
    return sorted(judged, key=lambda one: one.frozen.name)


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m samu_training.benchmark", description="Judge models.")
    parser.add_argument("--model", action="append", help="name, or path of a sidecar or ONNX file; may be repeated")
    parser.add_argument("--jobs", type=int, default=2, help="maps at a time")
    add_held_out(parser)
    parser.add_argument("--cache", type=Path, default=default_cache() / "benchmark")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    if not os.environ.get("SAMU_DATA"):
        parser.error("SAMU_DATA does not name a folder of real maps and structures")
    data, began = Path(os.environ["SAMU_DATA"]), time.perf_counter()
    models = [str(Path(model).absolute()) if Path(model).exists() else model for model in chosen.model or model_names()]
    pairs = read_pairs(data)
    siblings = read_held_out(chosen.held_out, pairs, parser)
    simulated = judge_all_simulated(read_testset(), models=models, data=data, cache=chosen.cache, jobs=chosen.jobs)
    threads = max(1, cores() // chosen.jobs)
    judge = functools.partial(judge_all, pairs, jobs=chosen.jobs, cache=default_cache() / "pairs", siblings=siblings)
    real = {model: judge(options=MapOptions(model=model, threads=threads)) for model in models}
    judged = {
        model: [*gates(model, simulated, real[model]), empty_gate(trials(load_engine(model)))] for model in models
    }
    if chosen.json:
        found = {
            "simulated": [asdict(one) for one in simulated],
            "real": {model: [asdict(row) for row in rows] for model, rows in real.items()},
            "gates": {model: [asdict(gate) for gate in passed] for model, passed in judged.items()},
            "seconds": time.perf_counter() - began,
        }
        print(json.dumps(found, default=str))
        return
    print(simulated_table(simulated))
    print()
    print(real_table(real))
    for model, passed in judged.items():
        print(f"\n{model}:")
        for gate in passed:
            print(f"- {'yes' if gate.passed else 'NO '} {gate.asked}: {gate.found}")
    print(f"\n{len(simulated)} simulated maps, {len(pairs)} real ones, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
