"""What a driver says, or why there is none: with real libraries, loaded by ctypes in a process of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FAKES = Path(__file__).parents[1] / "fakes"


@pytest.fixture
def driver(tmp_path):
    """`driver(init, gpus)` compiles a libcuda.so.1 and returns its folder."""
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("there is no C compiler")

    def make(init, gpus):
        command = [compiler, "-shared", "-fPIC", f"-DINIT={init}", f"-DGPUS={gpus}", str(FAKES / "libcuda.c")]
        subprocess.run([*command, "-o", str(tmp_path / "libcuda.so.1")], check=True)
        return tmp_path

    return make


ASK = """
from samu_engines.nvidia import first_gpu
try:
    print(*first_gpu(), sep="|")
except RuntimeError as error:
    print(error)
"""


def ask(folder, **environment):
    env = os.environ | {"LD_LIBRARY_PATH": str(folder)} | environment
    asked = subprocess.run([sys.executable, "-c", ASK], env=env, check=True, capture_output=True, text=True)
    return asked.stdout.strip()


def test_a_gpu_is_described(driver):
    assert ask(driver(0, 2)) == "Fake H100|9.0|13.1"


def test_a_driver_without_gpus_says_so(driver):
    assert ask(driver(0, 0), CUDA_VISIBLE_DEVICES="5") == (
        "the NVIDIA driver shows no GPU (CUDA_VISIBLE_DEVICES is '5')"
    )


def test_a_driver_that_does_not_start_says_so(driver):
    assert ask(driver(999, 1)) == "the NVIDIA driver does not work: cuInit gives 999, unknown error"


def test_no_driver_says_so(tmp_path):
    (tmp_path / "libcuda.so.1").write_text("no library")
    assert ask(tmp_path).startswith("there is no NVIDIA driver: ")
