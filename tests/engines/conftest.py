"""A GPU that is none: TensorRT, the CUDA runtime and the driver as tests/fakes has them."""

import random
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

FAKES = Path(__file__).parents[1] / "fakes"


@pytest.fixture(scope="session")
def fake_driver(tmp_path_factory):
    """The path of a libcuda.so.1 that shows one GPU."""
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("there is no C compiler")
    library = tmp_path_factory.mktemp("driver") / "libcuda.so.1"
    command = [compiler, "-shared", "-fPIC", "-DINIT=0", "-DGPUS=1", str(FAKES / "libcuda.c"), "-o", str(library)]
    subprocess.run(command, check=True)
    return library


@pytest.fixture
def fakes(monkeypatch, tmp_path):
    """`fakes(version)` puts the fakes in place of TensorRT and CUDA in this process, as `.tensorrt` and `.cuda`."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")

    before = {name: module for name, module in sys.modules.items() if ours(name)}

    def drop():
        for name in list(filter(ours, sys.modules)):
            del sys.modules[name]

    def install(version="11.4.0.106"):
        drop()
        monkeypatch.setenv("FAKE_TENSORRT_VERSION", version)
        monkeypatch.setenv("FAKE_TENSORRT_LOG", str(tmp_path / "builds"))
        import tensorrt
        from cuda.bindings import runtime

        runtime.chance = random.Random(1)
        return SimpleNamespace(tensorrt=tensorrt, cuda=runtime)

    monkeypatch.syspath_prepend(FAKES)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield install
    drop()
    sys.modules.update(before)


def ours(name):
    return name == "samu_engines.tensorrt" or name.split(".")[0] in ("tensorrt", "cuda")
