"""``samu-batch fetch``."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from samu_batch.cli.options import read_entries, source_options
from samu_batch.cli.outcome import EXIT_SOME_FAILED, EXIT_STOPPED_EARLY
from samu_batch.cli.settings import SettingsCommand


@click.command(cls=SettingsCommand)
@click.argument("entries", nargs=-1, required=True, metavar="ENTRY...")
@source_options
def fetch(entries: tuple[str, ...], **values: Any) -> None:
    """Only download maps into the cache; `samu-batch enhance --offline` then finds them there.

    Run it where there is a network (a cluster's login node). It resumes what it had begun. The paths of the maps go to
    standard output. Maps that are files already are left out. Exit status: 0 all there, 1 some failed, 75 network
    gone.
    """
    from samu_batch.emdb import DEFAULT_MIRRORS
    from samu_batch.fetch import network_gone
    from samu_batch.fetch_ahead import fetch_all
    from samu_batch.locate import default_cache

    mirrors = tuple(values["mirrors"]) or DEFAULT_MIRRORS
    remote = [entry for entry in read_entries(entries) if entry.kind != "file"]
    failed = 0
    fetched = fetch_all(remote, values["cache"] or default_cache(), mirrors=mirrors, offline=values["offline"])
    with closing(fetched):
        for number, (entry, found) in enumerate(fetched, start=1):
            if isinstance(found, Path):
                click.echo(found)
                click.echo(f"[{number}/{len(remote)}] {entry.id} {found.stat().st_size / 1e6:.1f} MB", err=True)
                continue
            failed += 1
            click.echo(f"[{number}/{len(remote)}] {entry.id} {found.kind}: {found}", err=True)
            if found.kind == "fetch" and entry.kind == "emdb" and network_gone(mirrors):
                click.echo("stopped: no mirror answers, the network may be gone; run this again", err=True)
                sys.exit(EXIT_STOPPED_EARLY)
    sys.exit(EXIT_SOME_FAILED if failed else 0)
