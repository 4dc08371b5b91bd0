"""A gate is trained alone: what it is shown, what it learns, and that nothing else of the network changes."""

import argparse

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from samu_batch.model import ModelSpec
from samu_engines.blocks import Gate, surroundings
from samu_engines.torch_cpu import read_network, read_weights
from samu_training import gate as gate_module
from samu_training.data import Crops
from samu_training.gate import CUBE, SHIFT, Seen, crowded, train_gate, without_gate, write_checkpoint, write_crops

LONG = (CUBE + SHIFT, CUBE, CUBE)


def belted(rng, *, bright):
    """Return a crop with a slab of molecule and one of unmodelled density beside it."""
    target, source = (np.zeros(LONG, np.float32) for _ in range(2))
    target[:, 10:30], source[:, 10:30] = 0.6, 0.8
    source[:, 36:56] = bright
    return source * rng.uniform(0.9, 1.1, LONG).astype(np.float32), target


@pytest.fixture(scope="module")
def shipped():
    return ModelSpec.load("samu-lite").weights


def test_crops_with_much_beside_the_molecule_are_told_from_others():
    rng = np.random.default_rng(0)
    assert crowded(*belted(rng, bright=0.5))
    assert not crowded(*belted(rng, bright=0.1))
    assert not crowded(np.ones(LONG, np.float32), np.zeros(LONG, np.float32))  # no molecule


def test_a_gate_learns_to_stop_what_is_darker_than_the_molecule(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(6):
        source, target = belted(rng, bright=0.4)
        enhanced = np.stack([source[:CUBE], source[-CUBE:]])
        arrays = {"source": source, "target": target, "enhanced": enhanced}
        np.savez(tmp_path / f"1_{number:05d}.npz", **{name: part.astype(np.float16) for name, part in arrays.items()})
    torch.manual_seed(0)
    gate, seen = Gate(8), Seen(tmp_path)
    train_gate(gate, seen, argparse.Namespace(seed=0, often=2, rate=0.1, steps=60, batch=1, inside=0.5, agreement=1))
    cube = torch.from_numpy(source[:CUBE])[None, None]
    with torch.no_grad():
        share = gate.share(torch.cat(surroundings(cube, cube), dim=1))[0, 0]
    assert share[20:40, 15:25, 20:40].mean() > 0.6
    assert share[20:40, 41:51, 20:40].mean() < 0.4


def test_what_is_stored_is_what_the_network_gives_before_its_gate(shipped, tmp_path):
    pair = np.random.default_rng(0).random((2, 80, 70, 70)).astype(np.float16)
    (tmp_path / "pairs").mkdir()
    np.save(tmp_path / "pairs" / "00000.npy", pair)
    drawn = Crops(tmp_path / "pairs", edge=CUBE, longer=SHIFT)
    write_crops(without_gate(shipped), drawn, tmp_path / "crops", count=1, seed=3)
    [path] = (tmp_path / "crops").iterdir()
    assert path.name == "3_00000.npz"
    [around, enhanced, target, molecule] = Seen(tmp_path / "crops").batch(np.array([0]))
    assert (around.shape, enhanced.shape) == ((2, 15, 32, 32, 32), (2, 1, CUBE, CUBE, CUBE))
    assert target.shape == molecule.shape == (2, 1, 50, 50, 50)
    network = read_network(shipped, "samu-lite")
    with np.load(path) as arrays, torch.no_grad():
        cube = torch.from_numpy(arrays["source"][-CUBE:].astype(np.float32))[None, None]
        whole = network(cube)
        torch.testing.assert_close(enhanced[1:] * network.gate.share(around[1:]), whole, rtol=0, atol=2e-3)


def test_only_the_gate_differs_in_what_is_written(shipped, tmp_path, monkeypatch):
    monkeypatch.setattr(gate_module, "train_gate", lambda gate, *_: torch.nn.init.ones_(gate.third.bias))
    monkeypatch.setattr(gate_module, "Seen", lambda _: None)
    write_checkpoint(argparse.Namespace(model=shipped, crops=tmp_path, run=tmp_path / "run", steps=7))
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert state["network"]["gate.third.bias"] == 1
    for name, weights in read_weights(shipped).items():
        assert torch.equal(state["network"][name], weights) != name.startswith("gate."), name


def test_a_folder_without_crops_is_named(tmp_path):
    with pytest.raises(SystemExit, match="holds no crops: make some"):
        Seen(tmp_path)
