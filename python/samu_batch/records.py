"""Metadata as they were had from the archive, in one JSON file an entry."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from samu_batch.files import write_whole
from samu_batch.metadata import Metadata
from samu_batch.revision import Revision

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Record:
    """An entry's metadata, the revision of the file that told them, and when it was last asked for (Unix seconds)."""

    metadata: Metadata
    revision: Revision
    asked: float


def write_record(path: Path, record: Record) -> None:
    """Replace the record at ``path``, whole or not at all; raises :class:`StoreError`."""
    write_whole(path, json.dumps({"schema": SCHEMA} | asdict(record)) + "\n")


def read_record(path: Path) -> Record | None:
    """Return the record at ``path``; None where nothing readable is."""
    try:
        kept = json.loads(path.read_text())
        if kept["schema"] != SCHEMA:
            return None
        values: dict[str, Any] = kept["metadata"]
        values |= {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return Record(metadata=Metadata(**values), revision=Revision(**kept["revision"]), asked=float(kept["asked"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
