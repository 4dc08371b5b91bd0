import subprocess
import sys

import pytest
from click.testing import CliRunner

from samu_batch.cli import COMMANDS, SUMMARIES, cli
from samu_batch.cli.settings import allowed

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
        (["status", "."], "run.json"),
    ],
)
def test_a_wrong_command_is_2_and_says_why(arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, arguments, input="EMD-1234\n")
    assert result.exit_code == 2, result.output
    assert sentence in result.output
    assert not list(tmp_path.iterdir())


def test_options_come_from_command_line_then_environment_then_file(tmp_path):
    settings = tmp_path / "samu.toml"
    settings.write_text("memory = 0.1\n")
    entry = "EMD-1234"
    assert "0.1 GiB is too little" in run("enhance", entry, "--config", str(settings)).output
    assert "0.2 GiB is too little" in run("enhance", entry, "--config", str(settings), SAMU_MEMORY="0.2").output
    assert "0.05 GiB is too little" in run("enhance", entry, "--memory", "0.05", SAMU_MEMORY="0.2").output


def test_an_unknown_option_in_the_file_is_refused(tmp_path):
    settings = tmp_path / "samu.toml"
    settings.write_text("memroy = 1\n")
    result = run("enhance", "EMD-1234", "--config", str(settings))
    assert result.exit_code == 2
    assert "memroy" in result.output


@pytest.mark.parametrize(("share", "total", "number"), [("3", 10, 3), ("5%", 1000, 50), ("0.5%", 100, 0)])
def test_failures_that_count_as_success(share, total, number):
    assert allowed(share, total) == number
