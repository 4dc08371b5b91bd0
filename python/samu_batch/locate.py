"""Where the map of an entry lies on this machine: a local file, the cache, or a download in passing."""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samu_batch.errors import FetchError, NotFoundError, UnreadableError
from samu_batch.fetch import archive_revision, cache_path, cached_map, fetch_map, stored_map
from samu_batch.revision import notes_of, read_notes

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from samu_batch.download import Progress
    from samu_batch.entries import Entry
    from samu_batch.task import MapOptions, MapTask

log = logging.getLogger("samu_batch")


@dataclass(frozen=True)
class Located:
    """A map on this machine, with where it came from as the receipt tells it."""

    path: Path
    origin: dict[str, Any]

    def provenance(self) -> dict[str, Any]:
        """Return source, size in bytes and time of modification."""
        stat = self.path.stat()
        return self.origin | {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def default_cache() -> Path:
    """Return the folder that ``fetch`` keeps maps in unless another is named."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "samu-batch"


def local_path(entry: Entry, options: MapOptions) -> Path | None:
    """Return where the map of ``entry`` lies already; None where it must be downloaded first."""
    return stored_map(entry, options.cache or default_cache(), mirrors=options.mirrors)


def locate(task: MapTask, *, progress: Progress | None = None) -> Located:
    """Return the map of a task, downloading it in passing if it is not on this machine.

    ``progress`` is told the bytes received and the length, if it is known.

    Raises
    ------
    NotFoundError, UnreadableError, FetchError
        There is no such map; it may not be read; it cannot be had.
    """
    entry, options = task.entry, task.options
    if entry.kind == "file":
        return _local(Path(entry.source))
    cache = options.cache or default_cache()
    if options.update and (kept := cached_map(entry, cache)) is not None and _outdated(entry, kept, options):
        kept.unlink()
        notes_of(kept).unlink(missing_ok=True)
    path = local_path(entry, options) or fetch_in_passing(task, progress=progress)
    noted = read_notes(path)
    return Located(path, {"source": entry.source} | (asdict(noted) if noted else {}))


def fetch_in_passing(task: MapTask, *, progress: Progress | None = None, stop: threading.Event | None = None) -> Path:
    """Return the map of a task, fetched to where :func:`forget` removes it.

    ``progress`` and ``stop`` are as for :func:`fetch_map`. Raises as :func:`locate`.
    """
    if task.not_fetched is not None:
        raise task.not_fetched
    options = task.options
    return fetch_map(
        task.entry,
        _passing(task),
        mirrors=options.mirrors,
        offline=options.offline,
        progress=progress,
        turns=options.cache or default_cache(),
        stop=stop,
    )


def revised(entry: Entry, known: Mapping[str, Any], options: MapOptions) -> bool:
    """Whether the archive has another revision of a map than the one with these notes; False where it does not answer.

    ``known`` is what a receipt says of its input.
    """
    try:
        now = archive_revision(entry, mirrors=options.mirrors)
    except (FetchError, NotFoundError) as error:
        log.warning("%s: the archive was not asked for a newer revision: %s", entry.id, error)
        return False
    if known.get("url") == now.url and known.get("etag") and now.etag:
        return bool(known["etag"] != now.etag)
    return bool(known.get("length", known.get("bytes")) != now.length)


def forget(task: MapTask) -> None:
    """Remove what :func:`locate` downloaded in passing; what ``fetch`` stored stays."""
    if task.entry.kind != "file":
        folder = _passing(task)
        with suppress(OSError):
            # The map first: a worker that is killed meanwhile must not leave one without what is known of it.
            cache_path(task.entry, folder).unlink()
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # others may be downloading
            folder.parent.rmdir()


def forget_nothing(task: MapTask) -> None:
    """Remove the folders of a download in passing that brought nothing yet; what it brought is resumed later."""
    folder = _passing(task)
    for path in (*sorted(folder.rglob("*"), reverse=True), folder, folder.parent):
        with suppress(OSError):  # not empty
            path.rmdir()


def _passing(task: MapTask) -> Path:
    return (task.options.cache or default_cache()) / "passing" / task.token


def _outdated(entry: Entry, kept: Path, options: MapOptions) -> bool:
    noted = read_notes(kept)
    return noted is not None and revised(entry, asdict(noted), options)


def _local(path: Path) -> Located:
    if not path.exists():
        raise NotFoundError(f"no such file: {path}")
    if not os.access(path, os.R_OK):
        raise UnreadableError(f"may not be read: {path}")
    return Located(path, {"source": str(path)})
