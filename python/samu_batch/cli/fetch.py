"""``samu-batch fetch``."""

from __future__ import annotations

import sys
from typing import Any

import click

from samu_batch.cli.options import read_entries, source_options
from samu_batch.cli.settings import SettingsCommand


@click.command(cls=SettingsCommand)
@click.argument("entries", nargs=-1, required=True, metavar="ENTRY...")
@source_options
def fetch(entries: tuple[str, ...], **values: Any) -> None:
    """Only download maps into the cache; `samu-batch enhance --offline` then finds them there.

    Run it where there is a network (a cluster's login node). It resumes what it had begun. The paths of the maps go to
    standard output. Exit status: 0 all there, 1 some failed.
    """
    from samu_batch.emdb import DEFAULT_MIRRORS
    from samu_batch.errors import SamuError
    from samu_batch.fetch import fetch_map
    from samu_batch.locate import default_cache

    cache = values["cache"] or default_cache()
    mirrors = tuple(values["mirrors"]) or DEFAULT_MIRRORS
    failed = 0
    for entry in read_entries(entries):
        if entry.kind == "file":
            continue
        try:
            click.echo(fetch_map(entry, cache, mirrors=mirrors, offline=values["offline"]))
        except SamuError as error:
            failed += 1
            click.echo(f"{entry.id} {error.kind}: {error}", err=True)
    sys.exit(1 if failed else 0)
