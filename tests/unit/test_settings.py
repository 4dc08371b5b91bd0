"""Options come from the command line, else the environment, else a file, else their default."""

import json

import pytest
from click.testing import CliRunner

from samu_batch.cli import cli, every_command
from samu_batch.cli.enhance import enhance
from samu_batch.cli.settings import settings_in_force, settings_of

VALUES = {
    "grid": "model",
    "max_failures": "7%",
    "retry_failed": "true",
    "mirrors": "https://a.org/x http://b.org,/local",
    "memory": "2.5",
}


def in_force(config=None):
    settings = settings_in_force(enhance, config=config)
    return {setting["name"]: (setting["value"], setting["source"]) for setting in settings}


def test_defaults():
    settings = in_force()
    assert settings["grid"] == ("input", "default")
    assert {source for _, source in settings.values()} == {"default"}


def test_every_option_of_every_command_has_a_variable():
    for command in every_command():
        variables = [option.envvar for _, option in settings_of(command)]
        assert all(variables), command.name
        names = [name for name, _ in settings_of(command)]
        assert len(set(names)) == len(names)


def test_the_environment(monkeypatch):
    for name, value in VALUES.items():
        monkeypatch.setenv(f"SAMU_{name.upper()}", value)
    settings = in_force()
    assert settings["grid"] == ("model", "environment (SAMU_GRID)")
    assert settings["retry_failed"][0] is True
    assert settings["mirror"] == (("https://a.org/x", "http://b.org", "/local"), "environment (SAMU_MIRRORS)")
    assert settings["memory"][0] == 2.5 * 2**30


def test_the_file_yields_to_the_environment(tmp_path, monkeypatch):
    config = tmp_path / "samu.toml"
    config.write_text('grid = "model"\nformat = "both"\nmax-failures = 3\nmirror = ["/a", "/b"]\ndevices = [0, 1]\n')
    monkeypatch.setenv("SAMU_GRID", "input")
    settings = in_force(config)
    assert settings["grid"] == ("input", "environment (SAMU_GRID)")
    assert settings["format"] == ("both", f"file ({config})")
    assert settings["max_failures"][0] == "3"
    assert settings["mirror"][0] == ("/a", "/b")
    assert settings["devices"][0] == "0,1"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("memroy = 1", "memroy"),
        ("memory =", "Invalid value"),
        ('memory = "much"', "not a number of GiB"),
        ("\xff", "utf-8"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(tmp_path, text, sentence):
    config = tmp_path / "samu.toml"
    config.write_bytes(text.encode("latin-1"))
    result = CliRunner().invoke(cli, ["enhance", "EMD-1234", "--config", str(config)])
    assert result.exit_code == 2
    assert sentence in result.output


def test_one_file_serves_every_command(tmp_path, monkeypatch):
    config = tmp_path / "samu.toml"
    config.write_text("memory = 1\nseconds = 0.1\n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("missing.mrc\n")
    result = CliRunner().invoke(cli, ["fetch", "list.txt", "--config", str(config)])
    assert result.exit_code == 0, result.output


def test_the_doctor_shows_them(tmp_path, monkeypatch, make_model):
    sidecar, _ = make_model(tmp_path)
    monkeypatch.setenv("SAMU_MODEL", str(sidecar))
    monkeypatch.setenv("SAMU_CACHE", str(tmp_path))
    findings = json.loads(CliRunner().invoke(cli, ["doctor", "--json"]).stdout)
    assert {"name": "cache", "value": str(tmp_path), "source": "environment (SAMU_CACHE)"} in findings["settings"]
    assert findings["machine"]["cache"]["path"] == str(tmp_path)
    text = CliRunner().invoke(cli, ["doctor"]).stdout
    assert "environment (SAMU_CACHE)" in text
    assert "openvino" in text
    monkeypatch.setenv("SAMU_MEMORY", "much")
    refused = CliRunner().invoke(cli, ["doctor"])
    assert refused.exit_code == 2
    assert "not a number of GiB" in refused.output
