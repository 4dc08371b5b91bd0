"""``samu-batch select``."""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from samu_batch.cli.options import read_entries, source_options
from samu_batch.cli.outcome import EXIT_SOME_FAILED, EXIT_STOPPED_EARLY
from samu_batch.cli.settings import CommandError, SettingsCommand, Share, allowed
from samu_batch.selection import METHODS, Criteria

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from samu_batch.asking import Asker
    from samu_batch.catalogue import Catalogue
    from samu_batch.emdb import EmdbId
    from samu_batch.errors import SamuError
    from samu_batch.metadata import Metadata

T = TypeVar("T")
HEARTBEAT_SECONDS = 60.0
DAY = 86_400.0


class Span(click.ParamType["tuple[float | None, float | None]"]):
    """Two numbers with a colon between; one left out is no bound."""

    name = "FROM:TO"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float | None, float | None]:
        """Return both bounds."""
        if isinstance(value, tuple):
            return value
        number = r"(\d+(?:\.\d*)?|\.\d+)?"
        found = re.fullmatch(rf"\s*{number}\s*:\s*{number}\s*", str(value))
        low, high = (float(text) if text else None for text in found.groups()) if found else (1.0, 0.0)
        if low is not None and high is not None and low > high:
            self.fail(f"{value!r} is not a range such as 4:8, 4: or :8", param, ctx)
        return low, high


@click.command(cls=SettingsCommand)
@click.option(
    "--resolution", type=Span(), default="4:8", show_default=True, help="In angstrom, ends included; `:` for any."
)
@click.option("--method", "methods", multiple=True, type=click.Choice(METHODS), help="May be repeated.  [default: any]")
@click.option("--max-box", type=click.IntRange(min=1), metavar="N", help="Voxels of the longest edge at most.")
@click.option(
    "--since", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE", help="Released or revised that day or later."
)
@click.option("--ids", multiple=True, metavar="ENTRY", help="Look only at these: a LIST, an id; may be repeated.")
@click.option(
    "--source",
    type=click.Choice(["header", "rest"]),
    default="header",
    show_default=True,
    help="Read the header files of the mirrors, or EMDB's REST API.",
)
@click.option("--api", metavar="URL", help="Root of the REST API.  [default: https://www.ebi.ac.uk/emdb/api]")
@click.option(
    "--connections", type=click.IntRange(1, 64), default=8, show_default=True, help="Questions to servers at once."
)
@click.option(
    "--max-age",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    help="Ask again about what was asked longer ago.  [default: 30; with --since 1]",
)
@click.option("--max-failures", type=Share(), default="0", show_default=True, help="Failures that still count as 0.")
@click.option(
    "-o",
    "list_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="LIST",
    help="[default: standard output]",
)
@source_options
@click.option("-q", "--quiet", is_flag=True, help="No progress, no line for each failure.")
def select(**values: Any) -> None:
    """Make a LIST of the archive's entries, with the columns from which `plan` tells the cost before a map is fetched.

    What the archive says of each entry is kept in the cache: run the same command again to go on where it stopped.
    Exit status: 0 the LIST is whole, 1 some entries could not be read (the LIST has the others), 75 the network is
    gone or the disk is full, and no LIST was written.
    """
    from samu_batch.asking import PATIENCE, Asker
    from samu_batch.errors import FetchError, NotFoundError, StoreError
    from samu_batch.files import write_whole
    from samu_batch.selection import list_text

    criteria, named = _criteria(values), _named(values["ids"])
    try:
        with Asker(connections=values["connections"], patience=PATIENCE) as asker:
            catalogue = _catalogue(values, asker)
            ids = named or catalogue.ids()
            found, failed = _look_up(catalogue, ids, criteria, asker=asker, values=values)
        listed = [metadata for metadata in found if criteria.objection(metadata) is None]
        if values["list_file"]:
            write_whole(values["list_file"], list_text(listed))
        else:
            click.echo(list_text(listed), nl=False)
    except NotFoundError as error:
        raise CommandError(str(error)) from error
    except (FetchError, StoreError) as error:
        click.echo(f"stopped, no LIST was written: {error}; run this again to go on", err=True)
        sys.exit(EXIT_STOPPED_EARLY)
    left_out = Counter(reason for metadata in found if (reason := criteria.objection(metadata)))
    click.echo(_summary(len(ids), listed, left_out, failed), err=True)
    sys.exit(EXIT_SOME_FAILED if len(failed) > allowed(values["max_failures"], len(ids)) else 0)


