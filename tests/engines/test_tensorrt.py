"""TensorRT: what is asked of each version, and the engine from model to enhanced cubes, on fakes of GPU and library.

The fakes have the real modules' names alone (tests/fakes/names.json), and ONNX Runtime computes what was "compiled", so
that what is tested is all but TensorRT and CUDA themselves. tests/gpu/ runs with the real ones.
"""

import dataclasses
import importlib.util
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from samu_batch.cli import cli
from samu_batch.engine import load_engine
from samu_batch.errors import EngineError
from samu_batch.golden import TOLERANCE, Golden
from samu_batch.model import ModelSpec
from samu_batch.probe import probe
from samu_engines import nvidia
from samu_engines.build import build_engine, plan_for, variant_of
from samu_engines.graph import OLD_OPSET, OPSET, islands
from samu_engines.nvidia import Gpu
from samu_engines.plans import default_folder
from samu_engines.variants import ISLAND, in_half_precision, in_old_opset

FAKES = Path(__file__).parents[1] / "fakes"
CUBE = 16
GPU = Gpu("Fake H100", "9.0", "13.1")
VERSIONS = ("8.6.0", "10.16.1.11", "11.4.0.106")


@pytest.fixture
def gpu(fakes, fake_driver, monkeypatch):
    """The fakes of the newest version, and a driver with a GPU."""
    monkeypatch.setattr(nvidia, "LIBRARY", str(fake_driver))
    return fakes()


@pytest.fixture(autouse=True)
def no_other_process(monkeypatch):
    """The stand-ins are in this process alone: `auto` tries engines here (tests/unit/test_probe.py: in another)."""
    monkeypatch.setattr("samu_batch.engine._try_apart", lambda *_: None)


@pytest.fixture
def model(tmp_path, make_model):
    """A small model with a golden cube, as (sidecar, reference)."""
    sidecar, reference = make_model(tmp_path / "model", cube=CUBE, bias=0.25)
    golden = Golden.measure(reference, cube=CUBE)
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"golden": dataclasses.asdict(golden)}))
    return sidecar, reference


def builds(tmp_path):
    log = tmp_path / "builds"
    return len(log.read_text().splitlines()) if log.exists() else 0


def compiled(trt, spec, *, batch=4):
    """Build and return the plan, what was compiled, and the calls by name."""
    plan = plan_for(trt, spec, GPU, batch=batch)
    trt.calls.clear()
    content, timings = build_engine(trt, plan, onnx.load(spec.weights), timings=b"earlier")
    assert timings == b"earliert"
    return plan, content, trt.calls


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_compiled_is_the_variant_for_the_version(fakes, version):
    trt, spec = fakes(version).tensorrt, ModelSpec.load("samu-lite")
    plan, content, calls = compiled(trt, spec)
    assert plan.opset == (OLD_OPSET if version == "8.6.0" else OPSET)
    variant = onnx.load_from_string(content.partition(b"\n")[2])
    assert variant == variant_of(onnx.load(spec.weights), plan)
    cubes = (1, *(spec.cube,) * 3)
    assert ("set_shape", "cubes", (1, *cubes), (4, *cubes), (4, *cubes)) in calls
    assert ("clear_flag", trt.BuilderFlag.TF32) in calls


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_newer_versions_are_strongly_typed_and_choose_nothing(fakes, version):
    trt = fakes(version).tensorrt
    _, _, calls = compiled(trt, ModelSpec.load("samu-lite"))
    assert ("create_network", 1 << trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) in calls
    assert not {"set_flag", "precision"} & {name for name, *_ in calls}


def test_the_old_version_computes_in_half_precision_but_for_the_islands(fakes):
    trt, spec = fakes("8.6.0").tensorrt, ModelSpec.load("samu-lite")
    plan, _, calls = compiled(trt, spec)
    assert ("create_network", 1 << trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH) in calls
    assert [call for call in calls if call[0] == "set_flag"] == [
        ("set_flag", trt.BuilderFlag.FP16),
        ("set_flag", trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS),
    ]
    islands = [node for node in variant_of(onnx.load(spec.weights), plan).graph.node if node.name.startswith(ISLAND)]
    assert islands
    assert [call for call in calls if call[0] == "precision"] == [("precision", trt.float32)] * len(islands)
    assert ("init_libnvinfer_plugins",) in calls


