"""Which revision of a file was downloaded: what the server said of it, noted in a JSON file beside it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from samu_batch.files import write_whole

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Revision:
    """What a server said of a file, and what arrived: bytes, and its SHA-256."""

    url: str
    etag: str | None = None
    last_modified: str | None = None
    length: int | None = None
    sha256: str | None = None

    @property
    def validator(self) -> str | None:
        """What makes a server resume this very revision only; a weak ETag cannot."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified


def notes_of(path: Path) -> Path:
    """Return the JSON file beside a downloaded one."""
    return path.with_name(f"{path.name}.json")


def read_notes(path: Path) -> Revision | None:
    """Return what is noted beside a downloaded file; None where nothing readable is."""
    try:
        return Revision(**json.loads(notes_of(path).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write_notes(path: Path, revision: Revision) -> None:
    """Note a revision beside a file."""
    write_whole(notes_of(path), json.dumps(asdict(revision), indent=1) + "\n")
