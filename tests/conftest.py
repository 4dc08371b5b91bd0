"""Maps that the tests make themselves, and the real ones where they are at hand."""

import functools
import hashlib
import json
import os
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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

    def make(
        folder,
        *,
        name="tiny",
        cube=16,
        core=10,
        padding=None,
        spacing=1.0,
        percentile=99.9,
        bias=0.0,
        poison=False,
        seed=0,
    ):
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
        onnx.save(_network(onnx, weights, poison=poison, cube=cube), file)
        sidecar = folder / f"{name}.json"
        values = {"format": 1, "name": name, "file": file.name, "cube": cube, "core": core, "spacing": spacing}
        values["weights_sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
        values["normalisation"] = percentile and {"percentile": percentile}
        values |= {} if padding is None else {"padding": padding}
        sidecar.write_text(json.dumps(values))
        return sidecar, functools.partial(_reference, weights)

    return make


def _network(onnx, weights, *, poison, cube):
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
    shape = ["batch", 1, cube, cube, cube]
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


DATE = "Wed, 01 Jan 2025 00:00:00 GMT"


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files` as `server.manner` says, which changes with each request of a path."""

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body):
        files, path = self.server.files, self.path.lstrip("/")
        self.server.asked.append((path, self.headers.get("Range"), self.headers.get("If-Range")))
        number = self.server.counts[path]
        self.server.counts[path] += 1
        manner = self.server.manner(path, number)
        if isinstance(manner, tuple):
            status, headers = manner
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path not in files:
            self.send_error(404)
        elif self.headers.get("If-Modified-Since") == manner.get("date", DATE):
            self.send_response(304)
            self.end_headers()
        else:
            self.send_file(files[path], manner, body=body)

    def send_file(self, content, manner, *, body):
        etag = manner.get("etag", f'"{hashlib.sha256(content).hexdigest()[:8]}"')
        span = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(span[1]) if span and self.headers.get("If-Range") == etag and not manner.get("no ranges") else 0
        if begin and begin >= len(content):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header(
                "Content-Range", f"bytes {begin + manner.get('wrong range', 0)}-{len(content) - 1}/{len(content)}"
            )
        self.send_header("ETag", etag)
        self.send_header("Last-Modified", manner.get("date", DATE))
        if not manner.get("no length"):
            self.send_header("Content-Length", str(len(content) - begin + manner.get("lie", 0)))
        self.end_headers()
        if body:
            self.wfile.write(content[begin : manner.get("cut")])
            if manner.get("stall"):
                self.wfile.flush()
                self.server.released.wait(10)
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    """A server with `files` by path, `manner(path, number of request)` and the list of what was `asked`."""
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.files, httpd.manner = {}, lambda path, number: {}
    httpd.asked, httpd.counts, httpd.released = [], Counter(), threading.Event()
    httpd.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield httpd
    httpd.released.set()
    httpd.shutdown()
    thread.join()
    httpd.server_close()
