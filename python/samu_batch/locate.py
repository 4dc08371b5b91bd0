"""Where the map of an entry lies on this machine: a local file, the cache, or a download in passing."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samu_batch.errors import NotFoundError, UnreadableError
from samu_batch.fetch import cached_map, fetch_map

if TYPE_CHECKING:
    from samu_batch.entries import Entry
    from samu_batch.task import MapOptions


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
    if entry.kind == "file":
        return Path(entry.source)
    return cached_map(entry, options.cache or default_cache())


def locate(entry: Entry, options: MapOptions) -> Located:
    """Return the map of ``entry``, downloading it in passing if neither it nor the cache has it.

    Raises
    ------
    NotFoundError, UnreadableError, FetchError
        There is no such map; it may not be read; it cannot be had.
    """
    if entry.kind == "file":
        return _local(Path(entry.source))
    cache = options.cache or default_cache()
    path = cached_map(entry, cache)
    if path is None:
        path = fetch_map(entry, _passing(cache, entry), mirrors=options.mirrors, offline=options.offline)
    notes = path.with_name(path.name + ".json")
    return Located(path, {"source": entry.source} | (json.loads(notes.read_text()) if notes.exists() else {}))


def forget(entry: Entry, options: MapOptions) -> None:
    """Remove what :func:`locate` downloaded in passing; what ``fetch`` stored stays."""
    if entry.kind != "file":
        shutil.rmtree(_passing(options.cache or default_cache(), entry), ignore_errors=True)


def _passing(cache: Path, entry: Entry) -> Path:
    return cache / "passing" / entry.id


def _local(path: Path) -> Located:
    if not path.exists():
        raise NotFoundError(f"no such file: {path}")
    if not os.access(path, os.R_OK):
        raise UnreadableError(f"may not be read: {path}")
    return Located(path, {"source": str(path)})
