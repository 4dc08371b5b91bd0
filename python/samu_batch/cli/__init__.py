"""The command line: parse, call, echo. The only part that knows click; commands load when they are called."""

from __future__ import annotations

import importlib
import signal
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMANDS = {
    "enhance": "samu_batch.cli.enhance",
    "select": "samu_batch.cli.select",
    "plan": "samu_batch.cli.plan",
    "array": "samu_batch.cli.array",
    "fetch": "samu_batch.cli.fetch",
    "status": "samu_batch.cli.status",
    "report": "samu_batch.cli.status",
    "evaluate": "samu_batch.cli.evaluate",
    "engine": "samu_batch.cli.engine",
    "doctor": "samu_batch.cli.doctor",
}
SUMMARIES = {
    "enhance": "Enhance maps: files, URLs, EMDB ids, or a LIST of them.",
    "select": "Make a LIST of the archive's entries by resolution, method, size or date.",
    "plan": "Tell what a list will cost before anything runs.",
    "array": "Print the script of a job array that shares a list.",
    "fetch": "Only download, for nodes without a network.",
    "status": "Show how far a run is; works while it is going.",
    "report": "Rebuild a run's report.html, report.jsonl and failed.txt.",
    "evaluate": "Compare a map with an atomic model, by phenix's own code.",
    "engine": "List engines and compare their speed.",
    "doctor": "Say what this machine can run, and why not the rest.",
}


class LazyGroup(click.Group):
    """A group whose commands are imported only when they are called, so that ``--help`` is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands, in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command and return it."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option("0.1.0", message="samu-batch %(version)s")
def cli() -> None:
    r"""Enhance cryo-EM density maps at 4-8 A: one map on a laptop, or the whole archive on a cluster.

    \b
      samu-batch enhance my_map.mrc                 one map
      samu-batch enhance EMD-1234 6272 5778         entries of the archive
      samu-batch enhance emdb_list.txt -o RUN       thousands; run it again to go on where it stopped

    Every option can be set by an environment variable (--memory: SAMU_MEMORY) or in a TOML file (--config).
    """


def every_command() -> Iterator[click.Command]:
    """Import and iterate over all commands that take options, those of groups included."""
    for name in COMMANDS:
        command = getattr(importlib.import_module(COMMANDS[name]), name)
        yield from command.commands.values() if isinstance(command, click.Group) else (command,)


def main() -> None:
    """Run the command line; the exit status is that of docs/run-directory.md."""
    # A command that does not resume dies of Ctrl-C itself, so that shells and loops see that it was interrupted.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(cli(prog_name="samu-batch"))
