"""Gzip as maps are found in it: several members, zero padding, checksums verified to the end, bounded output."""

from __future__ import annotations

import hashlib
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from samu_batch.errors import MapFormatError, SamuError, TruncatedError
from samu_batch.files import reading, store_error

if TYPE_CHECKING:
    from _hashlib import HASH
    from collections.abc import Iterator
    from pathlib import Path

READ = 1 << 18
PIECE = 1 << 20
MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Unpacked:
    """A decompressed file: where it lies, how long it is, and the SHA-256 of the compressed input."""

    path: Path
    bytes: int
    sha256: str


def is_gzip(path: Path) -> bool:
    """Tell whether a file is gzip by its first bytes, whatever its name says."""
    with reading(path) as file:
        return file.read(2) == MAGIC


def decompressed(path: Path, *, digest: HASH | None = None) -> Iterator[bytes]:
    """Yield the content of a gzip file in pieces of at most 1 MiB, and ``digest`` its compressed bytes.

    Raises
    ------
    TruncatedError, MapFormatError
        The file ends inside a member; its data or its checksum are damaged. Every checksum has been verified when
        the iterator ends.
    """
    member, produced, padded = None, 0, False
    with reading(path) as file:
        while chunk := file.read(READ):
            if digest is not None:
                digest.update(chunk)
            while chunk:
                if member is None:
                    if not (chunk := chunk.lstrip(b"\0") if padded else chunk):
                        break
                    member = zlib.decompressobj(wbits=31)
                try:
                    piece = member.decompress(chunk, PIECE)
                except zlib.error as error:
                    raise MapFormatError(f"{path}: gzip is damaged after {produced} bytes: {error}") from error
                produced += len(piece)
                if piece:
                    yield piece
                chunk = member.unused_data if member.eof else member.unconsumed_tail
                if member.eof:
                    member, padded = None, True
        if member is not None:
            raise TruncatedError(f"{path}: gzip ends after {file.tell()} bytes, inside the data ({produced} unpacked)")


def beginning(path: Path, count: int) -> bytes:
    """Return the first ``count`` bytes of a gzip file's content, or all if it has fewer."""
    content = bytearray()
    for piece in decompressed(path):
        content += piece
        if len(content) >= count:
            break
    return bytes(content[:count])


def check(path: Path) -> str:
    """Decompress a gzip file to its end, keeping nothing, and return its SHA-256 (raises as :func:`decompressed`)."""
    digest = hashlib.sha256()
    for _ in decompressed(path, digest=digest):
        pass
    return digest.hexdigest()


def unpack(path: Path, target: Path, *, limit: int) -> Unpacked:
    """Decompress ``path`` to ``target``, hashing the input in the same pass.

    Parameters
    ----------
    path, target
        The gzip file, and the file to make; a damaged input leaves none.
    limit
        Bytes that the content may have.

    Raises
    ------
    TruncatedError, MapFormatError
        As :func:`decompressed`; more than ``limit`` bytes come out.
    StoreError
        ``target`` cannot be written.
    """
    digest, length = hashlib.sha256(), 0
    try:
        with target.open("wb") as file:
            for piece in decompressed(path, digest=digest):
                length += len(piece)
                if length > limit:
                    raise MapFormatError(f"{path}: unpacks to more than the {limit} bytes that its header allows")
                file.write(piece)
    except BaseException as error:
        with suppress(OSError):
            target.unlink()
        if isinstance(error, OSError) and not isinstance(error, SamuError):
            raise store_error(target, error) from error
        raise
    return Unpacked(target, length, digest.hexdigest())
