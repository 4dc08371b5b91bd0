"""How far each CPU engine is from PyTorch float32 with the same weights: the table of docs/parity.md.

``python benches/parity.py MODEL [--map MAP] [--structure PDB --resolution A]``: relative rms and largest error, both
over the reference's rms, on the golden cube, on cubes of noise, and on a whole map (a simulated one unless MAP is
given; ``--map none`` for none). With the structure of the map also CC_box, which cctbx computes. Needs torch.

The variants of the ONNX file (samu_engines.variants) run in ONNX Runtime too. On a CPU it rounds to float16 between
operators and computes in float32: that measures what rounding costs, not a GPU's sums.
"""

import argparse
import dataclasses
import platform
import tempfile
import time
from pathlib import Path

import mrcfile
import numpy as np
import onnx

from samu_batch.engine import load_engine
from samu_batch.enhance import enhance_map
from samu_batch.entries import Entry
from samu_batch.errors import EngineError
from samu_batch.evaluate import evaluate_map
from samu_batch.files import sha256_of
from samu_batch.model import ModelSpec
from samu_batch.task import MapOptions, MapTask
from samu_engines.torch_cpu import TorchEngine
from samu_engines.variants import in_half_precision, in_old_opset, in_single_precision

ENGINES = ("openvino", "onnxruntime")
THREADS = 2
VARIANTS = {
    "float16": in_half_precision,
    "float16, opset 17": lambda model: in_old_opset(in_half_precision(model)),
    "float32, opset 17": lambda model: in_old_opset(in_single_precision(model)),
}
NOISE_CUBES = 2
"""Of noise: white, and white to the fourth power, which leaves the few bright voxels of a map."""
EDGE, BALLS = 128, 400


def errors(found, expected):
    """Return relative rms and largest error, over the rms of what is expected."""
    differences = found.astype(np.float64) - expected
    scale = np.sqrt(np.mean(np.square(expected, dtype=np.float64)))
    return np.sqrt(np.mean(differences**2)) / scale, np.abs(differences).max() / scale


def simulated_map(path):
    """Write a chain of ``BALLS`` densities, 3.8 A apart, in a box of ``EDGE`` voxels of 1 A."""
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(BALLS, 3))
    chain = np.cumsum(3.8 * steps / np.linalg.norm(steps, axis=1, keepdims=True), axis=0)
    chain += EDGE / 2 - chain.mean(axis=0)
    profiles = np.exp(-0.5 * ((np.arange(EDGE) - chain[..., None]) / 2.5) ** 2)
    density = np.einsum("az,ay,ax->zyx", *profiles.swapaxes(0, 1), optimize=True)
    with mrcfile.new(path) as mrc:
        mrc.set_data(density.astype(np.float32))
        mrc.voxel_size = 1.0
    return path


def whole_map(engine, path, folder):
    """Return the path of the enhanced map, with the cubes that were sent to the engine."""
    task = MapTask(
        entry=Entry(id="map", source=str(path), kind="file"),
        options=MapOptions(model=engine.spec.name, scratch=folder, threads=THREADS, grid="model"),
        output=folder / "out.mrc",
        receipt=folder / "out.json",
    )
    report = enhance_map(task, engine)
    assert report.done, report.message
    return task.output, report.cubes - report.cubes_skipped


def answers(engine, asked, folder):
    """Return what an engine makes of each input, by its name in the table, and CC_box where a structure is given."""
    cube = engine.spec.cube
    noise = np.random.default_rng(1).random((NOISE_CUBES, 1, cube, cube, cube), dtype=np.float32)
    noise[1] **= 4
    found = {}
    if golden := ModelSpec.load(asked.model).golden:
        found["golden cube"] = engine.run(golden.input(cube))
    found[f"{NOISE_CUBES} cubes of noise"] = np.concatenate([engine.run(each[None]) for each in noise])
    if asked.map is None:
        return found, None
    output, sent = whole_map(engine, asked.map, folder)
    voxels = mrcfile.read(output)
    found[f"{asked.map.name}, {' x '.join(map(str, voxels.shape))} voxels, {sent} cubes"] = voxels
    if asked.structure is None:
        return found, None
    return found, evaluate_map(output, asked.structure, resolution=asked.resolution).deposited["cc_box"]


def processor():
    """Return the processor's name, and the vector instructions that it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    facts = dict(reversed([[word.strip() for word in line.split(":", 1)] for line in lines if ":" in line]))
    vectors = [flag for flag in ("avx2", "avx512f", "amx_tile") if flag in facts.get("flags", "").split()]
    return f"{facts.get('model name', platform.processor())} ({', '.join(vectors)})"


def loaded(spec, name):
    """Load an engine without the check of the golden cube, so that what it would refuse is measured too."""
    return load_engine(dataclasses.replace(spec, golden=None), engine=name, threads=THREADS)


def varied(spec, derive, folder):
    """Return the spec of a variant of the model, written in ``folder``."""
    file = folder / "variant.onnx"
    onnx.save(derive(onnx.load(spec.weights)), file)
    return dataclasses.replace(spec, weights=file, weights_sha256=sha256_of(file))


def rows(name, spec, expected, asked, folder, *, note=""):
    """Return the rows of the table for one engine."""
    try:
        engine = loaded(spec, name)
    except EngineError as error:
        return [f"| {name} | {error} | | | |"]
    inputs, cc_box = answers(engine, asked, folder)
    lines = []
    for what, found in inputs.items():
        rms, largest = errors(found, expected[0][what])
        change = f"{cc_box - expected[1]:+.1e}" if cc_box is not None and asked.map.name in what else ""
        version = engine.describe()["version"].split("-")[0]
        lines.append(f"| {name} {version}{note} | {what} | {rms:.1e} | {largest:.1e} | {change} |")
    return lines


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--map", type=Path)
    parser.add_argument("--structure", type=Path)
    parser.add_argument("--resolution", type=float)
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    spec = ModelSpec.load(asked.model)
    with tempfile.TemporaryDirectory(prefix="samu-parity-") as place:
        folder = Path(place)
        if asked.map is None:
            asked.map = simulated_map(folder / "simulated.mrc")
        elif str(asked.map) == "none":
            asked.map = None
        reference = TorchEngine(spec, device="cpu", threads=THREADS)
        expected = answers(reference, asked, folder)
        print(f"{spec.name} ({spec.weights_sha256[:12]}), {time.strftime('%Y-%m-%d')}, {processor()}")
        print(f"against torch {reference.describe()['version']}\n")
        print("| engine | input | relative rms | largest error | change of CC_box |\n|---|---|---|---|---|")
        for name in ENGINES:
            print(*rows(name, spec, expected, asked, folder), sep="\n", flush=True)
        for note, derive in VARIANTS.items():
            variant = varied(spec, derive, folder)
            print(*rows("onnxruntime", variant, expected, asked, folder, note=f", {note}"), sep="\n", flush=True)


if __name__ == "__main__":
    main()
