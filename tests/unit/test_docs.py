"""What the documents say is so: links lead somewhere, commands parse, lists are the code's."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from samu_batch.cli import COMMANDS, cli
from samu_batch.engine import AUTO_ORDER, installed_engines
from samu_batch.errors import TRANSIENT_KINDS, SamuError
from samu_batch.selection import COLUMNS
from samu_batch.task import MapReport

ROOT = Path(__file__).parents[2]
IGNORED = {".venv", "target", "build", ".pytest_cache", "node_modules"}
PAGES = sorted(path for path in ROOT.rglob("*.md") if not IGNORED & set(path.relative_to(ROOT).parts))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


def commands(page):
    """The `samu-batch` commands of a page's console blocks, without their comments."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("samu-batch ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_parse(page):
    for words in commands(page):
        command, context, name = cli, None, "samu-batch"
        while hasattr(command, "get_command"):
            context = command.make_context(name, list(words), parent=context, resilient_parsing=True)
            name, *words = words
            command = command.get_command(context, name)
            assert command is not None, f"{page.name}: samu-batch {name}"
        # Parsed as it stands, with every option known; nothing runs.
        command.make_context(name, [word for word in words if word != "-h"], parent=context)


def test_the_readme_shows_commands():
    assert {words[0] for words in commands(ROOT / "README.md")} >= {"enhance", "doctor"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    assert CliRunner().invoke(cli, [name, "--help"]).exit_code == 0


def section(page, title):
    text = (ROOT / "docs" / page).read_text()
    return re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)[1]


def test_documented_kinds_are_those_of_the_code():
    text = section("run-directory.md", "Kinds of failure")
    listed, transient = text.split("The list only grows.")
    assert set(re.findall(r"`([a-z-]+)`", listed)) == {error.kind for error in SamuError.__subclasses__()}
    assert set(re.findall(r"`([a-z-]+)`", transient)) - {"--retry-failed"} == TRANSIENT_KINDS


def test_documented_fields_are_those_of_the_receipt():
    rows = re.findall(r"^\| (`[^|]+) \|", section("run-directory.md", "The receipt"), re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert documented | {"schema"} == set(MapReport.__dataclass_fields__)


def test_documented_engines_are_those_there_are():
    text = (ROOT / "docs" / "engines.md").read_text()
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| [^|]+ \| ([^|]+) \|", text, re.MULTILINE)
    absent = {name for name, state in rows if "does not exist" in state}
    assert {name for name, _ in rows} - absent == set(installed_engines())
    assert absent == set(AUTO_ORDER) - set(installed_engines())
    order = ", ".join(f"`{name}`" for name in AUTO_ORDER)
    assert order in text


def test_documented_columns_are_those_of_the_list():
    rows = re.findall(r"^\| (`[^|]+) \|", section("select.md", "The LIST"), re.MULTILINE)
    assert tuple(name for row in rows for name in re.findall(r"`(\w+)`", row)) == COLUMNS


def test_options_named_in_the_documents_exist():
    known = set()
    for name in COMMANDS:
        known |= set(re.findall(r"--[a-z-]+", CliRunner().invoke(cli, [name, "--help"]).output))
    for page in ("run-directory.md", "design.md", "engines.md", "select.md", "cluster.md"):
        named = set(re.findall(r"`(--[a-z-]+)", (ROOT / "docs" / page).read_text()))
        assert named <= known | {"--engine", "--model"}, page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_extras_that_are_named_exist(page):
    offered = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"samu-batch\[(\w+)\]", page.read_text())) <= set(offered)
