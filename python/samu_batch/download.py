"""One file over https: resumed where it was cut, tried again with patience, and whole when it counts.

HTTP semantics: RFC 9110, sections 13.1.5 (If-Range) and 14 (ranges).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import httpx

from samu_batch import gz
from samu_batch.answers import (
    Damaged,
    TryAgain,
    Unreachable,
    begin_and_total,
    check_status,
    length_of,
    revision_of,
)
from samu_batch.errors import FetchError, SamuError
from samu_batch.files import sha256_of, store_error
from samu_batch.mrc_words import looks_like
from samu_batch.revision import Revision, read_notes, write_notes

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from io import BufferedRandom
    from pathlib import Path

    from samu_batch.turns import Turns

DAMAGED_TWICE = 2

Progress = Callable[[int, int | None], None]
"""Told the bytes that are there, and the length if it is known."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a server is waited for: seconds, and tries that bring nothing new.

    ``wait`` is what the first pause lasts; each further one is twice as long, and up to half of it is left to chance,
    so that a thousand tasks do not come back at once. A server may ask for ``longest`` at most.
    """

    tries: int = 5
    wait: float = 1.0
    longest: float = 120.0
    connect: float = 20.0
    stall: float = 60.0


class UnreachableError(FetchError):
    """No server answered at all: the network may be down."""


def download(
    url: str, part: BufferedRandom, *, path: Path, turns: Turns, patience: Patience, progress: Progress | None = None
) -> Revision:
    """Download ``url`` into the open file ``part``, going on where an earlier download of the same revision stopped.

    Parameters
    ----------
    url, part
        ``part`` lies at ``path``, is open for reading and writing, and belongs to this process alone.
    turns
        Those at the url's server: each try takes one, and the pauses between them none.
    progress
        Told the bytes that are there, and the length if it is known.

    Raises
    ------
    NotFoundError
        The server has no such file.
    UnreachableError, FetchError
        It could not be reached; what it served is not what it promised, or it refused.
    StoreError
        ``part`` cannot be written.
    """
    tries, most, damaged = 0, _size(part), 0
    timeout = httpx.Timeout(patience.stall, connect=patience.connect)
    headers = {"User-Agent": "samu-batch"}
    with httpx.Client(timeout=timeout, follow_redirects=True, headers=headers, verify=_certificates()) as client:
        while True:
            try:
                with turns.turn():
                    revision = _try(client, url, part, path=path, turns=turns, progress=progress)
                return _verified(revision, part, path)
            except TryAgain as error:
                damaged += isinstance(error, Damaged)
                # Only bytes never had before prove that another try can end.
                tries = 1 if _size(part) > most else tries + 1
                most = max(most, _size(part))
                pause = (
                    error.wait if error.wait is not None else patience.wait * 2 ** (tries - 1) * random.uniform(0.5, 1)
                )
                if tries >= patience.tries or damaged == DAMAGED_TWICE or pause > patience.longest:
                    kind = UnreachableError if isinstance(error, Unreachable) else FetchError
                    raise kind(f"{url}: {error}") from error
                if error.wait is not None:
                    turns.leave_alone(error.wait)
                turns.wait(pause)


def ask_revision(url: str, *, patience: Patience) -> Revision:
    """Ask a server which revision of a file it has, without downloading it (raises as :func:`download`)."""
    timeout = httpx.Timeout(patience.stall, connect=patience.connect)
    try:
        headers = {"Accept-Encoding": "identity"}
        response = httpx.head(url, timeout=timeout, follow_redirects=True, headers=headers, verify=_certificates())
        check_status(response)
    except (TryAgain, httpx.HTTPError) as error:
        raise FetchError(f"{url}: {error}") from error
    return revision_of(url, response, length=length_of(response))


def answers(url: str, *, seconds: float) -> bool:
    """Whether a server answers at all, be it with an error."""
    try:
        httpx.head(url, timeout=seconds, verify=_certificates())
    except httpx.HTTPError:
        return False
    return True


@cache
def _certificates() -> ssl.SSLContext:
    """Load the certificate authorities once: it takes longer than many a map."""
    return httpx.create_ssl_context()


def _try(
    client: httpx.Client, url: str, part: BufferedRandom, *, path: Path, turns: Turns, progress: Progress | None
) -> Revision:
    """Ask once, and append what comes."""
    have, noted = _size(part), read_notes(path)
    if have and (noted is None or noted.url != url or noted.validator is None):
        have = 0
    headers = {"Accept-Encoding": "identity"}
    if have and noted is not None and noted.validator is not None:
        headers |= {"Range": f"bytes={have}-", "If-Range": noted.validator}
    try:
        with client.stream("GET", url, headers=headers) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and noted is not None:
                if noted.length == have:
                    return noted
                _truncate(part, 0, path)
                raise TryAgain("the server has fewer bytes than were received")
            check_status(response)
            begin, total = begin_and_total(response, have)
            _truncate(part, begin, path)
            revision = revision_of(url, response, length=total)
            write_notes(path, revision)
            for have in _append(response, part, path=path, total=total):
                turns.wait()
                if progress is not None:
                    progress(have, total)
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise Unreachable(f"cannot connect: {error}") from error
    except httpx.TransportError as error:
        raise TryAgain(f"{error or type(error).__name__}, {_size(part)} bytes received") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise FetchError(f"{url}: {error}") from error
    return revision


def _append(response: httpx.Response, part: BufferedRandom, *, path: Path, total: int | None) -> Iterator[int]:
    """Append the body as it comes, and yield the bytes that are there."""
    have = _size(part)
    for chunk in response.iter_raw():
        try:
            part.write(chunk)
            part.flush()
        except OSError as error:
            raise store_error(path, error) from error
        have += len(chunk)
        yield have
    if total is not None and have != total:
        raise TryAgain(f"{have} bytes arrived of {total}")


def _verified(revision: Revision, part: BufferedRandom, path: Path) -> Revision:
    """Return ``revision`` with length and SHA-256 of what arrived, once its gzip is whole."""
    part.seek(0)
    start = part.read(16)
    try:
        if start[:2] == gz.MAGIC:
            sha256 = gz.check(path)
        elif httpx.URL(revision.url).path.endswith(".gz"):
            raise Damaged(f"not gzip: {looks_like(start)}")
        else:
            sha256 = sha256_of(path)
    except SamuError as error:
        _truncate(part, 0, path)
        raise Damaged(f"damaged in transit: {error}") from error
    return replace(revision, length=_size(part), sha256=sha256)


def _size(part: BufferedRandom) -> int:
    return part.seek(0, 2)


def _truncate(part: BufferedRandom, size: int, path: Path) -> None:
    try:
        part.truncate(size)
        part.seek(size)
    except OSError as error:
        raise store_error(path, error) from error