def test_a_version_that_is_too_old_says_so(fakes):
    trt = fakes().tensorrt
    trt.__version__ = "8.5.3"
    with pytest.raises(ValueError, match=r"TensorRT 8\.5\.3 is older than 8\.6"):
        plan_for(trt, ModelSpec.load("samu-lite"), GPU, batch=1)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_engine_computes_the_model_in_batches_of_any_size(fakes, gpu, model, version):
    fakes(version)
    sidecar, reference = model
    engine = load_engine(str(sidecar), engine="tensorrt")
    sizes = [8, 3, 20, 1, 8]
    sent = [np.random.default_rng(size).random((size, 1, CUBE, CUBE, CUBE), dtype=np.float32) for size in sizes]
    for cubes, enhanced in zip(sent, engine.stream(iter(sent)), strict=True):
        expected = reference(cubes)
        assert enhanced.dtype == np.float32
        assert np.abs(enhanced - expected).max() < 5e-3 * np.abs(expected).max()
    facts = engine.describe()
    assert (facts["name"], facts["version"], facts["batch"]) == ("tensorrt", version, 8)
    assert facts["cuda_graph"] is True
    json.dumps(facts)
    engine.close()


def test_a_plan_is_built_once_and_then_taken(gpu, model, tmp_path):
    for how in ("built", "cached", "cached"):
        engine = load_engine(str(model[0]), engine="tensorrt")
        assert engine.describe()["plan"] == how
        engine.close()
    assert not gpu.cuda.memory
    assert builds(tmp_path) == 1


def test_auto_takes_it_first(gpu, model):
    engine = load_engine(str(model[0]))
    assert engine.describe()["name"] == "tensorrt"
    engine.close()


def test_auto_on_the_cpu_does_not_ask(gpu, model):
    assert load_engine(str(model[0]), device="cpu").describe()["name"] == "openvino"
    with pytest.raises(EngineError, match="it runs on NVIDIA GPUs alone"):
        load_engine(str(model[0]), engine="tensorrt", device="cpu")


