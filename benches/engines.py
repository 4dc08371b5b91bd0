"""CPU engines, each in a process of its own: time and memory of a cube; and a whole map against its engine's time.

``python benches/engines.py``; the environment may set SAMU_MODEL (samu-lite), SAMU_BENCH_THREADS (1),
SAMU_BENCH_CUBES (8) and SAMU_BENCH_EDGE, the map's in voxels (150; 0 for no map). CPU seconds are what counts, since
wall time depends on who else uses the machine; with several threads an engine that spins while it waits looks worse.
Needs torch; openvino-bf16 where the processor computes in it.
"""

import dataclasses
import os
import time
from pathlib import Path

import numpy as np
from measure import Cost, best, main, missing

MODEL = os.environ.get("SAMU_MODEL", "samu-lite")
THREADS = int(os.environ.get("SAMU_BENCH_THREADS", "1"))
CUBES = int(os.environ.get("SAMU_BENCH_CUBES", "8"))
EDGE = int(os.environ.get("SAMU_BENCH_EDGE", "150"))
RUNS = 3
BF16 = "openvino-bf16"
ENGINES = {name: f"{name}_cubes" for name in ("torch", "onnxruntime", "openvino", BF16)}


def _loaded(name):
    """Load an engine, unchecked so that one that would be refused is timed too, and warm it up."""
    from samu_batch.engine import load_engine
    from samu_batch.model import ModelSpec

    spec = dataclasses.replace(ModelSpec.load(MODEL), golden=None)
    if name == "torch":
        from samu_engines.torch_cpu import TorchEngine

        engine = TorchEngine(spec, device="cpu", threads=THREADS)
    else:
        engine = load_engine(spec, engine=name, threads=THREADS)
    engine.run(np.zeros((1, 1, spec.cube, spec.cube, spec.cube), np.float32))
    return engine


def _cubes(name):
    def case(_):
        engine = _loaded(name)
        cubes = np.random.default_rng(0).random((CUBES, 1, 1, *(engine.spec.cube,) * 3), dtype=np.float32)
        return lambda: [engine.run(cube) for cube in cubes]

    return case


def a_map(folder):
    """Enhance a whole map, every cube of which holds density."""
    from samu_batch.enhance import enhance_map
    from samu_batch.entries import Entry
    from samu_batch.task import MapOptions, MapTask

    engine = _loaded("openvino")
    task = MapTask(
        entry=Entry(id="map", source=str(folder / "map.mrc"), kind="file"),
        options=MapOptions(model=MODEL, engine="openvino", scratch=folder, threads=THREADS),
        output=folder / "out.mrc",
        receipt=folder / "out.json",
    )

    def work():
        report = enhance_map(task, engine)
        assert report.done, report.message
        assert (report.cubes, report.cubes_skipped) == (_cubes_of_map(), 0)

    return work


def the_engine_alone(_):
    """Send the same number of cubes through the engine's stream."""
    engine = _loaded("openvino")
    cube = np.random.default_rng(0).random((1, 1, *(engine.spec.cube,) * 3), dtype=np.float32)
    return lambda: [None for _ in engine.stream(cube for _ in range(_cubes_of_map()))]


def _cubes_of_map():
    from samu_batch.model import ModelSpec

    return len(ModelSpec.load(MODEL).grid((EDGE,) * 3))


def _write_map(folder):
    import mrcfile

    with mrcfile.new(folder / "map.mrc") as mrc:
        mrc.set_data(np.random.default_rng(0).random((EDGE,) * 3, dtype=np.float32))
        mrc.voxel_size = 1.0


def report(folder: Path) -> None:
    if missing("torch", "openvino", "onnxruntime"):
        return
    print(f"{MODEL}, {THREADS} threads, batch 1, the best of {RUNS} processes; {time.strftime('%Y-%m-%d')}")
    able = {name: case for name, case in ENGINES.items() if name != BF16 or _computes_in_bfloat16()}
    costs = {name: best(case, folder, runs=RUNS) for name, case in able.items()}
    for name, cost in costs.items():
        _print_engine(name, cost, costs["torch"])
    if EDGE:
        _report_map(folder)


def _computes_in_bfloat16() -> bool:
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _report_map(folder: Path) -> None:
    _write_map(folder)
    whole, alone = (best(case, folder, runs=RUNS) for case in ("a_map", "the_engine_alone"))
    ratio = whole.cpu / alone.cpu
    print(f"a map of {EDGE}^3 ({_cubes_of_map()} cubes), openvino: {whole}")
    print(f"    its engine alone: {alone}")
    verdict = "met" if ratio <= 1.05 else "MISSED"
    print(f"    {ratio:.3f} of its CPU time (target 1.05: {verdict}), {whole.wall / alone.wall:.3f} of its wall time")


def _print_engine(name: str, cost: Cost, reference: Cost) -> None:
    print(f"{name}: {cost.cpu / CUBES:.2f} CPU-s a cube, {CUBES / cost.wall:.2f} cubes/s, {cost.peak / 1e6:.0f} MB")
    faster, memory = reference.cpu / cost.cpu, cost.peak / reference.peak
    print(f"    {faster:.2f} times as fast as torch by CPU time, {memory:.2f} of its memory")


if __name__ == "__main__":
    cases = {case: _cubes(name) for name, case in ENGINES.items()}
    main(cases | {case.__name__: case for case in (a_map, the_engine_alone)}, report)
