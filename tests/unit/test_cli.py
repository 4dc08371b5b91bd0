import importlib.metadata
import json
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from samu_batch.cli import COMMANDS, SUMMARIES, cli
from samu_batch.cli.settings import allowed
from samu_batch.model import model_names

HEAVY = {
    "numpy",
    "zarr",
    "dask",
    "distributed",
    "torch",
    "openvino",
    "onnxruntime",
    "httpx",
    "mrcfile",
    "samu_batch._rust",
}


def run(*arguments, **environment):
    return CliRunner().invoke(cli, list(arguments), env=environment)


def test_version_is_exact():
    result = run("--version")
    assert result.output == "samu-batch 0.1.0\n"


def test_help_imports_nothing_heavy():
    code = "import sys; sys.argv = ['samu-batch', '--help']\nfrom samu_batch.cli import cli\n"
    code += "try: cli()\nexcept SystemExit: pass\nprint(sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {name for name in HEAVY if f"'{name}'" in modules}


def test_every_command_has_a_summary_and_help():
    assert COMMANDS.keys() == SUMMARIES.keys()
    for name in COMMANDS:
        result = run(name, "--help")
        assert result.exit_code == 0, result.output
        assert "Usage" in result.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["enhance"], "ENTRY"),
        (["enhance", "not an id"], "not an id"),
        (["enhance", "EMD-1234", "--memory", "much"], "not a number of GiB"),
        (["enhance", "EMD-1234", "--batch", "0"], "neither auto nor a positive number"),
        (["enhance", "EMD-1234", "--max-failures", "few"], "neither a number nor a percentage"),
        (["enhance", "-"], "-o"),
        (["enhance", "EMD-1234", "--model", "no-such-model"], "no-such-model"),
        (["enhance", "EMD-1234", "EMD-1235", "--output", "x.map"], "one ENTRY"),
        (["enhance", "a.mrc", "-o", "run", "--output", "x.mrc"], "does not go with -o"),
        (["enhance", "EMD-1234", "--output", "x.mrc"], "name it .ccp4 or .map"),
        (["enhance", "a.mrc", "--output", "x.map"], "name it .mrc"),
        (["enhance", "a.mrc", "--output", "a.mrc", "--engine", "identity"], "is an input"),
        (["enhance", "a.mrc", "--output", "/dev/null/x.mrc"], "/dev/null"),
        (["enhance", "a.mrc", "-o", "/dev/null/x", "--engine", "identity"], "cannot be written"),
        (["enhance", "a.mrc", "--engine", "warp"], "no engine 'warp'"),
        (["enhance", "a.mrc", "--engine", "warp", "-n", "--model", "no-such-model"], "no-such-model"),
        (["enhance", "a.mrc", "--devices", "7"], "there is no GPU 7"),
        (["enhance", "a.mrc", "--devices", "fast"], "GPU numbers such as 0,1"),
        (["enhance", "a.mrc", "--executor", "serial", "--scheduler", "tcp://127.0.0.1:1"], "--executor serial"),
        (["enhance", "missing.txt"], "No such file"),
        (["enhance", "."], "a folder"),
        (["enhance", "a.mrc", "-o", "run", "--shard", "auto"], "none of SLURM_ARRAY_TASK_ID"),
        (["enhance", "a.mrc", "-o", "run", "--shard", "2"], "no partition is frozen"),
        (["enhance", "a.mrc", "-o", "run", "--shard", "3/2"], "not within 1 to 2"),
        (["enhance", "a.mrc", "--output", "x.mrc", "--shard", "1/2"], "does not go with --shard"),
        (["array", "a.mrc"], "--tasks"),
        (["array", "a.mrc", "--tasks", "2", "--time", "soon"], "no time such as"),
        (["array", "-", "--tasks", "2"], "-o"),
        (["plan", "a.mrc", "--model", "no-such-model"], "no-such-model"),
        (["plan", "a.mrc", "--model", "identity", "--engine", "warp"], "warp"),
        (["choose"], "No such command"),
        (["status", "."], "run.json"),
        (["report", "."], "run.json"),
    ],
)
def test_a_wrong_command_is_2_says_why_and_leaves_nothing(arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "samu-lite" not in model_names() and "--model" not in arguments:
        monkeypatch.setenv("SAMU_MODEL", "identity")
    result = CliRunner().invoke(cli, arguments, input="EMD-1234\n")
    assert result.exit_code == 2, result.output
    assert sentence in result.output
    assert not list(tmp_path.iterdir())


def test_the_version_is_that_of_the_package():
    assert run("--version").output.split()[1] == importlib.metadata.version("samu-batch")


def test_short_help_is_help():
    assert run("-h").output == run("--help").output
    assert run("enhance", "-h").output == run("enhance", "--help").output


def test_enhance_has_the_options_that_scripts_rely_on():
    promised = [
        "--output",
        "--model",
        "--engine",
        "--executor",
        "--devices",
        "--workers",
        "--threads",
        "--batch",
        "--shard",
        "--scheduler",
        "--slurm",
        "--grid",
        "--format",
        "--mirror",
        "--offline",
        "--cache",
        "--scratch",
        "--memory",
        "--max-voxels",
        "--max-failures",
        "--retry-failed",
        "--update",
        "--dry-run",
        "--quiet",
        "--verbose",
        "--json",
        "--config",
    ]
    assert not set(promised) - set(re.findall(r"--[a-z-]+", run("enhance", "--help").output))


def test_engine_list_says_why_not(tmp_path, make_model):
    sidecar, _ = make_model(tmp_path)
    result = run("engine", "list", "--model", str(sidecar))
    lines = dict(line.split(maxsplit=1) for line in result.output.splitlines())
    assert lines["tensorrt"].startswith("no: ")
    assert lines["openvino"].startswith("yes ")


def test_engine_bench_compares_with_the_first(tmp_path, make_model):
    sidecar, _ = make_model(tmp_path)
    result = run("engine", "bench", "--model", str(sidecar), "--seconds", "0", "--json")
    # The third, in bfloat16, is usable where the processor computes in that.
    first, second, *_ = (each for each in map(json.loads, result.output.splitlines()) if each["usable"])
    assert (first["name"], second["name"], first["ratio"]) == ("openvino", "onnxruntime", 1)
    assert second["ratio"] == pytest.approx(second["cubes_per_second"] / first["cubes_per_second"])
    assert min(first["memory"], second["memory"]) > 0
    table = run("engine", "bench", "onnxruntime", "--model", str(sidecar), "--seconds", "0").output
    assert table.splitlines()[1].split()[0] == "onnxruntime"


def test_engine_bench_needs_a_model_and_engines_that_exist(tmp_path):
    assert run("engine", "bench", "--model", str(tmp_path / "none.json")).exit_code == 2
    assert "warp" in run("engine", "bench", "warp", "--model", "identity").output


@pytest.mark.parametrize(("share", "total", "number"), [("3", 10, 3), ("5%", 1000, 50), ("0.5%", 100, 0)])
def test_failures_that_count_as_success(share, total, number):
    assert allowed(share, total) == number
