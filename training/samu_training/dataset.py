"""Builds a data set from a table of entries: downloads maps and models, keeps the pairs that pass the paper's filters.

::

    python -m samu_training.dataset training/tables/train.csv data
    python -m samu_training.dataset TABLE.csv FOLDER --mirror https://... --models-mirror /mirrors/pdb/mmCIF

``FOLDER/accepted.csv`` lists the pairs with their files and figures, ``FOLDER/rejected.csv`` the others, each with its
reason. Filters, in this order: both ids known; the model is protein alone, without unknown residues or backbone traces;
the archive's resolution is the table's; coverage and correlation (:mod:`samu_training.agreement`); no chain more than
30 % identical to one of a pair accepted before. What was downloaded stays, so a run can be repeated after a failure of
the network; the status is 1 where one happened.

Source: CryoSAMU, section 3.1.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from samu_batch.emdb import DEFAULT_MIRRORS
from samu_batch.errors import SamuError
from samu_batch.fetch import is_server
from samu_batch.files import writing_aside
from samu_training.agreement import Limits, compare
from samu_training.archive import MODEL_MIRRORS, Archive
from samu_training.as_read import MAX_VOXELS, read_volume
from samu_training.atoms import read_atoms
from samu_training.chains import identity, refuse_model, sequences
from samu_training.tables import COLUMNS, read_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from samu_training.agreement import Agreement
    from samu_training.tables import TableRow

MOST_IDENTICAL = 0.30
RESOLUTION_ROUNDING = 0.06
"""Angstrom between the table's resolution and the archive's: the paper gives some with one digit."""


class RefusedError(Exception):
    """A pair does not pass; the message says why. ``again`` if a failure of the network or the disk is the reason."""

    def __init__(self, reason: str, *, again: bool = False) -> None:
        self.again = again
        super().__init__(reason)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A map and its model that passed."""

    row: TableRow
    resolution: float
    map: Path
    model: Path
    agreement: Agreement
    chains: set[tuple[str, ...]]


@dataclass
class Dataset:
    """What was accepted, and what was not and why, in the order of the table."""

    accepted: list[Pair] = field(default_factory=list)
    rejected: list[tuple[TableRow, RefusedError]] = field(default_factory=list)

    def add(self, row: TableRow, archive: Archive, *, limits: Limits, max_voxels: int) -> None:
        """Fetch and judge one entry."""
        try:
            pair = judge(row, archive, limits=limits, max_voxels=max_voxels)
            self._refuse_redundant(pair)
        except RefusedError as refused:
            self.rejected.append((row, refused))
        except SamuError as error:
            again = error.kind in ("fetch", "store")
            self.rejected.append((row, RefusedError(f"{error.kind}: {error}", again=again)))
        else:
            self.accepted.append(pair)

    def _refuse_redundant(self, pair: Pair) -> None:
        for other in self.accepted:
            for a in pair.chains:
                for b in other.chains:
                    if (share := identity(a, b)) > MOST_IDENTICAL:
                        raise RefusedError(f"sequence identity: {100 * share:.0f} % with {other.row.name}")


def judge(row: TableRow, archive: Archive, *, limits: Limits, max_voxels: int) -> Pair:
    """Fetch one entry and hold it against every filter but that of redundancy.

    Raises
    ------
    RefusedError
        A filter refused it.
    SamuError
        It cannot be had or read.
    """
    import gemmi

    if row.pdb_id is None or row.emdb_id is None:
        raise RefusedError("an id is lost")
    model = archive.model(row.pdb_id)
    try:
        structure, atoms = gemmi.read_structure(str(model)), read_atoms(model)
    except (ValueError, RuntimeError, IndexError) as error:
        raise RefusedError(f"model cannot be read: {error}") from error
    structure.setup_entities()
    if reason := refuse_model(structure):
        raise RefusedError(reason)
    metadata = archive.metadata(row.emdb_id)
    resolution = _resolution(row, metadata.resolution)
    if metadata.contour is None:
        raise RefusedError("coverage: the archive gives no contour level")
    path = archive.map(row.emdb_id)
    volume, _ = read_volume(path, max_voxels=max_voxels)
    found = compare(volume, atoms, resolution=resolution, contour=metadata.contour)
    if reason := limits.refuse(found):
        raise RefusedError(reason)
    return Pair(row=row, resolution=resolution, map=path, model=model, agreement=found, chains=sequences(structure))


def _resolution(row: TableRow, archived: float | None) -> float:
    """Return the resolution; where table and archive disagree, an id of the table was misread."""
    if archived is None or row.resolution is None:
        resolution = archived or row.resolution
        if resolution is None:
            raise RefusedError("resolution: neither table nor archive gives one")
        return resolution
    if abs(archived - row.resolution) > RESOLUTION_ROUNDING:
        raise RefusedError(f"resolution: {row.resolution:g} A in the table, {archived:g} A in the archive")
    return archived


def write_dataset(dataset: Dataset, folder: Path) -> None:
    """Write ``accepted.csv`` and ``rejected.csv``."""
    figures = ("map", "model", "inside", "explained", "correlation")
    kept = (
        [*_cells(pair.row, pair.resolution), pair.map, pair.model]
        + [f"{value:.3f}" for value in (pair.agreement.inside, pair.agreement.explained, pair.agreement.correlation)]
        for pair in dataset.accepted
    )
    _write(folder / "accepted.csv", [*COLUMNS, *figures], kept)
    refused = ([*_cells(row, row.resolution), str(reason)] for row, reason in dataset.rejected)
    _write(folder / "rejected.csv", [*COLUMNS, "reason"], refused)


def _cells(row: TableRow, resolution: float | None) -> list[object]:
    return [row.pdb_id or "", row.emdb_id or "", "" if resolution is None else f"{resolution:g}", row.unverified]


def _write(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with writing_aside(path) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([names, *rows])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its status."""
    parser = argparse.ArgumentParser(prog="python -m samu_training.dataset", description="Build a data set.")
    parser.add_argument("table", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mirror", action="append", help="EMDB's layout: URL or folder; may be repeated")
    parser.add_argument("--models-mirror", action="append", help="the PDB's divided mmCIF: URL or folder; likewise")
    parser.add_argument("--inside", type=float, default=Limits.inside, help="least share of atoms in density")
    parser.add_argument("--explained", type=float, default=Limits.explained, help="least share of density with atoms")
    parser.add_argument("--correlation", type=float, default=Limits.correlation)
    parser.add_argument(
        "--max-voxels", type=int, default=MAX_VOXELS, help="of a map at 1 A; two copies of 4 bytes each are held"
    )
    chosen = parser.parse_args(arguments)
    limits = Limits(inside=chosen.inside, explained=chosen.explained, correlation=chosen.correlation)
    archive = Archive(
        cache=chosen.folder,
        map_mirrors=_absolute(chosen.mirror or DEFAULT_MIRRORS),
        model_mirrors=_absolute(chosen.models_mirror or MODEL_MIRRORS),
    )
    dataset = Dataset()
    for row in read_table(chosen.table):
        dataset.add(row, archive, limits=limits, max_voxels=chosen.max_voxels)
        write_dataset(dataset, chosen.folder)
    print(f"{len(dataset.accepted)} accepted, {len(dataset.rejected)} rejected: {chosen.folder}")
    return int(any(reason.again for _, reason in dataset.rejected))


def _absolute(mirrors: Sequence[str]) -> list[str]:
    return [mirror if is_server(mirror) else str(Path(mirror).absolute()) for mirror in mirrors]


if __name__ == "__main__":
    sys.exit(main())
