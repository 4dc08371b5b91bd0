"""Which entries of the archive belong in a LIST, and the LIST itself."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from samu_batch.errors import FetchError, NotFoundError
from samu_batch.map_columns import joined
from samu_batch.metadata import RELEASED

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from samu_batch.catalogue import Catalogue
    from samu_batch.emdb import EmdbId
    from samu_batch.metadata import Metadata

METHODS = ("single-particle", "helical", "subtomogram-averaging", "tomography", "electron-crystallography")
COLUMNS = (
    "id", "resolution", "contour", "box", "voxel", "method", "released", "updated", "download", "unpacked",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Criteria:
    """What an entry must be to be listed.

    Attributes
    ----------
    finest, coarsest
        Bounds of the resolution in angstrom, both included; None for none.
    methods
        Of :data:`METHODS`; empty for any.
    max_box
        Voxels of the longest edge; None for any.
    since
        Day of release or of the last revision, included; None for any.
    """

    finest: float | None = None
    coarsest: float | None = None
    methods: tuple[str, ...] = ()
    max_box: int | None = None
    since: date | None = None

    def objection(self, metadata: Metadata) -> str | None:
        """Return why an entry is left out; None if it is listed."""
        if metadata.status not in (RELEASED, ""):
            return "not released"
        if self.since is not None and max(metadata.released, metadata.updated) < self.since.isoformat():
            return "older"
        if self.methods and _plain(metadata.method) not in map(_plain, self.methods):
            return "another method"
        if self.max_box is not None and max(metadata.box or (self.max_box + 1,)) > self.max_box:
            return "larger box" if metadata.box else "no box given"
        return self._objection_to_resolution(metadata.resolution)

    def _objection_to_resolution(self, resolution: float | None) -> str | None:
        if self.finest is None and self.coarsest is None:
            return None
        if resolution is None:
            return "no resolution given"
        fine = self.finest is not None and resolution < self.finest
        coarse = self.coarsest is not None and resolution > self.coarsest
        return "another resolution" if fine or coarse else None


def settled(catalogue: Catalogue, ids: Iterable[EmdbId], criteria: Criteria) -> dict[EmdbId, Metadata]:
    """Return those entries for which nothing need be asked: what is kept of them tells all that a LIST needs."""
    kept = {emdb_id: metadata for emdb_id in ids if (metadata := catalogue.kept(emdb_id))}
    return {
        emdb_id: metadata
        for emdb_id, metadata in kept.items()
        if catalogue.offline or metadata.download or criteria.objection(metadata)
    }


def ask(catalogue: Catalogue, emdb_id: EmdbId, criteria: Criteria) -> Metadata:
    """Return the metadata of an entry; of one that will be listed with the size of its file, if a mirror tells it.

    Raises
    ------
    SamuError
        As :meth:`Catalogue.look_up`; ``not-found`` also where there is a header, but no map.
    """
    metadata = catalogue.kept(emdb_id) or catalogue.look_up(emdb_id)
    if metadata.download or criteria.objection(metadata):
        return metadata
    try:
        return catalogue.measure(metadata)
    except NotFoundError as error:
        raise NotFoundError(f"it has a header, but no map: {error}") from error
    except FetchError:
        return metadata


def list_text(entries: Iterable[Metadata]) -> str:
    """Return a LIST of entries: a table whose columns ``plan`` and ``enhance`` read, in the order of ids."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in sorted(entries, key=lambda entry: (len(entry.id), entry.id)):
        numbers = ("" if number is None else f"{number:.9g}" for number in (entry.resolution, entry.contour))
        grid = (joined(entry.box), joined(entry.spacing))
        writer.writerow(
            (entry.id, *numbers, *grid, entry.method, entry.released, entry.updated, entry.download, entry.unpacked)
        )
    return text.getvalue()


def _plain(method: str) -> str:
    return re.sub(r"[^a-z]", "", method.lower())
