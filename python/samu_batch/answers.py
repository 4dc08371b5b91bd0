"""What a server's answer means: go on, try again, or give up.

HTTP semantics: RFC 9110, sections 10.2.3 (Retry-After) and 14.4 (Content-Range).
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from httpx import codes

from samu_batch.errors import FetchError, NotFoundError
from samu_batch.revision import Revision

if TYPE_CHECKING:
    from httpx import Response


class TryAgain(FetchError):
    """One try failed and another may not; after ``wait`` seconds where the server asks for them."""

    def __init__(self, message: str, *, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class Damaged(TryAgain):
    """A whole file arrived, but not the one that was sent."""


class Unreachable(TryAgain):
    """The server could not be reached."""


def check_status(response: Response) -> None:
    """Pass an answer that brings the file.

    Raises
    ------
    NotFoundError, TryAgain, FetchError
        The server has no such file; it is busy or ill; it refuses.
    """
    status = response.status_code
    said = f"the server said {status} {response.reason_phrase}"
    if status in (codes.NOT_FOUND, codes.GONE):
        raise NotFoundError(f"{response.url}: {said}")
    if status in (codes.REQUEST_TIMEOUT, codes.TOO_MANY_REQUESTS) or status >= 500:
        raise TryAgain(said, wait=retry_after(response))
    if status not in (codes.OK, codes.PARTIAL_CONTENT):
        raise FetchError(f"{response.url}: {said}")


def begin_and_total(response: Response, have: int) -> tuple[int, int | None]:
    """Return where the body begins in the file, and the whole file's length if the server says it.

    Raises
    ------
    TryAgain
        The server sent another part than was asked for.
    """
    if response.status_code == codes.OK:
        return 0, length_of(response)
    unit, _, extent = response.headers.get("Content-Range", "").partition(" ")
    span, _, total = extent.partition("/")
    begin = span.partition("-")[0]
    if unit != "bytes" or begin != str(have) or not (total.isdecimal() or total == "*"):
        raise TryAgain(f"asked for bytes from {have}, got {response.headers.get('Content-Range')!r}")
    return have, int(total) if total.isdecimal() else None


def length_of(response: Response) -> int | None:
    """Return the bytes that the server promises."""
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def revision_of(url: str, response: Response, *, length: int | None) -> Revision:
    """Return the revision that an answer speaks of, whose whole file has ``length`` bytes."""
    headers = response.headers
    return Revision(url=url, etag=headers.get("ETag"), last_modified=headers.get("Last-Modified"), length=length)


def retry_after(response: Response) -> float | None:
    """Return the seconds that a server asks to be left alone."""
    text = response.headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
