"""PyTorch on a real GPU. Where there is none, all of this skips with the reason."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from samu_batch.engine import load_engine
from samu_batch.golden import TOLERANCE
from samu_batch.model import ModelSpec
from samu_batch.probe import probe
from samu_engines.torch_cpu import TorchEngine

pytestmark = pytest.mark.gpu

MODEL = "samu-lite"


@pytest.fixture(scope="module")
def engine():
    if not torch.cuda.is_available():
        pytest.skip(f"torch {torch.__version__} sees no GPU")
    engine = load_engine(MODEL, engine="torch-cuda")  # its golden cube is checked
    yield engine
    engine.close()


def cubes_of(sizes):
    rng = np.random.default_rng(0)
    return [rng.random((size, 1, *(ModelSpec.load(MODEL).cube,) * 3), dtype=np.float32) ** 4 for size in sizes]


def test_it_computes_what_torch_computes_on_the_cpu(engine):
    [cubes] = cubes_of([2])
    expected = TorchEngine(ModelSpec.load(MODEL), device="cpu", threads=None).run(cubes)
    assert np.sqrt(np.mean((engine.run(cubes) - expected) ** 2) / np.mean(expected**2)) < TOLERANCE


def test_triton_computes_its_norms(engine):
    assert engine.describe()["norms"].startswith("triton ")


def test_batches_of_any_size_come_back_in_order_and_alike(engine):
    sent = cubes_of([engine.batch, 1, 3, engine.batch + 1, 2])
    for cubes, enhanced in zip(sent, engine.stream(iter(sent)), strict=True):
        assert enhanced.shape == cubes.shape
        alone = engine.run(cubes[-1:])[0]
        # Another batch may be convolved by another algorithm: rounding differs, the order of cubes must not.
        assert np.sqrt(np.mean((enhanced[-1] - alone) ** 2) / np.mean(alone**2)) < TOLERANCE


def test_memory_that_another_takes_halves_the_batch_and_loses_nothing(engine):
    before = engine.batch
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(int(0.9 * free), dtype=torch.uint8, device="cuda")
    try:
        other = load_engine(MODEL, engine="torch-cuda")
        sent = cubes_of([before, before, 1])
        for cubes, enhanced in zip(sent, other.stream(iter(sent)), strict=True):
            assert enhanced.shape == cubes.shape
            assert np.isfinite(enhanced).all()
        assert other.batch <= before
        other.close()
    finally:
        del taken
        torch.cuda.empty_cache()


def test_the_probe_and_auto_find_it(engine):
    found = probe("torch-cuda", MODEL)
    assert found["usable"], found
    assert found["describe"]["precision"] == "float16"
    assert found["describe"]["batch"] >= 1
