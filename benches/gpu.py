"""What a GPU makes of the networks: cubes per second by each route, against what the GPU can do, and whole maps.

``python benches/gpu.py [--model NAME|SIDECAR] [--batch N] [--seconds S] [--edges 300 350 400 450 500]``
``python benches/gpu.py --device cpu --tiny`` runs the same script without a GPU, to know that it works.

1. The GPU's own limits: a product of half-precision matrices, and a copy of its memory.
2. Cubes per second: PyTorch as it is in float32 and in float16, `torch-cuda` with and without Triton, `tensorrt`; each
   with the share of the measured product that its network's operations come to (goal 40 %, floor 20 %).
3. A profile of the network that `torch-cuda` runs: what the rest of the time goes to.
4. Maps of noise, three in flight as in a worker, over the engine's time for as many cubes: at most 1.10 for a stream of
   five maps, at most 1.5 for the largest alone.

Never run on a GPU so far.
"""

import argparse
import dataclasses
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from time_against_volume import write_map
from torch.utils.flop_counter import FlopCounterMode

from samu_batch.batch import process_task
from samu_batch.engine import load_engine
from samu_batch.entries import Entry
from samu_batch.errors import EngineError
from samu_batch.model import ModelSpec
from samu_batch.process_engine import process_engine
from samu_batch.task import MapOptions, MapTask
from samu_engines import plain_norms
from samu_engines.batching import Halving
from samu_engines.lean import LeanNetwork
from samu_engines.network import CONFIGS, Network
from samu_engines.torch_cpu import read_network
from samu_engines.torch_cuda import norms_for
from samu_engines.torch_pipeline import CudaLanes, HostLanes, TorchPipeline

IN_FLIGHT = 3


def synchronize(device):
    if device == "cuda":
        torch.cuda.synchronize()


def rate(work, device, seconds):
    """Return how often a second some work is done, the median of five rounds after one that warms up."""
    work()
    synchronize(device)
    rates = []
    for _ in range(5):
        count, start = 0, time.perf_counter()
        while not count or time.perf_counter() - start < seconds / 5:
            work()
            synchronize(device)
            count += 1
        rates.append(count / (time.perf_counter() - start))
    return statistics.median(rates)


def limits(asked, dtype):
    """Return the operations a second of a matrix product, and the bytes a second of a copy, read and written."""
    size = 256 if asked.tiny else 8192
    left, right = (torch.randn(size, size, device=asked.device, dtype=dtype) for _ in range(2))
    products = rate(lambda: left @ right, asked.device, asked.seconds)
    source = torch.zeros((1 << 20) if asked.tiny else (1 << 28), device=asked.device)
    target = torch.empty_like(source)
    copies = rate(lambda: target.copy_(source), asked.device, asked.seconds)
    return 2 * size**3 * products, 2 * source.nbytes * copies


def operations(spec):
    """Return the operations of one cube, two for a multiplication with addition, without computing it."""
    network = Network(CONFIGS[spec.name]).to("meta").eval()
    counter = FlopCounterMode(display=False)
    with counter, torch.inference_mode():
        network(torch.zeros(1, 1, *(spec.cube,) * 3, device="meta"))
    return counter.get_total_flops()


def eager(spec, asked, dtype):
    """Return what runs the network as it is, with what a plain script does: copy there, compute, copy back."""
    network = read_network(spec.weights, spec.name).to(asked.device, dtype)

    def run(cubes):
        with torch.inference_mode():
            return network(torch.from_numpy(cubes).to(asked.device, dtype)).float().cpu().numpy()

    return lambda batches: map(run, batches)


def pipelined(spec, asked, dtype, norms):
    """Return what `torch-cuda` runs, on any device, at the asked batch."""
    network = LeanNetwork(read_network(spec.weights, spec.name), dtype=dtype, norms=norms).to(asked.device)
    lanes = HostLanes if asked.device == "cpu" else CudaLanes

    def prepare(batch):
        return TorchPipeline(network, lanes(), batch=batch, cube=spec.cube).stream

    return Halving(prepare, batch=asked.batch).stream


def cubes_per_second(stream, noise, asked):
    """Return how fast a route is on a stream of batches."""
    batches = [noise] * (1 if asked.tiny else 8)
    return len(batches) * len(noise) * rate(lambda: list(stream(batches)), asked.device, asked.seconds)