def test_where_memory_is_short_half_as_many_go_at_once(gpu, model, monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("FAKE_TENSORRT_BATCH", "3")
    with caplog.at_level("INFO", "samu_batch"):
        engine = load_engine(str(model[0]), engine="tensorrt")
    assert engine.batch == engine.describe()["batch"] == 2
    assert "8 cubes at once are too many: TensorRT compiled nothing: " in caplog.text
    engine.close()
    engine = load_engine(str(model[0]), engine="tensorrt")  # and no other number is tried again
    assert engine.batch == 2
    assert builds(tmp_path) == 3
    engine.close()


def test_a_larger_batch_that_was_prepared_is_taken(gpu, model):
    from samu_engines.tensorrt import TensorRtEngine

    spec = ModelSpec.load(model[0])
    facts = TensorRtEngine.prepare(spec, batch=12)
    assert facts["how"] == "built"
    engine = load_engine(spec, engine="tensorrt")
    assert (engine.batch, engine.describe()["plan"]) == (12, "cached")
    engine.close()


BREAKS = {
    "parse": "TensorRT cannot read the model: In node 3 .*UNSUPPORTED_NODE",
    "build": "TensorRT compiled nothing: Could not find any implementation for node conv3d",
    "deserialize": "TensorRT does not take its plan: .*Serialization",
    "context": "TensorRT cannot run its plan: CUDA failure: out of memory",
}


@pytest.mark.parametrize("broken", BREAKS)
def test_what_breaks_is_said_in_tensorrts_words_and_auto_goes_on(gpu, model, broken, monkeypatch, caplog):
    monkeypatch.setenv("FAKE_TENSORRT_BREAKS", broken)
    with pytest.raises(EngineError, match=f"^tensorrt .*: {BREAKS[broken]}"):
        load_engine(str(model[0]), engine="tensorrt")
    with caplog.at_level("INFO", "samu_batch"):
        engine = load_engine(str(model[0]))
    assert engine.describe()["name"] == "openvino"
    assert re.match(BREAKS[broken], engine.describe()["passed_over"]["tensorrt"].partition("here: ")[2])
    assert "engine tensorrt is not used" in caplog.text
    assert not gpu.cuda.memory


def test_a_damaged_plan_is_built_anew(gpu, model, caplog, tmp_path):
    load_engine(str(model[0]), engine="tensorrt").close()
    [(file, _)] = default_folder().plans()
    file.write_bytes(file.read_bytes()[:-1])
    engine = load_engine(str(model[0]), engine="tensorrt")
    assert "is damaged" in caplog.text
    assert builds(tmp_path) == 2
    engine.close()


def test_an_engine_that_computes_otherwise_is_refused(gpu, model):
    sidecar, _ = model
    values = json.loads(sidecar.read_text())
    values["golden"]["rms"] *= 1 + 2 * TOLERANCE
    sidecar.write_text(json.dumps(values))
    with pytest.raises(EngineError, match="golden cube came back wrong"):
        load_engine(str(sidecar), engine="tensorrt")
    assert not gpu.cuda.memory


def test_without_a_driver_nothing_of_tensorrt_is_touched(fakes, model, monkeypatch, caplog):
    trt = fakes().tensorrt
    monkeypatch.setattr(nvidia, "LIBRARY", "libcuda_that_is_not_there.so.1")
    trt.calls.clear()
    with pytest.raises(EngineError, match=r"^tensorrt cannot run here: there is no NVIDIA driver: libcuda_that"):
        load_engine(str(model[0]), engine="tensorrt")
    assert trt.calls == []
    with caplog.at_level("INFO", "samu_batch"):
        assert load_engine(str(model[0])).describe()["name"] == "openvino"
    assert "engine tensorrt is not used: tensorrt cannot run here: there is no NVIDIA driver" in caplog.text


def test_without_the_library_doctor_says_so_in_a_few_words(model):
    if importlib.util.find_spec("tensorrt"):
        pytest.skip("TensorRT is installed")
    assert probe("tensorrt", str(model[0]))["reason"] == "tensorrt is not installed: No module named 'tensorrt'"


@pytest.fixture
def in_processes(fakes, fake_driver, monkeypatch):
    """Let processes that are started from here have the fakes, and the driver where it is asked for."""
    paths = [str(FAKES), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("FAKE_TENSORRT_VERSION", "11.4.0.106")
    return lambda: monkeypatch.setenv("LD_LIBRARY_PATH", str(fake_driver.parent))


def test_a_process_without_a_driver_says_so_and_lives(in_processes, model):
    found = probe("tensorrt", str(model[0]))
    assert found["reason"].startswith("tensorrt cannot run here: there is no NVIDIA driver: libcuda.so.1")


def test_of_two_processes_that_start_at_once_one_builds_and_both_compute(in_processes, model, monkeypatch, tmp_path):
    in_processes()
    monkeypatch.setenv("FAKE_TENSORRT_SECONDS", "3")
    monkeypatch.setenv("FAKE_TENSORRT_LOG", str(tmp_path / "builds"))
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: probe("tensorrt", str(model[0])), range(2)))
    assert [each["usable"] for each in found] == [True, True], found
    assert sorted(each["describe"]["plan"] for each in found) == ["built", "cached"]
    assert builds(tmp_path) == 1


def test_a_folder_that_cannot_be_written_costs_a_build_and_says_so(gpu, model, tmp_path, caplog):
    (tmp_path / "cache").write_text("a file where the folder should be")
    engine = load_engine(str(model[0]), engine="tensorrt")
    assert engine.describe()["plan"].startswith("built, not kept: ")
    assert "every start compiles it anew" in caplog.text
    engine.close()


def test_a_plan_for_another_gpu_is_not_taken(gpu, model, tmp_path, monkeypatch):
    load_engine(str(model[0]), engine="tensorrt").close()
    monkeypatch.setattr("samu_engines.tensorrt.first_gpu", lambda: GPU._replace(capability="8.0"))
    engine = load_engine(str(model[0]), engine="tensorrt")
    assert engine.describe()["plan"] == "built"
    assert builds(tmp_path) == 2
    engine.close()


def samu_batch(*arguments):
    return CliRunner().invoke(cli, ["engine", *map(str, arguments)])


