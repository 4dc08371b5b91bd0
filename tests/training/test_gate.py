"""A gate is trained alone: what it is told, what it learns, and that nothing else of the network changes."""

import argparse
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from samu_batch.model import ModelSpec
from samu_engines.gate import Gate, passing
from samu_engines.network import SAMU_LITE
from samu_engines.torch_cpu import read_network, read_weights
from samu_training import gate as gate_module
from samu_training.gate import EDGE, SHIFT, far_share, gate_loss, train_gate, without_gate
from samu_training.shown import Shown

LONG = (EDGE + SHIFT, EDGE, EDGE)


def belted(rng):
    """Return source, enhanced and target of a map: a slab of molecule, and one of detergent beside it, less bright."""
    target, source = (np.zeros(LONG, np.float32) for _ in range(2))
    target[:, 20:44], source[:, 20:44] = 0.6, 0.8
    source[:, 52:76] = 0.4
    source *= rng.uniform(0.9, 1.1, LONG).astype(np.float32)
    return np.stack([source, source, target])


def asked(**others):
    model = ModelSpec.load("samu-lite").weights
    values = {"seed": 0, "steps": 1, "batch": 1, "rate": 0.01, "inside": 0.5, "told": 1.0, "agreement": 0.3}
    return argparse.Namespace(model=model, **(values | others))


def losses(gate, maps, **weights):
    cubes = [
        torch.from_numpy(np.stack([maps[channel, None, :EDGE], maps[channel, None, -EDGE:]])) for channel in (0, 1, 2)
    ]
    return gate_loss(gate, *cubes, **({"told": 0.0, "inside": 0.5, "agreement": 0.0} | weights)).item()


class Knowing(Gate):
    """A gate that says the same everywhere but in the detergent."""

    def __init__(self, *, molecule, detergent):
        super().__init__((2, 4))
        self.share = molecule, detergent

    def likely(self, enhanced, cubes):
        share = torch.full((len(enhanced), 1, *(n // 2 for n in enhanced.shape[2:])), self.share[0])
        share[:, :, :, 24:40] = self.share[1]
        return torch.logit(share)


def test_the_loss_falls_when_detergent_is_stopped_and_rises_when_the_molecule_is():
    maps = belted(np.random.default_rng(0))
    right, blind, wrong = (Knowing(molecule=a, detergent=b) for a, b in ((0.99, 0.01), (0.99, 0.99), (0.01, 0.99)))
    for weights in ({}, {"told": 1.0}):
        assert losses(right, maps, **weights) < losses(blind, maps, **weights) < losses(wrong, maps, **weights)


def test_a_point_counts_by_what_comes_out_there():
    maps = belted(np.random.default_rng(0))
    maps[1, :, 48:80] = 0  # nothing comes out of the detergent
    right, blind = (Knowing(molecule=0.99, detergent=detergent) for detergent in (0.01, 0.99))
    assert losses(right, maps, told=1.0) == pytest.approx(losses(blind, maps, told=1.0), abs=1e-4)


def test_cubes_that_say_otherwise_of_the_same_voxels_lose():
    class Placed(Gate):
        def likely(self, enhanced, cubes):
            ramp = torch.linspace(-1, 1, EDGE // 2)[:, None, None]
            return ramp.expand(len(enhanced), 1, *(EDGE // 2,) * 3)

    maps = belted(np.random.default_rng(0))
    more = losses(Placed((2, 4)), maps, agreement=1.0) - losses(Placed((2, 4)), maps)
    share = torch.sigmoid(torch.linspace(-1, 1, EDGE // 2))
    expected = (share[SHIFT // 2 :] - share[: -SHIFT // 2])[8:-8].abs().mean().item()
    assert more == pytest.approx(expected, rel=0.1)
    same = Knowing(molecule=0.5, detergent=0.1)
    assert losses(same, maps, agreement=1.0) == pytest.approx(losses(same, maps), abs=1e-6)


@torch.no_grad()
def test_a_new_gate_looks_far_and_one_whose_coarse_lattices_died_is_known():
    torch.manual_seed(0)
    gate, cubes = Gate(SAMU_LITE.gate), torch.rand(1, 1, 32, 32, 32)
    torch.nn.init.normal_(gate.head.weight)
    assert far_share(gate, cubes, cubes) > 0.3
    gate.up[-1].weight.zero_()
    assert far_share(gate, cubes, cubes) < 1e-5


def test_a_gate_learns_to_stop_what_is_darker_and_nothing_else_changes(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    (tmp_path / "shown").mkdir()
    for number in range(3):
        np.save(tmp_path / "shown" / f"{number}.npy", belted(rng).astype(np.float16))
    torch.manual_seed(0)
    monkeypatch.setattr(gate_module, "WARM_UP", 1)
    monkeypatch.setattr(gate_module, "MEMORY", 0.5)
    monkeypatch.setattr(gate_module, "SAMU_LITE", replace(SAMU_LITE, gate=(4, 8)))
    gate = Gate(gate_module.SAMU_LITE.gate)
    wanted = asked(steps=40, run=tmp_path / "run")
    learnt = train_gate(gate, Shown(tmp_path / "shown", often=2), wanted)
    source = torch.from_numpy(belted(rng)[:1, None, :EDGE])
    with torch.no_grad():
        share = passing(learnt.likely(source, source))[0, 0]
    assert share[30:66, 28:36, 30:66].mean() > 0.6
    assert share[30:66, 60:68, 30:66].mean() < 0.4
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert state["step"] == 40
    for name, weights in learnt.state_dict().items():
        assert torch.equal(state["network"].pop(f"gate.{name}"), weights)
    held = read_weights(wanted.model)
    for name, weights in state["network"].items():
        assert torch.equal(held[name], weights), name


def test_the_rest_of_the_network_is_it_without_its_gate():
    shipped = ModelSpec.load("samu-lite").weights
    rest, whole, cubes = without_gate(shipped), read_network(shipped, "samu-lite"), torch.rand(1, 1, 16, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(whole.gate(rest(cubes), cubes), whole(cubes))


def test_a_gate_goes_on_from_that_of_a_model(tmp_path):
    """Of its ONNX file, and of a checkpoint."""
    shipped = ModelSpec.load("samu-lite").weights
    held = read_network(shipped, "samu-lite").state_dict()
    torch.save({"network": held}, tmp_path / "checkpoint.pt")
    for start in (shipped, tmp_path / "checkpoint.pt"):
        gate = Gate(SAMU_LITE.gate)
        gate.load_state_dict(gate_module._gate_of(start))
        for name, weights in gate.state_dict().items():
            assert torch.equal(weights, held[f"gate.{name}"]), name