def _criteria(values: dict[str, Any]) -> Criteria:
    finest, coarsest = values["resolution"]
    since: datetime | None = values["since"]
    return Criteria(
        finest=finest,
        coarsest=coarsest,
        methods=values["methods"],
        max_box=values["max_box"],
        since=since.date() if since else None,
    )


def _named(arguments: Sequence[str]) -> list[EmdbId]:
    """Return the entries that ``--ids`` names."""
    from samu_batch.emdb import EmdbId

    entries = read_entries(arguments) if arguments else []
    for entry in entries:
        if entry.kind != "emdb":
            raise CommandError(f"{entry.source}: --ids takes EMDB entries only")
    return [EmdbId.parse(entry.source) for entry in entries]


def _catalogue(values: dict[str, Any], asker: Asker) -> Catalogue:
    from samu_batch.catalogue import DEFAULT_API, Catalogue
    from samu_batch.emdb import DEFAULT_MIRRORS
    from samu_batch.locate import default_cache

    days = values["max_age"]
    if days is None:
        days = 1 if values["since"] else 30
    return Catalogue(
        (values["cache"] or default_cache()) / "metadata",
        mirrors=tuple(values["mirrors"]) or DEFAULT_MIRRORS,
        asker=None if values["offline"] else asker,
        api=(values["api"] or DEFAULT_API) if values["source"] == "rest" else None,
        max_age=days * DAY,
    )


def _look_up(
    catalogue: Catalogue, ids: Sequence[EmdbId], criteria: Criteria, *, asker: Asker, values: dict[str, Any]
) -> tuple[list[Metadata], list[SamuError]]:
    """Return the metadata of the entries, and why others have none; raise where no server answers any more."""
    from samu_batch.catalogue import look_up_all
    from samu_batch.download import UnreachableError
    from samu_batch.errors import SamuError
    from samu_batch.selection import ask, settled

    found = settled(catalogue, ids, criteria)
    failed: list[SamuError] = []
    left = [emdb_id for emdb_id in ids if emdb_id not in found]
    outcomes = look_up_all(
        left, lambda emdb_id: ask(catalogue, emdb_id, criteria), connections=values["connections"], stop=asker.stop
    )
    with closing(outcomes):
        for emdb_id, outcome in _watched(outcomes, total=len(left), quiet=values["quiet"]):
            if isinstance(outcome, UnreachableError):
                raise outcome
            if isinstance(outcome, SamuError):
                failed.append(outcome)
                if not values["quiet"]:
                    click.echo(f"{emdb_id} {outcome.kind}: {outcome}", err=True)
            else:
                found[emdb_id] = outcome
    return list(found.values()), failed


def _watched(items: Iterable[T], *, total: int, quiet: bool) -> Iterator[T]:
    """Pass items on and show how many came, and how long the rest will take: a bar on a terminal, else lines."""
    if not quiet and sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track

        yield from track(items, total=total, description="entries", console=Console(stderr=True))
        return
    from samu_batch.progress import duration

    start = beat = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if not quiet and now - beat >= HEARTBEAT_SECONDS and done < total:
            beat = now
            left = duration((total - done) / done * (now - start))
            click.echo(f"[{done} of {total} entries asked for; about {left} left]", err=True)


def _summary(total: int, listed: Sequence[Metadata], left_out: Counter[str], failed: Sequence[SamuError]) -> str:
    size = sum(metadata.download or 0 for metadata in listed)
    unknown = sum(metadata.download is None for metadata in listed)
    sentence = f"{len(listed)} of {total} entries listed, {size / 1e9:.2f} GB to fetch"
    sentence += f" and {unknown} of unknown size" if unknown else ""
    for title, counts in (("left out", left_out), ("failed", Counter(error.kind for error in failed))):
        parts = ", ".join(f"{reason} {count}" for reason, count in counts.most_common())
        sentence += f"; {counts.total()} {title} ({parts})" if counts else ""
    return sentence