def report_routes(spec, asked, half):
    """Print cubes per second of each route."""
    peak, bandwidth = limits(asked, half)
    norms, _ = norms_for(asked.device)
    flops = operations(spec)
    print(f"{spec.name}: {flops / 1e9:.1f} GFLOP a cube; batch {asked.batch}")
    print(f"a matrix product in {half}: {peak / 1e12:.2f} TFLOP/s; a copy: {bandwidth / 1e9:.0f} GB/s\n")
    routes = {
        "torch eager, float32": lambda: eager(spec, asked, torch.float32),
        f"torch eager, {half}": lambda: eager(spec, asked, half),
        "torch-cuda": lambda: pipelined(spec, asked, half, norms),
        "torch-cuda, PyTorch's norms": lambda: pipelined(spec, asked, half, plain_norms),
        "tensorrt": lambda: load_engine(spec, engine="tensorrt", device=asked.device).stream,
    }
    noise = np.random.default_rng(0).random((asked.batch, 1, *(spec.cube,) * 3), dtype=np.float32)
    print("| route | cubes/s | over float32 | of the matrix product |\n|---|---|---|---|")
    first = None
    for name, load in routes.items():
        try:
            stream = load()
        except (EngineError, RuntimeError, MemoryError) as error:
            print(f"| {name} | {error} | | |")
            continue
        cubes = cubes_per_second(stream, noise, asked)
        del stream
        first = first or cubes
        print(f"| {name} | {cubes:.2f} | {cubes / first:.2f} | {cubes * flops / peak:.3f} |", flush=True)
        if asked.device == "cuda":
            torch.cuda.empty_cache()


def report_profile(spec, asked, half):
    """Print where the time of the network goes."""
    norms, _ = norms_for(asked.device)
    network = LeanNetwork(read_network(spec.weights, spec.name), dtype=half, norms=norms).to(asked.device)
    cubes = torch.rand(asked.batch, 1, *(spec.cube,) * 3, device=asked.device)
    with torch.inference_mode():
        network(cubes)
        with torch.profiler.profile() as profile:
            network(cubes)
            synchronize(asked.device)
    print(
        profile.key_averages().table(sort_by=f"self_{asked.device}_time_total", row_limit=12, max_name_column_width=50)
    )


def report_maps(asked, edges, most):
    """Print the time of maps, three in flight, over the engine's alone."""
    with tempfile.TemporaryDirectory(prefix="samu-gpu-") as place:
        folder = Path(place)
        options = MapOptions(
            model=asked.model, engine=asked.engine, device=asked.device, threads=asked.threads, scratch=folder
        )
        tasks = []
        for number, edge in enumerate(edges):
            write_map(folder / f"{number}.mrc", edge)
            entry = Entry(id=str(number), source=str(folder / f"{number}.mrc"), kind="file")
            output, receipt = folder / f"{number}_out.mrc", folder / f"{number}.json"
            tasks.append(MapTask(entry=entry, options=options, output=output, receipt=receipt))
        engine = process_engine(options)
        noise = np.random.default_rng(0).random((engine.batch, 1, *(engine.spec.cube,) * 3), dtype=np.float32)
        engine.run(noise)
        start = time.perf_counter()
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            reports = list(pool.map(process_task, tasks))
        whole = time.perf_counter() - start
    for report in reports:
        assert report.done, report.message
    cubes = sum(report.cubes - report.cubes_skipped for report in reports)
    start = time.perf_counter()
    for _ in engine.stream(noise for _ in range(-(-cubes // len(noise)))):
        pass
    alone = (time.perf_counter() - start) * cubes / (-(-cubes // len(noise)) * len(noise))
    verdict = "met" if whole / alone <= most else "MISSED"
    print(f"maps of {', '.join(map(str, edges))}: {cubes} cubes by {engine.describe()['name']}, {whole:.1f} s;")
    print(f"    {whole / alone:.3f} of its engine's time alone (target {most}: {verdict})", flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="samu-lite")
    parser.add_argument("--engine", default="auto", help="that maps are enhanced with")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small matrices, one batch: to try the script")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--seconds", type=float, help="given to each measurement")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--edges", type=int, nargs="+")
    asked = parser.parse_args()
    asked.batch = asked.batch or (1 if asked.tiny else 8)
    asked.seconds = asked.seconds or (0.1 if asked.tiny else 10.0)
    asked.edges = asked.edges or ([60, 80] if asked.tiny else [300, 350, 400, 450, 500])
    return asked


def main() -> None:
    asked = arguments()
    if asked.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(f"torch {torch.__version__} sees no GPU; --device cpu --tiny tries the script without one")
    spec = dataclasses.replace(ModelSpec.load(asked.model), golden=None)
    half = torch.float16 if asked.device == "cuda" else torch.float32
    print(f"{torch.cuda.get_device_name() if asked.device == 'cuda' else 'CPU'}, torch {torch.__version__}")
    report_routes(spec, asked, half)
    report_profile(spec, asked, half)
    report_maps(asked, asked.edges, 1.10)
    report_maps(asked, [max(asked.edges)], 1.5)


if __name__ == "__main__":
    main()
