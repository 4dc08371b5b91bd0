"""Tables of the entries that a network is trained or judged on: ``pdb_id, emdb_id, resolution, unverified``.

Those of CryoSAMU lie in ``training/tables``.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from samu_batch.emdb import EmdbId

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = ("pdb_id", "emdb_id", "resolution", "unverified")
_PDB_ID = re.compile(r"[1-9][A-Z0-9]{3}")


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One entry: ids and resolution (angstrom), None where lost, and why it may be wrong ("" where nothing says so)."""

    pdb_id: str | None
    emdb_id: EmdbId | None
    resolution: float | None
    unverified: str

    @property
    def name(self) -> str:
        """Both ids, as far as they are known."""
        return f"{self.pdb_id or '?'} / {self.emdb_id or '?'}"


def read_table(path: Path) -> list[TableRow]:
    """Read a table.

    Raises
    ------
    ValueError
        It has other columns, or a cell is no id or no resolution; the message has the line.
    """
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{path}: the columns are not {', '.join(COLUMNS)}")
        rows = []
        for cells in reader:
            try:
                rows.append(_row(cells))
            except ValueError as error:
                raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
        return rows


def _row(cells: dict[str, str]) -> TableRow:
    pdb_id, emdb_id, resolution = (cells[name] for name in COLUMNS[:3])
    if pdb_id and not _PDB_ID.fullmatch(pdb_id):
        raise ValueError(f"{pdb_id!r} is not a PDB id")
    return TableRow(
        pdb_id=pdb_id or None,
        emdb_id=EmdbId.parse(emdb_id) if emdb_id else None,
        resolution=float(resolution) if resolution else None,
        unverified=cells["unverified"] or "",
    )
