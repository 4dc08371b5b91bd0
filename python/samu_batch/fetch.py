"""Maps from the archive or a URL, kept in a cache with EMDB's layout.

A map counts only when it is whole: the length agrees and every gzip checksum was verified. Any number of processes may
fetch the same map into one cache; one downloads, the others wait for it.
"""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from samu_batch.download import Patience, UnreachableError, answers, ask_revision, download
from samu_batch.emdb import DEFAULT_MIRRORS, EmdbId, map_path
from samu_batch.errors import FetchError, NotFoundError, SamuError
from samu_batch.files import NO_LOCKS, owned, store_error, sync
from samu_batch.revision import notes_of, write_notes
from samu_batch.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import BufferedRandom

    from samu_batch.download import Progress
    from samu_batch.entries import Entry
    from samu_batch.revision import Revision

PATIENCE = Patience()


def fetch_map(
    entry: Entry,
    cache: Path,
    *,
    mirrors: Sequence[str] = DEFAULT_MIRRORS,
    offline: bool = False,
    progress: Progress | None = None,
    patience: Patience = PATIENCE,
    turns: Path | None = None,
    stop: threading.Event | None = None,
) -> Path:
    """Return the map of ``entry`` on this machine, downloading it into ``cache`` if need be.

    A local file is returned as it is, and so is one in a mirror that is a local folder. Beside a downloaded map lies a
    JSON file with its url, etag, last_modified, length and sha256.

    Parameters
    ----------
    mirrors
        Roots with EMDB's layout, tried in order: https, http or a local folder.
    offline
        Use what is there, never the network.
    progress
        Told the bytes received and the length, if it is known.
    turns
        Folder by which processes take turns at a server; ``cache`` by default.
    stop
        Set it to end the download soon, as a :class:`FetchError`; what has arrived stays.

    Raises
    ------
    NotFoundError
        No mirror has it; offline, it was not fetched before.
    FetchError
        It could not be had; the message has each mirror's reason. :class:`UnreachableError` if none even answered.
    StoreError
        The cache cannot be written.
    """
    found = stored_map(entry, cache, mirrors=mirrors)
    if found is not None:
        return found
    if offline:
        raise NotFoundError(f"{entry.source} is not in {cache}: run `samu-batch fetch` where there is a network")
    target = cache_path(entry, cache)
    try:
        with _alone(target) as part:
            if target.exists():  # another process brought it while this one waited
                Path(part.name).unlink(missing_ok=True)
            else:
                stop = stop or threading.Event()
                at = [(url, Turns(url, turns or cache, stop=stop)) for url in _urls(entry, mirrors)]
                _download_any(at, part, target, progress=progress, patience=patience)
    except SamuError:
        raise
    except OSError as error:
        raise store_error(target, error) from error
    return target


def stored_map(entry: Entry, cache: Path, *, mirrors: Sequence[str] = ()) -> Path | None:
    """Return the map of ``entry`` if it is on this machine: a file, in a local mirror, or in the cache."""
    if entry.kind == "file":
        return Path(entry.source)
    folders = [Path(mirror) for mirror in mirrors if not is_server(mirror)] if entry.kind == "emdb" else []
    places = [folder / map_path(EmdbId.parse(entry.source)) for folder in folders]
    return next((path for path in [*places, cache_path(entry, cache)] if path.is_file()), None)


def cached_map(entry: Entry, cache: Path) -> Path | None:
    """Return the map of ``entry`` in ``cache``; None where it was not fetched."""
    path = cache_path(entry, cache)
    return path if path.is_file() else None


def cache_path(entry: Entry, cache: Path) -> Path:
    """Return where ``cache`` keeps the map of ``entry``: in EMDB's layout, so that a cache can serve as a mirror."""
    if entry.kind == "emdb":
        return cache / map_path(EmdbId.parse(entry.source))
    name = Path(unquote(urlsplit(entry.source).path)).name.replace("\0", "")
    return cache / "urls" / hashlib.sha256(entry.source.encode()).hexdigest()[:16] / (name[-100:] or "map")


def archive_revision(
    entry: Entry, *, mirrors: Sequence[str] = DEFAULT_MIRRORS, patience: Patience = PATIENCE
) -> Revision:
    """Return the revision that the first mirror to answer has now (raises as :func:`fetch_map`)."""
    reasons = []
    for url in _urls(entry, mirrors):
        try:
            return ask_revision(url, patience=patience)
        except (FetchError, NotFoundError) as error:
            reasons.append(error)
    raise all_failed(reasons)


def network_gone(mirrors: Sequence[str], *, seconds: float = 10.0) -> bool:
    """Whether not one of the mirrors that are servers answers at all, be it with an error."""
    servers = [mirror for mirror in mirrors if is_server(mirror)]
    return bool(servers) and not any(answers(server, seconds=seconds) for server in servers)


def _download_any(
    places: Sequence[tuple[str, Turns]],
    part: BufferedRandom,
    target: Path,
    *,
    progress: Progress | None,
    patience: Patience,
) -> None:
    """Bring the file from the first URL that has it whole, and give it its name."""
    reasons: list[Exception] = []
    path = Path(part.name)
    for url, turns in places:
        try:
            revision = download(url, part, path=path, turns=turns, patience=patience, progress=progress)
        except (FetchError, NotFoundError) as error:
            reasons.append(error)
            continue
        os.fsync(part.fileno())
        write_notes(target, revision)
        path.replace(target)
        notes_of(path).unlink(missing_ok=True)
        sync(target.parent)
        return
    if part.seek(0, os.SEEK_END) == 0:
        path.unlink(missing_ok=True)
        notes_of(path).unlink(missing_ok=True)
    raise all_failed(reasons)


def all_failed(reasons: Sequence[Exception]) -> FetchError | NotFoundError:
    """Return one error for the reasons of all mirrors."""
    text = "; ".join(map(str, reasons)) or "no mirror to ask"
    if reasons and all(isinstance(reason, NotFoundError) for reason in reasons):
        return NotFoundError(text)
    if reasons and all(isinstance(reason, UnreachableError) for reason in reasons):
        return UnreachableError(text)
    return FetchError(text)


def _urls(entry: Entry, mirrors: Sequence[str]) -> list[str]:
    if entry.kind == "url":
        return [entry.source]
    path = map_path(EmdbId.parse(entry.source))
    return [f"{mirror.rstrip('/')}/{path}" for mirror in mirrors if is_server(mirror)]


def is_server(mirror: str) -> bool:
    """Whether a mirror is asked over the network, rather than a local folder."""
    return mirror.startswith(("http://", "https://"))


@contextmanager
def _alone(target: Path) -> Iterator[BufferedRandom]:
    """Open the unfinished download of ``target`` when no other process has it.

    Where the file system has no locks, the download gets a name of its own, and is not resumed.
    """
    try:
        part = owned(target.with_name(f"{target.name}.part"), wait=True)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    else:
        assert part is not None
        with part:
            yield part
        return
    own = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with own.open("a+b") as part:
            yield part
    finally:
        own.unlink(missing_ok=True)
        notes_of(own).unlink(missing_ok=True)
