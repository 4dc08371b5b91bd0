"""Sums over 262,144 voxels keep their digits: in group norms on the CPU engines, and in the network's attention."""

import hashlib
import json
import shutil

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper

from samu_batch.engine import load_engine

GROUPS, CHANNELS, EDGE = 32, 64, 64
MEAN_OVER_DEVIATION = 100


@pytest.fixture(scope="module")
def far_from_zero(tmp_path_factory):
    """A model whose group norms see voxels with a mean of 100 deviations, and what float64 makes of `cubes`.

    The first convolution makes the channels `gain * cube + offset`; the last adds the normalised ones up.
    """
    rng = np.random.default_rng(0)
    scales, biases, sums = (rng.uniform(0.5, 1, CHANNELS).astype(np.float16) for _ in range(3))
    # With these numbers the channels are exact in float32: all that is lost is lost in the norm.
    gains = rng.choice([0.5, 1], CHANNELS).astype(np.float16)
    # The two channels of a group have the same offset: what differs between them must not hide their deviation.
    offsets = np.repeat(rng.uniform(0.5, 1, GROUPS), CHANNELS // GROUPS) * MEAN_OVER_DEVIATION
    offsets = (np.round(offsets * 8) / 8).astype(np.float16)
    weights = {
        "gains": gains.reshape(-1, 1, 1, 1, 1),
        "offsets": offsets,
        "scales": scales,
        "biases": biases,
        "sums": sums.reshape(1, -1, 1, 1, 1),
    }
    nodes = [helper.make_node("Cast", [name], [f"{name}.32"], name=name, to=TensorProto.FLOAT) for name in weights]
    nodes += [
        helper.make_node("Conv", ["cubes", "gains.32", "offsets.32"], ["channels"], name="spread", pads=[0] * 6),
        helper.make_node(
            "GroupNormalization", ["channels", "scales.32", "biases.32"], ["normal"], name="norm", num_groups=GROUPS
        ),
        helper.make_node("Conv", ["normal", "sums.32"], ["enhanced"], name="gather", pads=[0] * 6),
    ]
    shape = ["N", 1, EDGE, EDGE, EDGE]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("cubes", "enhanced")]
    initialisers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "far", values[:1], values[1:], initialisers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    file = tmp_path_factory.mktemp("model") / "far.onnx"
    onnx.save(model, file)
    cubes = (np.round(1024 * rng.random((1, 1, EDGE, EDGE, EDGE)) ** 4) / 1024).astype(np.float32)
    channels = gains.astype(np.float32).reshape(-1, 1) * cubes.reshape(1, -1) + offsets.astype(np.float32)[:, None]
    groups = channels.astype(np.float64).reshape(GROUPS, -1)
    normal = (groups - groups.mean(1, keepdims=True)) / np.sqrt(groups.var(1, keepdims=True) + 1e-5)
    scaled = normal.reshape(CHANNELS, -1) * scales.astype(np.float64)[:, None] + biases.astype(np.float64)[:, None]
    return file, cubes, (sums.astype(np.float64) @ scaled).reshape(cubes.shape)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_group_norm_far_from_zero_keeps_its_digits(tmp_path, make_model, far_from_zero, name):
    pytest.importorskip(name)
    file, cubes, expected = far_from_zero
    sidecar, _ = make_model(tmp_path)
    values = json.loads(sidecar.read_text())
    values |= {"cube": EDGE, "core": 50, "weights_sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    sidecar.write_text(json.dumps(values))
    shutil.copy(file, sidecar.with_name(values["file"]))
    enhanced = load_engine(str(sidecar), engine=name, threads=1).run(cubes)
    assert np.sqrt(np.mean((enhanced - expected) ** 2) / np.mean(expected**2)) < 2e-4


def test_the_attention_keeps_its_digits_where_most_voxels_are_alike():
    torch = pytest.importorskip("torch")
    from samu_engines.blocks import LinearAttention

    torch.manual_seed(0)
    attention = LinearAttention(32).eval()
    features = torch.full((1, 32, 64, 64, 64), 0.25) + torch.arange(32).reshape(1, -1, 1, 1, 1) / 32
    features[..., 20:40, 20:40, 20:40] += torch.randn(1, 32, 20, 20, 20)

    with torch.inference_mode():
        found = _context_of(attention, features)
        expected = _context_of(attention.double(), features.double())
    assert ((found - expected).norm() / expected.norm()).item() < 5e-5  # with torch.softmax: 1.5e-4


def _context_of(attention, features):
    """Return what the attention makes, before its last norm hides an error that all voxels share."""
    import torch

    attention.out, out = torch.nn.Identity(), attention.out
    try:
        return attention(features)
    finally:
        attention.out = out
