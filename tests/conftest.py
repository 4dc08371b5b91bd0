"""Maps that the tests make themselves, and the real ones where they are at hand."""

import functools
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from mrcfile.dtypes import HEADER_DTYPE

MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}


def map_bytes(
    voxels,
    *,
    spacing=(1.0, 1.0, 1.0),
    axes=(0, 1, 2),
    nstart=(0, 0, 0),
    origin=(0.0, 0.0, 0.0),
    sampling=None,
    mode=2,
    order="<",
    extended=b"",
    labels=("made by a test",),
    **words,
):
    """Return the bytes of a map.

    `voxels`, `spacing`, `nstart`, `origin` and `sampling` (grid intervals of the cell, the shape by default) are ZYX;
    `axes[i]` is the ZYX axis of file dimension i (sections, rows, columns); `words` replace fields of the header.
    """
    stored = np.ascontiguousarray(np.transpose(voxels, axes)).astype(order + MODES.get(mode, "f4"))
    sampling = sampling or voxels.shape
    header = np.zeros((), dtype=HEADER_DTYPE.newbyteorder(order))
    fields = {
        **dict(zip(("nz", "ny", "nx"), stored.shape, strict=True)),
        **dict(zip(("nzstart", "nystart", "nxstart"), (nstart[axis] for axis in axes), strict=True)),
        **dict(zip(("mz", "my", "mx"), sampling, strict=True)),
        **dict(zip(("maps", "mapr", "mapc"), (3 - axis for axis in axes), strict=True)),
        "mode": mode,
        "cella": tuple(n * s for n, s in zip(sampling, spacing, strict=True))[::-1],
        "cellb": (90, 90, 90),
        "dmin": stored.min(),
        "dmax": stored.max(),
        "dmean": stored.mean(dtype=np.float64),
        "ispg": 1,
        "nsymbt": len(extended),
        "exttyp": b"CCP4" if extended else b"",
        "nversion": 20141,
        "origin": tuple(origin)[::-1],
        "map": b"MAP ",
        "machst": (0x44, 0x44, 0, 0) if order == "<" else (0x11, 0x11, 0, 0),
        "rms": stored.std(dtype=np.float64),
        "nlabl": len(labels),
    }
    for name, value in (fields | words).items():
        header[name] = value
    for number, label in enumerate(labels):
        header["label"][number] = label.encode().ljust(80)
    return header.tobytes() + extended + stored.tobytes()


@pytest.fixture(scope="session")
def make_map():
    """`make_map(path, voxels, **options of map_bytes)` writes a map and returns its path."""

    def make(path, voxels, **options):
        path = Path(path)
        path.write_bytes(map_bytes(voxels, **options))
        return path

    return make


@pytest.fixture(scope="session")
def samu_data():
    """The folder of real maps and structures, which is no part of the repository."""
    folder = os.environ.get("SAMU_DATA")
    if not folder:
        pytest.skip("SAMU_DATA does not name a folder of real maps")
    return Path(folder)


@pytest.fixture(scope="session")
def make_model():
    """`make_model(folder, **options)` writes a two-layer network and its sidecar; returns the sidecar and `reference`.

    `reference(cubes)` computes the same on float32 (N, 1, D, H, W) with scipy. Weights are kept as float16, as shipped
    models keep them. With `bias` the network answers zeros with something else; with `poison` with NaN.
    """
    onnx = pytest.importorskip("onnx")

    def make(folder, *, name="tiny", cube=16, core=10, spacing=1.0, percentile=99.9, bias=0.0, poison=False, seed=0):
        rng = np.random.default_rng(seed)
        weights = {
            "first.weight": rng.normal(0, 0.2, (3, 1, 3, 3, 3)),
            "first.bias": rng.normal(0, 0.1, 3),
            "last.weight": rng.normal(0, 0.3, (1, 3, 3, 3, 3)),
            "last.bias": np.array([bias]),
        }
        weights = {key: value.astype(np.float16) for key, value in weights.items()}
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{name}.onnx"
        onnx.save(_network(onnx, weights, poison=poison), file)
        sidecar = folder / f"{name}.json"
        values = {"format": 1, "name": name, "file": file.name, "cube": cube, "core": core, "spacing": spacing}
        values["weights_sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
        values["normalisation"] = percentile and {"percentile": percentile}
        sidecar.write_text(json.dumps(values))
        return sidecar, functools.partial(_reference, weights)

    return make


def _network(onnx, weights, *, poison):
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node("Cast", [key], [f"{key}.f32"], to=float32) for key in weights]
    source = "cubes"
    for layer, target in (("first", "hidden"), ("last", "enhanced")):
        inputs = [source, f"{layer}.weight.f32", f"{layer}.bias.f32"]
        nodes.append(helper.make_node("Conv", inputs, [f"{layer}.out"], kernel_shape=[3] * 3, pads=[1] * 6))
        nodes.append(helper.make_node("Relu" if layer == "first" else "Identity", [f"{layer}.out"], [target]))
        source = target
    if poison:
        nodes[-1:] = [helper.make_node("Div", ["last.out", "nought"], ["enhanced"])]
    shape = ["batch", 1, "depth", "height", "width"]
    initialisers = [onnx.numpy_helper.from_array(value, key) for key, value in weights.items()]
    initialisers += [onnx.numpy_helper.from_array(np.zeros(1, np.float32), "nought")] if poison else []
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("cubes", float32, shape)],
        [helper.make_tensor_value_info("enhanced", float32, shape)],
        initialisers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def _reference(weights, cubes):
    from scipy.ndimage import correlate

    weights = {key: value.astype(np.float64) for key, value in weights.items()}

    def layer(channels, name):
        return [
            sum(correlate(channel, kernel, mode="constant") for channel, kernel in zip(channels, kernels, strict=True))
            + bias
            for kernels, bias in zip(weights[f"{name}.weight"], weights[f"{name}.bias"], strict=True)
        ]

    def network(cube):
        return layer([np.maximum(channel, 0) for channel in layer([cube], "first")], "last")

    return np.stack([network(cube[0].astype(np.float64)) for cube in cubes])
