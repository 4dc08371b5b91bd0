"""TensorRT itself, on a real GPU. Where there is none, or no TensorRT, all of this skips with the engine's reason.

Nothing else skips: on a machine that has both, an engine that is refused is a failure.
"""

import dataclasses
import json
import logging
import subprocess
import sys

import numpy as np
import pytest

from samu_batch.engine import load_engine, prepare_engine
from samu_batch.errors import EngineError
from samu_batch.golden import TOLERANCE
from samu_batch.model import ModelSpec
from samu_engines.build import plan_for
from samu_engines.graph import OLD_OPSET
from samu_engines.nvidia import first_gpu
from samu_engines.plans import default_folder, described_plan, write_plan

pytestmark = pytest.mark.gpu

MODEL = "samu-lite"


@pytest.fixture(scope="module")
def gpu():
    try:
        import tensorrt
        from cuda.bindings import runtime
    except ImportError as error:
        pytest.skip(f"tensorrt is not installed: {error}")
    try:
        first_gpu()
    except RuntimeError as error:
        pytest.skip(str(error))
    assert tensorrt.__version__
    return runtime


@pytest.fixture(scope="module")
def cache(gpu, tmp_path_factory):
    """A folder of plans for this module, so that each plan is compiled once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield default_folder()


@pytest.fixture
def engine(cache):
    engine = load_engine(MODEL, engine="tensorrt")
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def cubes():
    """White noise to the fourth power: the few bright voxels of a map."""
    return np.random.default_rng(0).random((19, 1, *(ModelSpec.load(MODEL).cube,) * 3), dtype=np.float32) ** 4


def relative_rms(found, expected):
    return np.sqrt(np.mean((found.astype(np.float64) - expected) ** 2) / np.mean(expected.astype(np.float64) ** 2))


def test_it_answers_the_golden_cube_but_for_rounding(engine):
    found = engine.spec.golden.check(engine.run, cube=engine.spec.cube)
    assert 1e-6 < found.rms < TOLERANCE


def test_it_computes_what_torch_computes(engine, cubes):
    pytest.importorskip("torch")
    from samu_engines.torch_cpu import TorchEngine

    expected = TorchEngine(engine.spec, device="cpu", threads=None).run(cubes[:2])
    assert relative_rms(engine.run(cubes[:2]), expected) < TOLERANCE


def test_one_cuda_graph_runs_it(engine):
    facts = engine.describe()
    assert facts["cuda_graph"] is True
    json.dumps(facts)


def test_a_padded_batch_is_as_a_full_one(engine, cubes):
    full = engine.run(cubes[: engine.batch])
    for count in range(1, engine.batch):
        np.testing.assert_array_equal(engine.run(cubes[:count]), full[:count])


def test_a_stream_keeps_its_order_and_its_batches(engine, cubes):
    alone = [engine.run(cube[None])[0] for cube in cubes]
    sizes = [1, engine.batch, 2, engine.batch + 3, 1, engine.batch, engine.batch, 1] * 3
    picked = [np.random.default_rng(n).integers(0, len(cubes), size) for n, size in enumerate(sizes)]
    for numbers, enhanced in zip(picked, engine.stream(cubes[each] for each in picked), strict=True):
        assert len(enhanced) == len(numbers)
        for number, cube in zip(numbers, enhanced, strict=True):
            # By the place in a batch a kernel may add in another order; another cube would be off by its whole rms.
            assert relative_rms(cube, alone[number]) < TOLERANCE


def test_a_yielded_batch_is_never_written_again(engine, cubes):
    stream = engine.stream(cubes[number : number + 4] for number in range(0, 16, 4))
    first = next(stream)
    kept = first.copy()
    list(stream)
    np.testing.assert_array_equal(first, kept)


def test_a_stream_that_is_left_harms_no_later_one(engine, cubes):
    expected = engine.run(cubes[:3])
    left = engine.stream(cubes[number : number + 4] for number in range(0, 16, 4))
    next(left)
    left.close()
    np.testing.assert_array_equal(engine.run(cubes[:3]), expected)


def test_a_plan_is_taken_again_and_gives_the_same(engine, cubes):
    again = load_engine(MODEL, engine="tensorrt")
    assert again.describe()["plan"] == "cached"
    np.testing.assert_array_equal(again.run(cubes[:5]), engine.run(cubes[:5]))
    again.close()


def test_two_processes_share_the_gpu(engine):
    code = f"from samu_batch.engine import load_engine; print(load_engine({MODEL!r}, engine='tensorrt').describe())"
    pipe = subprocess.PIPE
    others = [subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    for other in others:
        out, err = other.communicate(timeout=300)
        assert other.returncode == 0, err
        assert "'plan': 'cached'" in out


def test_a_plan_that_tensorrt_does_not_take_is_named_and_auto_goes_on(cache, monkeypatch, tmp_path, caplog):
    plans = [described_plan(file) for file, _ in cache.plans()]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    default_folder().path.mkdir(parents=True)
    for plan in plans:
        write_plan(default_folder().file_of(plan), plan, b"no plan of TensorRT")
    with pytest.raises(EngineError, match="TensorRT does not take its plan"):
        load_engine(MODEL, engine="tensorrt")
    with caplog.at_level(logging.INFO, "samu_batch"):
        assert load_engine(MODEL).describe()["name"] != "tensorrt"
    assert "engine tensorrt is not used" in caplog.text


def test_too_little_memory_at_batch_24_halves_it_and_loses_nothing(gpu, cubes, monkeypatch, tmp_path):
    def free():
        status, free, _ = gpu.cudaMemGetInfo()
        assert status == gpu.cudaError_t.cudaSuccess
        return free

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert prepare_engine(MODEL, engine="tensorrt", batch=24)["how"] == "built"
    before = free()
    engine = load_engine(MODEL, engine="tensorrt")
    assert engine.batch == 24
    needed, expected = before - free(), engine.run(cubes)
    engine.close()
    status, hog = gpu.cudaMalloc(free() - int(0.7 * needed))
    assert status == gpu.cudaError_t.cudaSuccess
    try:
        engine = load_engine(MODEL, engine="tensorrt")
        assert engine.batch in (12, 6, 3)
        assert relative_rms(engine.run(cubes), expected) < TOLERANCE
        engine.close()
    finally:
        gpu.cudaFree(hog)


def test_the_form_for_older_versions_computes_the_same(gpu, cubes, monkeypatch, tmp_path):
    """Opset 17, which TensorRT before 10.15 is given, in the one that is here."""
    import samu_engines.tensorrt as ours

    def old(*arguments, **named):
        return dataclasses.replace(plan_for(*arguments, **named), opset=OLD_OPSET)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(ours, "plan_for", old)
    engine = load_engine(MODEL, engine="tensorrt")
    assert [plan.opset for _, plan in default_folder().plans()] == [OLD_OPSET]
    engine.close()
