"""The metadata of many entries, kept on disk one file an entry, so that what was asked once need not be asked again."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from samu_batch.emdb import EmdbId, header_path, map_path
from samu_batch.errors import FetchError, InternalError, NotFoundError, SamuError, StoreError, UnreadableError
from samu_batch.fetch import all_failed, is_server
from samu_batch.files import reading
from samu_batch.metadata import read_json, read_xml
from samu_batch.records import Record, read_record, write_record

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from samu_batch.asking import Asker
    from samu_batch.metadata import Metadata
    from samu_batch.revision import Revision

DEFAULT_API = "https://www.ebi.ac.uk/emdb/api"
HEADER_BYTES, LISTING_BYTES = 16 << 20, 128 << 20
"""Bytes that an answer may have: a header has some 100 kB, the listing of the archive some 10 MB."""

_FOLDER = re.compile(r"(?<![\w-])EMD-([0-9]{4,6})(?![\w-])")


class Catalogue:
    """Looks up entries: in the folder of what was asked before, then in the archive.

    Parameters
    ----------
    folder
        One JSON file an entry. Any number of processes may share it.
    mirrors
        Roots with EMDB's layout, in order; headers are read from them unless ``api`` is given. Those that are local
        folders are read as they are, and nothing of them is kept.
    api
        Root of EMDB's REST API, to take the metadata from it. The size of a map's file is the mirrors' to say.
    max_age
        Seconds after which the archive is asked whether an entry was revised.
    asker
        None: the network is not to be used.
    """

    def __init__(
        self, folder: Path, *, mirrors: Sequence[str], asker: Asker | None, api: str | None = None, max_age: float
    ) -> None:
        self._folder = folder
        self._folders = [Path(mirror) for mirror in mirrors if not is_server(mirror)]
        self._servers = [mirror.rstrip("/") for mirror in mirrors if is_server(mirror)] if asker else []
        self._api = api.rstrip("/") if api and asker else None
        self._asker = asker
        self._max_age = max_age

    @property
    def offline(self) -> bool:
        """Whether the network is not to be used."""
        return self._asker is None

    def ids(self) -> list[EmdbId]:
        """Return the archive's entries as the first mirror to answer lists them; offline, those that are kept.

        Raises
        ------
        NotFoundError, FetchError
            No mirror lists any.
        """
        reasons: list[Exception] = []
        for folder in self._folders:
            if found := _ids(" ".join(path.name for path in folder.glob("EMD-*"))):
                return found
            reasons.append(NotFoundError(f"{folder} has no folder named like EMD-1234"))
        for server in self._servers:
            try:
                if found := _ids(self._get(f"{server}/", largest=LISTING_BYTES)[1].decode(errors="replace")):
                    return found
                reasons.append(FetchError(f"{server}/ lists no entries; name them with --ids"))
            except (FetchError, NotFoundError) as error:
                reasons.append(error)
        if self._asker is None:
            if kept := _ids(" ".join(path.stem for path in self._folder.glob("EMD-*.json"))):
                return kept
            reasons.append(NotFoundError(f"{self._folder} holds no metadata: select where there is a network"))
        raise all_failed(reasons)

    def kept(self, emdb_id: EmdbId) -> Metadata | None:
        """Return what is kept of an entry, if it need not be asked for again."""
        if any((folder / header_path(emdb_id)).is_file() for folder in self._folders):
            return None
        record = read_record(self._path(emdb_id))
        if record is None or (self._asker and not 0 <= time.time() - record.asked <= self._max_age):
            return None
        return record.metadata

    def look_up(self, emdb_id: EmdbId) -> Metadata:
        """Return what the archive says of an entry, and keep it.

        Raises
        ------
        NotFoundError, FetchError, UnreadableError
            No mirror has its header; it could not be had; what came is none. The message has each mirror's reason.
        StoreError
            It cannot be kept.
        """
        reasons: list[Exception] = []
        for folder in self._folders:
            try:
                return _read_local(folder, emdb_id)
            except (NotFoundError, UnreadableError) as error:
                reasons.append(error)
        urls = [f"{server}/{header_path(emdb_id)}" for server in self._servers]
        for url in [f"{self._api}/entry/{emdb_id}"] if self._api else urls:
            try:
                return self._ask(url, emdb_id)
            except (FetchError, NotFoundError) as error:
                reasons.append(error)
            except UnreadableError as error:
                reasons.append(UnreadableError(f"{url}: {error}"))
        if self._asker is None and (record := read_record(self._path(emdb_id))):
            return record.metadata
        raise _worst(reasons, emdb_id)

    def measure(self, metadata: Metadata) -> Metadata:
        """Add the bytes of a map's file, as a mirror tells them without sending it, and keep them.

        Raises
        ------
        NotFoundError, FetchError
            No mirror has the map; none tells.
        """
        emdb_id = EmdbId.parse(metadata.id)
        record = read_record(self._path(emdb_id))
        if self._asker is None or record is None:
            return metadata
        reasons: list[Exception] = []
        for server in self._servers:
            try:
                length = self._asker.length(f"{server}/{map_path(emdb_id)}")
            except (FetchError, NotFoundError) as error:
                reasons.append(error)
                continue
            metadata = replace(metadata, download=length)
            write_record(self._path(emdb_id), replace(record, metadata=metadata))
            return metadata
        raise all_failed(reasons)

    def _ask(self, url: str, emdb_id: EmdbId) -> Metadata:
        """Ask one server, with regard to what is known already."""
        record = read_record(self._path(emdb_id))
        known = record.revision if record and record.revision.url == url else None
        assert self._asker is not None
        answer = self._asker.get(url, largest=HEADER_BYTES, known=known)
        if answer is None and record is not None:
            record = replace(record, asked=time.time())
        else:
            revision, raw = answer if answer is not None else self._get(url)
            metadata = (read_json if self._api else read_xml)(raw, emdb_id)
            # Asked for as `url`, wherever it was redirected to.
            record = Record(metadata=metadata, revision=replace(revision, url=url), asked=time.time())
        write_record(self._path(emdb_id), record)
        return record.metadata

    def _get(self, url: str, *, largest: int = HEADER_BYTES) -> tuple[Revision, bytes]:
        answer = self._asker.get(url, largest=largest) if self._asker else None
        if answer is None:
            raise FetchError(f"{url}: the server said 304 to a question without condition")
        return answer

    def _path(self, emdb_id: EmdbId) -> Path:
        return self._folder / f"{emdb_id}.json"


def look_up_all(
    ids: Sequence[EmdbId],
    look_up: Callable[[EmdbId], Metadata],
    *,
    connections: int,
    stop: Callable[[], None] = lambda: None,
) -> Generator[tuple[EmdbId, Metadata | SamuError]]:
    """Look up many entries at once, in any order; one that cannot be had is an error beside the others' metadata.

    ``stop`` is called when the caller wants no more, so that nothing waits any longer.

    Raises
    ------
    StoreError
        The first that occurs: what cannot be kept would be asked for in vain.
    """
    with ThreadPoolExecutor(connections, thread_name_prefix="samu-ask") as pool:
        futures = {pool.submit(look_up, emdb_id): emdb_id for emdb_id in ids}
        try:
            for future in as_completed(futures):
                emdb_id = futures.pop(future)
                try:
                    yield emdb_id, future.result()
                except StoreError:
                    raise
                except SamuError as error:
                    yield emdb_id, error
                except Exception as error:  # one entry never harms the others
                    yield emdb_id, InternalError(f"{type(error).__name__}: {error}")
        finally:
            stop()
            pool.shutdown(wait=False, cancel_futures=True)


def _read_local(folder: Path, emdb_id: EmdbId) -> Metadata:
    path, map_file = folder / header_path(emdb_id), folder / map_path(emdb_id)
    with reading(path) as file:
        raw = file.read()
    try:
        metadata = read_xml(raw, emdb_id)
    except UnreadableError as error:
        raise UnreadableError(f"{path}: {error}") from error
    return replace(metadata, download=map_file.stat().st_size if map_file.is_file() else None)


def _ids(text: str) -> list[EmdbId]:
    numbers = {int(number) for number in _FOLDER.findall(text)} - {0}
    return [EmdbId(number) for number in sorted(numbers)]


def _worst(reasons: Sequence[Exception], emdb_id: EmdbId) -> SamuError:
    """Return one error for all mirrors: an unreadable header tells more than another mirror's lack of it."""
    if not reasons:
        return NotFoundError(f"{emdb_id} was not asked for before: select where there is a network")
    if any(isinstance(reason, UnreadableError) for reason in reasons):
        return UnreadableError("; ".join(map(str, reasons)))
    return all_failed(reasons)
