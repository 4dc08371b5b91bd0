"""The archives that a data set comes from: EMDB's maps and headers, and the PDB's models as mmCIF.

Everything is kept in one folder by :mod:`samu_batch.fetch`: resumed, checked, and never downloaded twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from samu_batch.emdb import DEFAULT_MIRRORS, header_path
from samu_batch.entries import Entry
from samu_batch.errors import FetchError, NotFoundError
from samu_batch.fetch import PATIENCE, all_failed, fetch_map, is_server
from samu_batch.metadata import read_xml

if TYPE_CHECKING:
    from collections.abc import Sequence

    from samu_batch.download import Patience
    from samu_batch.emdb import EmdbId
    from samu_batch.metadata import Metadata

MODEL_MIRRORS = ("https://files.wwpdb.org/pub/pdb/data/structures/divided/mmCIF",)
"""Roots with the PDB's divided layout."""


def model_path(pdb_id: str) -> str:
    """Return the path of a model below a mirror's root.

    >>> model_path("6XE6")
    'xe/6xe6.cif.gz'
    """
    name = pdb_id.lower()
    return f"{name[1:3]}/{name}.cif.gz"


@dataclass(frozen=True, kw_only=True)
class Archive:
    """Mirrors, tried in order (https, http or a local folder), and the folder that keeps what they gave.

    Its methods raise :class:`samu_batch.errors.SamuError` where something cannot be had.
    """

    cache: Path
    map_mirrors: Sequence[str] = DEFAULT_MIRRORS
    model_mirrors: Sequence[str] = MODEL_MIRRORS
    patience: Patience = PATIENCE

    def map(self, emdb_id: EmdbId) -> Path:
        """Return an entry's primary map."""
        entry = Entry(id=str(emdb_id), source=str(emdb_id), kind="emdb")
        return fetch_map(entry, self.cache, mirrors=self.map_mirrors, patience=self.patience)

    def metadata(self, emdb_id: EmdbId) -> Metadata:
        """Return what an entry's header says."""
        return read_xml(self._file(header_path(emdb_id), self.map_mirrors).read_bytes(), emdb_id)

    def model(self, pdb_id: str) -> Path:
        """Return a model as deposited (not the biological assembly)."""
        return self._file(model_path(pdb_id), self.model_mirrors)

    def _file(self, path: str, mirrors: Sequence[str]) -> Path:
        reasons: list[Exception] = []
        for mirror in mirrors:
            try:
                return self._from(mirror, path)
            except (FetchError, NotFoundError) as error:
                reasons.append(error)
        raise all_failed(reasons)

    def _from(self, mirror: str, path: str) -> Path:
        if is_server(mirror):
            entry = Entry(id=Path(path).name, source=f"{mirror.rstrip('/')}/{path}", kind="url")
            return fetch_map(entry, self.cache, patience=self.patience)
        local = Path(mirror) / path
        if not local.is_file():
            raise NotFoundError(f"{local} does not exist")
        return local
