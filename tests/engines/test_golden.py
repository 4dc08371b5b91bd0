"""At start an engine answers the model's golden cube, and one that answers otherwise is not used."""

import dataclasses
import json

import numpy as np
import pytest

from samu_batch import engine as engines
from samu_batch.engine import load_engine
from samu_batch.errors import EngineError
from samu_batch.golden import TOLERANCE, Golden, golden_input
from samu_batch.model import ModelSpec

CUBE = 16


@pytest.fixture(params=["openvino", "onnxruntime"])
def name(request):
    pytest.importorskip(request.param)
    return request.param


@pytest.fixture
def golden_model(tmp_path, make_model):
    """`golden_model(change)` writes a model whose sidecar keeps scipy's answer, after `change(answer)` or as it is."""

    def make(change=lambda enhanced: enhanced):
        sidecar, reference = make_model(tmp_path, cube=CUBE, bias=0.25)
        golden = Golden.measure(lambda cubes: change(reference(cubes)), cube=CUBE)
        sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"golden": dataclasses.asdict(golden)}))
        return sidecar

    return make


def test_the_input_is_its_formula():
    cubes = golden_input(CUBE, gaussians=3, width=1.5)
    z, y, x = np.mgrid[:CUBE, :CUBE, :CUBE]
    root = next(r.real for r in np.roots([1, 0, 0, -1, -1]) if abs(r.imag) < 1e-9 and r.real > 0)
    expected = np.zeros((CUBE,) * 3)
    for number in (1, 2, 3):
        at = [(0.5 + number / root**power) % 1 * CUBE for power in (1, 2, 3)]
        squared = sum((axis - centre) ** 2 for axis, centre in zip((z, y, x), at, strict=True))
        expected += np.exp(-squared / (2 * 1.5**2))
    np.testing.assert_allclose(cubes[0, 0], np.clip(expected, 0, 1), atol=1e-6)


def test_the_golden_cube_of_what_ships_is_not_nearly_empty():
    """Of one that is, the few voxels where a gate hesitates are all that engines would be held to."""
    spec = ModelSpec.load("samu-lite")
    rms, samples = spec.golden.rms, np.abs(spec.golden.samples)
    assert rms > 0.01
    assert samples.max() < 10 * rms


def test_an_engine_that_answers_as_the_reference_is_used(golden_model, name):
    engine = load_engine(str(golden_model()), engine=name)
    assert engine.spec.golden.check(engine.run, cube=CUBE).rms < 1e-5


@pytest.mark.parametrize(
    "change",
    [
        lambda enhanced: enhanced * (1 + 2 * TOLERANCE),
        lambda enhanced: enhanced + 2 * TOLERANCE * np.sqrt(np.mean(enhanced**2)),
        lambda enhanced: enhanced.swapaxes(2, 3),
        lambda enhanced: np.roll(enhanced, 1, axis=4),
        lambda enhanced: -enhanced,
    ],
    ids=["scale", "offset", "transposed", "shifted", "negated"],
)
def test_an_engine_that_answers_otherwise_is_refused_with_the_figures(golden_model, name, change):
    sidecar = golden_model(change)
    with pytest.raises(
        EngineError, match=rf"^{name} .*golden cube came back wrong: relative rms \d.* 3e-03 is allowed"
    ):
        load_engine(str(sidecar), engine=name)


def test_an_engine_may_be_held_to_a_tolerance_of_its_own(golden_model, name, monkeypatch):
    [point] = [p for p in engines.entry_points(group=engines.GROUP) if p.name == name]
    monkeypatch.setattr(point.load(), "tolerance", 3e-2, raising=False)
    load_engine(str(golden_model(lambda enhanced: 1.02 * enhanced)), engine=name)
    with pytest.raises(EngineError, match="3e-02 is allowed"):
        load_engine(str(golden_model(lambda enhanced: 1.05 * enhanced)), engine=name)


def test_auto_passes_over_an_engine_that_answers_otherwise(golden_model, monkeypatch, caplog):
    for needed in ("openvino", "onnxruntime"):
        pytest.importorskip(needed)
    from samu_engines.openvino import OpenVinoEngine

    right = OpenVinoEngine.run
    monkeypatch.setattr(OpenVinoEngine, "run", lambda self, cubes: 1.01 * right(self, cubes))
    with caplog.at_level("INFO", "samu_batch"):
        engine = load_engine(str(golden_model()))
    assert engine.describe()["name"] == "onnxruntime"
    assert "openvino is not used" in caplog.text
    assert "golden cube" in caplog.text


def test_nan_and_another_shape_are_refused():
    golden = Golden.measure(lambda cubes: cubes, cube=CUBE)
    with pytest.raises(EngineError, match="came back wrong"):
        golden.check(lambda cubes: np.full_like(cubes, np.nan), cube=CUBE)
    with pytest.raises(EngineError, match=r"came back as \(1, 1, 16, 16, 8\)"):
        golden.check(lambda cubes: cubes[..., :8], cube=CUBE)


def test_one_wrong_corner_is_seen_though_no_sample_lies_in_it():
    """What the samples miss shows in the mean and the rms of the whole."""
    golden = Golden.measure(lambda cubes: cubes + 1, cube=CUBE)
    enhanced = golden_input(CUBE) + 1
    enhanced[..., :3, :3, :3] += 10
    sampled = dataclasses.replace(golden, samples=(float(enhanced[0, 0, 9, 14, 3]),))
    assert sampled.deviation(enhanced).rms < TOLERANCE
    with pytest.raises(EngineError, match="came back wrong"):
        sampled.check(lambda cubes: enhanced, cube=CUBE)


def test_the_check_costs_one_cube(golden_model, name, monkeypatch):
    sidecar = golden_model()
    [point] = [p for p in engines.entry_points(group=engines.GROUP) if p.name == name]
    kind, cubes_run = point.load(), []
    right = kind.run
    monkeypatch.setattr(kind, "run", lambda self, cubes: cubes_run.append(len(cubes)) or right(self, cubes))
    load_engine(str(sidecar), engine=name)
    assert cubes_run == [1]


def test_a_model_without_a_golden_cube_loads(tmp_path, make_model, name):
    sidecar, _ = make_model(tmp_path)
    assert load_engine(str(sidecar), engine=name).spec.golden is None


def test_the_identity_is_held_to_nothing(golden_model):
    spec = ModelSpec.load(golden_model())
    assert load_engine(spec, engine="identity").describe()["name"] == "identity"


@pytest.mark.parametrize("damage", [{}, {"gaussians": 3}, {"samples": ["x"]}, None, 3])
def test_a_damaged_golden_is_no_model(golden_model, damage):
    sidecar = golden_model()
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"golden": damage}))
    with pytest.raises(EngineError, match="is no model"):
        ModelSpec.load(sidecar)


@pytest.mark.parametrize("tiling", [{"padding": 4}, {"padding": -1}, {"core": 9}, {"cube": 8}])
def test_cubes_that_fit_no_lattice_are_no_model(golden_model, tiling):
    sidecar = golden_model()
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | tiling))  # a cube of 16, a core of 10
    with pytest.raises(EngineError, match="is no model"):
        ModelSpec.load(sidecar)


def test_how_cubes_lie_is_part_of_what_a_model_is(golden_model):
    sidecar = golden_model()
    written = json.loads(sidecar.read_text())
    models = [
        sidecar.write_text(json.dumps(written | more)) and ModelSpec.load(sidecar) for more in ({}, {"padding": 0})
    ]
    assert models[0].sha256 != models[1].sha256
    assert [len(model.grid((16, 16, 16))) for model in models] == [8, 1]
