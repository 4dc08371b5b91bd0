"""The names that the fake TensorRT has are those of the real module, which imports without its vendor's libraries."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FAKES = Path(__file__).parents[1] / "fakes"
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
# fmt: off
SYMBOLS = [
    "createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL", "getBuilderPluginRegistry",
    "getNvOnnxParserVersion", "getPluginRegistry", "initLibNvInferPlugins",
]
# fmt: on


@pytest.fixture(scope="module")
def real_names(tmp_path_factory):
    """What record_names.py prints for the bindings that are installed, with empty libraries behind them."""
    compiler = shutil.which("cc")
    if not compiler or importlib.util.find_spec("tensorrt_bindings") is None:
        pytest.skip("tensorrt_bindings is not installed, or there is no C compiler")
    folder = tmp_path_factory.mktemp("stand-ins")
    source = folder / "empty.c"
    source.write_text("".join(f"int {symbol}(void) {{ return 0; }}\n" for symbol in SYMBOLS))
    for library in LIBRARIES:
        for major in (10, 11):
            name = f"lib{library}.so.{major}"
            command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", str(source), "-o", str(folder / name)]
            subprocess.run(command, check=True)
    command = [sys.executable, str(FAKES / "record_names.py"), "tensorrt_bindings"]
    env = os.environ | {"LD_LIBRARY_PATH": str(folder)}
    printed = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
    [(version, names)] = json.loads("{" + printed + "}").items()
    return version, names


def test_recorded_names_are_those_of_the_installed_version(real_names):
    version, names = real_names
    recorded = json.loads((FAKES / "names.json").read_text())
    if version not in recorded:
        pytest.skip(f"the names of TensorRT {version} were not recorded")
    assert recorded[version] == names


def test_the_installed_version_has_every_name_that_the_fake_answers_to(real_names, fakes):
    """Also where it is newer than what was recorded."""
    _, real = real_names
    trt = fakes("11.4.0.106").tensorrt
    for kind in vars(trt).values():
        if isinstance(kind, type) and issubclass(kind, trt.Named) and kind is not trt.Named:
            answers = set(vars(kind)) & set(trt.NAMES[kind.__name__].split())
            assert answers <= set(real[kind.__name__].split()), kind.__name__
    for flag, kind in [
        ("TF32", "BuilderFlag"),
        ("STRONGLY_TYPED", "NetworkDefinitionCreationFlag"),
        ("DETAILED", "ProfilingVerbosity"),
        ("INPUT", "TensorIOMode"),
        ("ERROR", "Severity"),
    ]:
        assert flag in real[kind].split()
