"""Making a map's voxels readable: gzip is unpacked to scratch, verified and hashed in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from samu_batch import gz
from samu_batch.files import reading, sha256_of
from samu_batch.mrc import parse_header
from samu_batch.mrc_words import HEADER_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from samu_batch.mrc import MapHeader

SURPLUS = 1 << 20
"""Bytes behind the voxels that a compressed map may unpack to: some writers pad; a bomb is stopped here."""


@dataclass(frozen=True, kw_only=True)
class UnpackedMap:
    """A map whose voxels can be read at ``path``: the map itself, or the file that its gzip was unpacked to.

    ``header`` is checked against the true length; ``sha256`` and ``bytes`` are those of the input as it was given.
    """

    path: Path
    header: MapHeader
    sha256: str
    bytes: int


def unpack_map(header: MapHeader, scratch: Path) -> UnpackedMap:
    """Make a map's voxels readable: unpack a gzip file into the folder ``scratch``, and hash the input.

    Raises
    ------
    TruncatedError, MapFormatError
        The file is shorter than its gzip or its header says; a checksum is wrong, or it unpacks to
        far more than its header allows.
    StoreError
        ``scratch`` cannot be written.
    """
    zipped, size = gz.is_gzip(header.path), header.path.stat().st_size
    if not zipped:
        return UnpackedMap(path=header.path, header=header, sha256=sha256_of(header.path), bytes=size)
    target = scratch / header.path.name.removesuffix(".gz")
    unpacked = gz.unpack(header.path, target, limit=header.end + SURPLUS)
    with reading(target) as file:
        raw = file.read(HEADER_BYTES)
    try:
        checked = parse_header(raw, path=header.path, length=unpacked.bytes)
    except ValueError:
        target.unlink()
        raise
    return UnpackedMap(path=target, header=checked, sha256=unpacked.sha256, bytes=size)