def test_build_list_and_inspect_tell_of_one_plan(gpu, model, monkeypatch):
    monkeypatch.setattr("samu_batch.doctor.examine_engines", lambda model: [])
    sidecar, _ = model
    first, second = (samu_batch("build", "--model", sidecar, "--batch", 3, "--json") for _ in range(2))
    assert (first.exit_code, json.loads(first.stdout)["how"]) == (0, "built")
    assert json.loads(second.stdout)["how"] == "cached"
    file = json.loads(first.stdout)["plan"]
    facts = json.loads(samu_batch("inspect", file, "--json").stdout)
    assert (facts["model"], facts["batch"], facts["gpu"], facts["capability"]) == ("tiny", 3, "Fake H100", "9.0")
    assert facts["onnx_sha256"] == ModelSpec.load(sidecar).weights_sha256
    listed = samu_batch("list", "--model", sidecar).stdout
    assert f"{file}: tiny, 3 cubes at once, Fake H100, TensorRT 11.4.0.106, driver 13.1" in listed
    Path(file).write_bytes(b"samu-plan 1\n{}")
    assert f"{file}: damaged" in samu_batch("list", "--model", sidecar).stdout
    broken = samu_batch("inspect", file)
    assert (broken.exit_code, broken.stderr) == (1, f"{file} is damaged: its header cannot be read\n")


def test_a_build_that_cannot_be_says_why(fakes, model, monkeypatch):
    fakes()
    monkeypatch.setattr(nvidia, "LIBRARY", "libcuda_that_is_not_there.so.1")
    refused = samu_batch("build", "--model", model[0])
    assert refused.exit_code == 1
    assert refused.stderr.startswith("tensorrt cannot run here: there is no NVIDIA driver")
    assert samu_batch("build", "openvino", "--model", model[0]).stderr == (
        "openvino cannot run here: it compiles nothing\n"
    )
    assert samu_batch("build", "--model", "no-such-model").exit_code == 2


def test_inspect_shows_what_a_model_computes_in_which_precision():
    facts = json.loads(samu_batch("inspect", "samu-lite", "--json").stdout)
    half = facts["forms"]["float16"]["operators"]
    assert half["float16"]["Conv"] == facts["forms"]["as stored"]["operators"]["float32"]["Conv"] > 30
    assert "Conv" not in half["float32"]
    assert half["float32"]["ReduceMean"] == facts["forms"]["float16"]["islands"]["ReduceMean"]
    assert samu_batch("inspect", "identity").exit_code == 2


def test_group_norms_of_the_old_version_are_marked_as_islands():
    """It chooses precisions by the names of nodes: a group norm must keep its mark when it is written out."""
    constants = {
        "weight": np.ones((4, 1, 3, 3, 3)),
        "scale": np.ones(4),
        "bias": np.zeros(4),
        "last": np.ones((1, 4, 1, 1, 1)),
    }
    initialisers = [onnx.numpy_helper.from_array(values.astype(np.float16), name) for name, values in constants.items()]
    make = onnx.helper.make_node
    nodes = [make("Cast", [name], [f"{name}.float32"], to=onnx.TensorProto.FLOAT) for name in constants]
    nodes += [
        make("Conv", ["cubes", "weight.float32"], ["wide"], name="first", pads=[1] * 6),
        make("GroupNormalization", ["wide", "scale.float32", "bias.float32"], ["normal"], name="norm", num_groups=2),
        make("Conv", ["normal", "last.float32"], ["enhanced"], name="second"),
    ]
    values = [onnx.helper.make_tensor_value_info(name, 1, ["N", 1, 8, 8, 8]) for name in ("cubes", "enhanced")]
    graph = onnx.helper.make_graph(nodes, "small", values[:1], values[1:], initialisers)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=10)
    old = in_old_opset(in_half_precision(model)).graph
    [norm] = [node for node in old.node if node.op_type == "InstanceNormalization"]
    assert {norm.output[0]} <= islands(old)
    single = {value.name for value in old.value_info if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    unmarked = [node for node in old.node if node.op_type != "Cast" and not node.name.startswith(ISLAND)]
    assert not [node.name for node in unmarked if set(node.output) & single]
