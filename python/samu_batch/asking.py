"""Many small questions to few servers: with patience, and never more at once than was agreed.

A server that asks to be left alone is left alone by everyone; one that cannot be reached, or fails whatever it is
asked, is not tried with each of ten thousand questions.
"""

from __future__ import annotations

import random
import threading
import time
from itertools import count
from typing import TYPE_CHECKING

import httpx

from samu_batch.answers import TryAgain, Unreachable, check_status, length_of, revision_of
from samu_batch.download import Patience, UnreachableError
from samu_batch.errors import FetchError, NotFoundError

if TYPE_CHECKING:
    from types import TracebackType

    from samu_batch.revision import Revision

PATIENCE = Patience()

ILL_AFTER, ILL_SECONDS = 20, 600.0
"""Questions that a server must fail in a row to be left alone, and for how long."""


class Asker:
    """Asks servers from many threads. Use as a context manager.

    Parameters
    ----------
    connections
        Questions at once.
    patience
        As for a download.
    """

    def __init__(self, *, connections: int, patience: Patience) -> None:
        self._patience = patience
        self._client = httpx.Client(
            timeout=httpx.Timeout(patience.stall, connect=patience.connect, pool=None),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            follow_redirects=True,
            headers={"User-Agent": "samu-batch"},
        )
        self._lock = threading.Lock()
        self._quiet_until: dict[str, float] = {}
        self._ill_until: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._stop = threading.Event()

    def __enter__(self) -> Asker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def stop(self) -> None:
        """Let nobody wait or ask any more: what is under way fails soon."""
        self._stop.set()

    def get(self, url: str, *, largest: int, known: Revision | None = None) -> tuple[Revision, bytes] | None:
        """Return a small file and its revision; None if it is still the ``known`` one.

        ``largest`` is how many bytes it may have.

        Raises
        ------
        NotFoundError, UnreachableError, FetchError
            The server has no such file; it cannot be reached; it refuses, or fails as often as patience lasts.
        """
        headers = {}
        # The date first: a server that compresses on the fly may send an ETag that it does not know again.
        if known is not None and known.last_modified:
            headers["If-Modified-Since"] = known.last_modified
        elif known is not None and known.etag:
            headers["If-None-Match"] = known.etag
        response, body = self._ask("GET", url, headers, largest=largest)
        if response.status_code == httpx.codes.NOT_MODIFIED:
            return None
        return revision_of(url, response, length=len(body)), body

    def length(self, url: str) -> int | None:
        """Return the bytes of a file, if the server says it (raises as :meth:`get`)."""
        response, _ = self._ask("HEAD", url, {"Accept-Encoding": "identity"})
        return length_of(response)

    def _ask(self, method: str, url: str, headers: dict[str, str], *, largest: int = 0) -> tuple[httpx.Response, bytes]:
        server = "/".join(url.split("/")[:3])
        try:
            answer = self._patiently(server, method, url, headers, largest=largest)
        except FetchError as error:
            self._judge(server, error)
            raise
        except NotFoundError:
            self._judge(server, None)
            raise
        self._judge(server, None)
        return answer

    def _patiently(
        self, server: str, method: str, url: str, headers: dict[str, str], *, largest: int
    ) -> tuple[httpx.Response, bytes]:
        for tries in count(1):
            self._wait_for(server)
            try:
                return self._once(method, url, headers, largest=largest)
            except TryAgain as error:
                pause = self._patience.wait * 2 ** (tries - 1) * random.uniform(0.5, 1)
                pause = pause if error.wait is None else error.wait
                if tries >= self._patience.tries or pause > self._patience.longest or self._stop.is_set():
                    kind = UnreachableError if isinstance(error, Unreachable) else FetchError
                    raise kind(f"{url}: {error}") from error
                if error.wait is not None:
                    self._keep_quiet(server, error.wait)
                self._stop.wait(pause)
        raise AssertionError  # count() does not end

    def _wait_for(self, server: str) -> None:
        """Wait while a server asked to be left alone; raise at once if it was found ill a moment ago."""
        with self._lock:
            quiet, ill = self._quiet_until.get(server, 0.0), self._ill_until.get(server, 0.0)
        if ill > time.monotonic():
            raise UnreachableError(f"{server}: did not answer a moment ago")
        # Not all in the same instant.
        if (rest := quiet - time.monotonic()) > 0:
            self._stop.wait(rest * random.uniform(1, 1.1))
        if self._stop.is_set():
            raise FetchError(f"{server}: stopped")

    def _keep_quiet(self, server: str, seconds: float) -> None:
        with self._lock:
            self._quiet_until[server] = max(self._quiet_until.get(server, 0.0), time.monotonic() + seconds)

    def _judge(self, server: str, error: FetchError | None) -> None:
        """Take a server for ill that cannot be reached, or has failed many questions in a row."""
        with self._lock:
            now = time.monotonic()
            self._failures[server] = 0 if error is None else self._failures.get(server, 0) + 1
            ill = isinstance(error, UnreachableError) or self._failures[server] >= ILL_AFTER
            if ill and self._ill_until.get(server, 0.0) <= now:
                self._ill_until[server] = now + ILL_SECONDS

    def _once(
        self, method: str, url: str, headers: dict[str, str], *, largest: int = 0
    ) -> tuple[httpx.Response, bytes]:
        body = bytearray()
        try:
            with self._client.stream(method, url, headers=headers) as response:
                if response.status_code != httpx.codes.NOT_MODIFIED:
                    check_status(response)
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > largest:
                        raise FetchError(f"{url}: more than {largest} bytes, where metadata are expected")
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Unreachable(f"cannot connect: {error}") from error
        except httpx.TransportError as error:
            raise TryAgain(f"{error or type(error).__name__}, {len(body)} bytes received") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise FetchError(f"{url}: {error}") from error
        return response, bytes(body)
