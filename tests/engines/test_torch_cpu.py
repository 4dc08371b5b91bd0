"""The reference engine is the network that was exported, and the CPU engines agree with it."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from samu_batch.engine import load_engine
from samu_batch.model import ModelSpec
from samu_engines import torch_cpu
from samu_engines.network import CONFIGS, Network, NetworkConfig
from samu_engines.torch_cpu import TorchEngine, read_network
from samu_training.export import export_model

SMALL = {
    "samu-lite": NetworkConfig(
        patch=2, widths=(8, 16), blocks=1, norm="voxel", early_upsampling=True, linear_path=True, gate=(4, 8)
    ),
    "samu": NetworkConfig(patch=4, widths=(32, 64), blocks=1, attention_levels=(0,), structure_channels=16),
}
"""The two kinds of network, small."""


@pytest.fixture(scope="module", params=SMALL)
def exported(request, tmp_path_factory):
    """The name, the network and its model, untrained: parameters that are alike, and that no output depends on."""
    torch.manual_seed(0)
    network = Network(SMALL[request.param]).eval()
    if request.param == "samu-lite":
        torch.nn.init.normal_(network.linear.weight, std=0.05)
    sidecar = export_model(network, tmp_path_factory.mktemp("model"), name=request.param, card={})
    return request.param, network, ModelSpec.load(sidecar)


@pytest.fixture
def known(monkeypatch):
    monkeypatch.setattr(torch_cpu, "CONFIGS", SMALL)


@pytest.mark.usefixtures("known")
def test_the_weights_come_back_rounded_to_float16(exported):
    name, network, spec = exported
    read = read_network(spec.weights, name)
    for key, weights in network.named_parameters():
        if not key.startswith("middle.structure."):
            assert torch.equal(read.get_parameter(key), weights.half().float()), key


@pytest.mark.usefixtures("known")
def test_the_reference_answers_the_golden_cube(exported):
    _, _, spec = exported
    assert spec.golden is not None
    engine = TorchEngine(spec, device=None, threads=1)
    found = spec.golden.check(engine.run, cube=spec.cube)
    assert max(found) < 1e-5
    assert found == spec.golden.check(lambda cubes: next(engine.stream([cubes])), cube=spec.cube)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@pytest.mark.usefixtures("known")
def test_a_cpu_engine_agrees_with_the_reference(exported, engine):
    pytest.importorskip(engine)
    _, _, spec = exported
    cubes = np.random.default_rng(3).random((2, 1, 64, 64, 64), dtype=np.float32)
    expected = TorchEngine(spec, device=None, threads=1).run(cubes)
    enhanced = load_engine(spec, engine=engine, threads=1).run(cubes)
    assert np.sqrt(np.mean((enhanced - expected) ** 2) / np.mean(expected**2)) < 3e-3


def test_another_network_is_refused(exported, monkeypatch):
    name, _, spec = exported
    other = next(key for key in SMALL if key != name)
    monkeypatch.setattr(torch_cpu, "CONFIGS", {name: SMALL[other]})
    with pytest.raises(ValueError, match=r"does not hold|holds another"):
        read_network(spec.weights, name)
    monkeypatch.setattr(torch_cpu, "CONFIGS", {"other": CONFIGS["samu"]})
    with pytest.raises(ValueError, match="none of the networks known here"):
        TorchEngine(spec, device=None, threads=1)
