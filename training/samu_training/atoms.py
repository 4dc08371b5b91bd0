"""Atoms of structures as compact arrays: what simulation needs, packed once so that it needs no structure files.

``python -m samu_training.atoms FOLDER PACK.npz`` packs a folder of PDB and mmCIF files (also .gz).
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

FEWEST = 400
"""Structures with fewer heavy atoms are fragments: left out."""
TEST_SHARE = 8
"""One structure in this many, chosen by the hash of its id, is never trained on."""
REMOTENESS = "BGDEZH"
"""Second letters of the names of side-chain atoms, from C-beta on."""
OF_REAL_PAIRS = frozenset(
    "1bg2 1oed 1qhd 1wcm 3j06 3j5p 3j8x 3j9s 3jb0 4ci0 4uft 5fn5 5iyz 5khe 5ly6 6gyn 6i5a 6ksw 6pj6 6vrc".split()  # noqa: SIM905
)
"""Structures behind the experimental maps that the models are judged on: never trained on."""


@dataclass(frozen=True, kw_only=True)
class Atoms:
    """Heavy atoms without water.

    Attributes
    ----------
    positions
        (N, 3) in angstrom, ZYX.
    numbers
        Atomic numbers (N,).
    reach
        How far along its side chain an atom is (N,): 0 in the backbone, 1 at C-beta, 6 at the end of an arginine.
    """

    name: str
    positions: NDArray[np.float32]
    numbers: NDArray[np.float32]
    reach: NDArray[np.float32]


def read_atoms(path: Path) -> Atoms:
    """Read the first model of a structure file; of alternative positions the first.

    Raises
    ------
    ValueError, RuntimeError
        It is no structure that gemmi reads, or it holds no atoms.
    """
    import gemmi

    structure = gemmi.read_structure(str(path))
    structure.remove_hydrogens()
    structure.remove_waters()
    structure.remove_alternative_conformations()
    structure.remove_empty_chains()
    # OPM marks the membrane's faces by dummy atoms.
    atoms = [cra.atom for cra in structure[0].all() if cra.residue.name != "DUM"]
    if not atoms:
        raise ValueError(f"{path} holds no atoms")
    return Atoms(
        name=path.name.split(".")[0].lower(),
        positions=np.array([[a.pos.z, a.pos.y, a.pos.x] for a in atoms], np.float32),
        numbers=np.array([a.element.atomic_number for a in atoms], np.float32),
        reach=np.array([1 + REMOTENESS.find(a.name[1:2] or "?") for a in atoms], np.float32),
    )


def pack_atoms(paths: Iterable[Path], pack: Path) -> list[str]:
    """Write the structures of ``paths`` that can be read and are large enough into one file; return their names."""
    arrays: dict[str, NDArray[np.float32]] = {}
    for path in paths:
        try:
            atoms = read_atoms(path)
        except (ValueError, RuntimeError) as error:
            print(f"left out: {error}")
            continue
        if len(atoms.numbers) >= FEWEST:
            arrays[atoms.name] = np.column_stack([atoms.positions, atoms.numbers, atoms.reach])
    np.savez_compressed(pack, **arrays)  # type: ignore[arg-type]  # names are strings
    return list(arrays)


def load_atoms(pack: Path) -> list[Atoms]:
    """Read all structures of a pack."""
    with np.load(pack) as arrays:
        return [
            Atoms(name=name, positions=table[:, :3], numbers=table[:, 3], reach=table[:, 4])
            for name, table in arrays.items()
        ]


def is_test(name: str) -> bool:
    """Whether a structure is kept from training."""
    return name in OF_REAL_PAIRS or int(hashlib.sha256(name.encode()).hexdigest(), 16) % TEST_SHARE == 0


def main() -> None:
    """Pack a folder of structures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("pack", type=Path)
    arguments = parser.parse_args()
    names = pack_atoms(sorted(arguments.folder.iterdir()), arguments.pack)
    print(f"{len(names)} structures, {sum(map(is_test, names))} of them for testing")


if __name__ == "__main__":
    main()
