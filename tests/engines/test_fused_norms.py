"""Norms in Triton: what they compute, by Triton's interpreter, and that they compile for real GPUs."""

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")

from samu_engines.torch_cuda import norms_for

INTERPRETED = textwrap.dedent(
    """
    import json, os, sys
    os.environ["TRITON_INTERPRET"] = "1"
    import torch
    from samu_engines import fused_norms, plain_norms
    from samu_engines.torch_cuda import norms_for

    torch.manual_seed(0)
    errors = {}
    for channels, groups, shape, far in json.loads(sys.argv[1]):
        features = torch.randn(2, channels, *shape) + far * torch.randn(2, channels, 1, 1, 1)
        features = features.half()
        gain, bias = torch.randn(2, channels)
        of_voxels = gain.reshape(1, -1, 1, 1, 1)
        for silu in (True, False):
            of = {"silu": silu, "epsilon": 1e-5}
            for name, given in (("group_norm", (groups, gain, bias)), ("voxel_norm", (of_voxels,))):
                found = getattr(fused_norms, name)(features, *given, **of)
                assert found.dtype == torch.float32
                assert found.is_contiguous(memory_format=torch.channels_last_3d)
                exact = getattr(plain_norms, name)(features.double(), *(
                    x.double() if isinstance(x, torch.Tensor) else x for x in given), **of)
                error = ((found.double() - exact).norm() / exact.norm()).item()
                errors[f"{name} {channels} {shape} {far} {silu}"] = error
    norms, said = norms_for("cpu")
    print(json.dumps([errors, norms.__name__, said]))
    """
)


def test_they_are_the_norms_in_float32_of_any_shape_and_far_from_zero():
    # Fewer voxels than a tile, parts that are not whole, channels that are no power of two; means of 30 deviations.
    cases = [(32, 32, (3, 2, 1), 0), (64, 32, (12, 13, 14), 30), (96, 32, (9, 8, 7), 1), (512, 32, (5, 5, 5), 30)]
    command = [sys.executable, "-W", "ignore", "-c", INTERPRETED, json.dumps(cases)]
    errors, norms, said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert len(errors) == 16
    assert max(errors.values()) < 3e-6, errors
    assert norms == "samu_engines.fused_norms"
    assert said == f"triton {triton.__version__}"


def test_where_triton_cannot_compile_torch_does_it_and_says_so(caplog):
    norms, said = norms_for("cpu")  # no interpreter here, and no GPU in use
    assert norms.__name__ == "samu_engines.plain_norms"
    assert said.startswith("torch, because Triton cannot: ")
    assert "norms are computed by PyTorch" in caplog.text


KERNELS = {
    "_moments": {"features": "*fp16", "means": "*fp32", "squares": "*fp32", "voxels": "i32", "channels": "i32"},
    "_normalise": {
        "features": "*fp16",
        "mean": "*fp32",
        "scale": "*fp32",
        "bias": "*fp16",
        "out": "*fp16",
        "voxels": "i32",
        "channels": "i32",
    },
    "_normalise_voxels": {
        "features": "*fp16",
        "gain": "*fp16",
        "out": "*fp16",
        "voxels": "i32",
        "channels": "i32",
        "epsilon": "fp32",
    },
}


@pytest.mark.parametrize("capability", [75, 80, 90, 100])
@pytest.mark.parametrize("name", KERNELS)
def test_they_compile_for_gpus_and_spill_next_to_no_registers(tmp_path, monkeypatch, name, capability):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from samu_engines import fused_norms

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(fused_norms, name)
    constants = {"STEPS": fused_norms.STEPS, "SILU": True} | fused_norms._options(64)
    constants = {key: value for key, value in constants.items() if key in kernel.arg_names}
    signature = KERNELS[name] | dict.fromkeys(constants, "constexpr")
    places = {(kernel.arg_names.index(key),): value for key, value in constants.items()}
    compiled = triton.compile(
        ASTSource(kernel, signature, places),
        target=GPUTarget("cuda", capability, 32),
        options={"enable_fp_fusion": True},
    )
    assert compiled.asm["cubin"].startswith(b"\x7fELF")
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    if not tool.exists():
        pytest.skip("this Triton has no cuobjdump")
    (tmp_path / "kernel.cubin").write_bytes(compiled.asm["cubin"])
    used = subprocess.run([tool, "--dump-resource-usage", tmp_path / "kernel.cubin"], check=True, capture_output=True)
    stack, local = (int(re.search(rf"{name}:(\d+)".encode(), used.stdout)[1]) for name in ("STACK", "LOCAL"))
    assert stack + local <= 32, used.stdout  # bytes a thread
