"""Training resumes exactly, and what it exports is what was trained."""

import json
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import onnx
import onnxruntime
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from onnx import numpy_helper

from samu_batch import ModelSpec
from samu_engines.network import Network, NetworkConfig
from samu_training import export
from samu_training.export import export_model
from samu_training.losses import correlation, density_loss, shell_correlation


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    for number in range(3):
        np.save(folder / f"{number:05d}.npy", rng.random((2, 28, 30, 26)).astype(np.float16))
    return folder


def train(pairs, run, steps, *more):
    command = [sys.executable, "-m", "samu_training.train", "samu-lite", "--pairs", pairs, "--validation", pairs]
    command += ["--run", run, "--steps", steps, "--batch", "1", "--edge", "48", "--threads", "1", *more]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    return torch.load(run / "checkpoint.pt", weights_only=True)


def test_a_resumed_run_is_the_run_that_never_stopped(pairs, tmp_path):
    whole = train(pairs, tmp_path / "whole", 6)
    first = train(pairs, tmp_path / "parts", 6, "--stop-after", 2)
    assert first["step"] == 2
    parts = train(pairs, tmp_path / "parts", 6)
    assert parts["step"] == whole["step"] == 6
    for name, weights in whole["network"].items():
        assert torch.equal(weights, parts["network"][name]), name


@torch.no_grad()
def test_the_exported_model_is_the_network(tmp_path):
    torch.manual_seed(0)
    network = Network(NetworkConfig(patch=2, widths=(8, 16), blocks=1, norm="voxel", early_upsampling=True))
    for parameter in network.parameters():  # as if trained: no two are alike
        parameter += 0.03 * torch.randn_like(parameter)
    spec = ModelSpec.load(export_model(network, tmp_path, name="tiny", card={"data": "none"}))
    assert json.loads(spec.path.read_text())["card"] == {"data": "none"}
    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(spec.weights).graph.initializer}
    for name, parameter in network.named_parameters():
        assert stored[name].dtype == np.float16, name
        parameter.copy_(torch.from_numpy(stored[name].astype(np.float32)))
    session = onnxruntime.InferenceSession(str(spec.weights), providers=["CPUExecutionProvider"])
    for count in (1, 3):
        cubes = torch.rand(count, 1, 64, 64, 64)
        [enhanced] = session.run(None, {"cubes": cubes.numpy()})
        np.testing.assert_allclose(enhanced, network(cubes).numpy(), atol=1e-4)


@pytest.mark.parametrize(("name", "tiling"), [("wide", (32, 16, 0)), ("other", (64, 50, None))])
def test_a_checkpoint_becomes_a_model_with_the_tiling_of_its_network(name, tiling, tmp_path, monkeypatch):
    config = NetworkConfig(patch=2, widths=(8,), blocks=1, norm="voxel")
    monkeypatch.setattr(export, "CONFIGS", {name: config})
    monkeypatch.setattr(export, "TILING", {"wide": export.Tiling(32, 16, padding=0)})
    state = {"config": asdict(config), "network": Network(config).state_dict(), "step": 1, "spent": 60.0}
    torch.save(state, tmp_path / "checkpoint.pt")
    monkeypatch.setattr("sys.argv", ["export", str(tmp_path / "checkpoint.pt"), str(tmp_path)])
    export.main()
    spec = ModelSpec.load(tmp_path / f"{name}.json")
    assert (spec.cube, spec.core, spec.padding) == tiling
    assert onnx.load(spec.weights).graph.input[0].type.tensor_type.shape.dim[2].dim_value == spec.cube


@pytest.mark.parametrize(("gate", "crowd"), [((), (64, 2.0)), ((4, 8), (4, 4.0))])
def test_a_network_with_a_gate_is_held_to_a_crowd(gate, crowd, tmp_path):
    network = Network(NetworkConfig(patch=2, widths=(8,), blocks=1, norm="voxel", gate=gate))
    sidecar = export.export_model(network, tmp_path, name="small", card={}, tiling=export.Tiling(32, 16, padding=0))
    golden = ModelSpec.load(sidecar).golden
    assert (golden.gaussians, golden.width) == crowd
    with torch.no_grad():
        found = golden.check(lambda cubes: network(torch.from_numpy(cubes)).numpy(), cube=32)
    assert found.rms < 2e-3  # of rounding weights to float16


def test_loss_prefers_the_target():
    torch.manual_seed(0)
    target = torch.rand(2, 1, 8, 8, 8)
    worse = target + 0.3 * torch.randn_like(target)
    assert density_loss(target, target) < 1e-3 < density_loss(worse, target)


def test_shell_correlation_is_the_mean_of_shells_and_no_filter_changes_it():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 24, 24, 24))
    b = b + a
    steps = np.fft.fftfreq(24, 1 / 24)
    radius = np.rint(np.sqrt(steps[:, None, None] ** 2 + steps[:, None] ** 2 + steps[:13] ** 2)).astype(int)
    f, g = np.fft.rfftn(a), np.fft.rfftn(b)
    shells = [radius == r for r in range(2, 10)]
    expected = [(f * g.conj())[s].real.sum() / np.sqrt((abs(f[s]) ** 2).sum() * (abs(g[s]) ** 2).sum()) for s in shells]
    filtered = np.fft.irfftn(f * np.exp(-0.1 * radius), s=a.shape, axes=(0, 1, 2))

    def measured(cube):
        x, y = (torch.tensor(v, dtype=torch.float32)[None, None] for v in (cube, b))
        return shell_correlation(x, y, torch.ones_like(x)).item()

    assert measured(a) == pytest.approx(np.mean(expected), abs=1e-4)
    assert measured(filtered) == pytest.approx(measured(a), abs=1e-4)


def test_loss_of_empty_crops_is_finite():
    nothing = torch.zeros(2, 1, 8, 8, 8)
    enhanced = torch.rand(2, 1, 8, 8, 8, requires_grad=True)
    loss = density_loss(enhanced, nothing)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(enhanced.grad).all()


def test_correlation_is_numpys():
    torch.manual_seed(0)
    a, b = torch.rand(3, 1, 8, 8, 8), torch.rand(3, 1, 8, 8, 8)
    expected = [np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    np.testing.assert_allclose(correlation(a, b), expected, atol=1e-4)
