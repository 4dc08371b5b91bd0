"""The frozen test set: which maps of which structures, and the proof that they were made again as they were.

``testset.csv`` names, for each map, the structure with its SHA-256, the seed that all else is drawn from, and a digest
of the voxels. ``python -m samu_training.testset`` wrote it once, from SAMU_DATA: all structures that are never trained
on (:func:`samu_training.atoms.is_test`), but those behind real pairs, with 700 heavy atoms or more and no nucleic acid.

A digest is the standard deviation of the map, and mean and standard deviation of its eight octants in units of it. It
bears other processors and Fourier transforms, whose last bits differ, but no other noise, orientation or filter.
"""

from __future__ import annotations

import csv
import hashlib
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import mrcfile
import numpy as np

from samu_batch.files import sha256_of, writing_aside
from samu_training.atoms import OF_REAL_PAIRS, is_test, read_atoms
from samu_training.chains import sequences
from samu_training.reconstruct import draw, reconstruct

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

LIST = Path(__file__).with_name("testset.csv")
SEED = 5
FEWEST = 700
TOLERANCE = 2e-3
RELATED = 0.12
"""Share of a chain's tetrapeptides that one of a training structure has too, above which the two are relatives; between
strangers it is below 0.11 here, and for half of identical residues above 0.14."""


@dataclass(frozen=True, kw_only=True)
class FrozenMap:
    """One map of the test set.

    Attributes
    ----------
    structure, sha256
        File below SAMU_DATA, and of what content.
    seed
        Of everything drawn; ``resolution``, ``spacing`` (angstrom) and ``mask`` are shown for the reader.
    relative
        A structure that is trained on and shares a chain's sequence, or nothing.
    digest
        Of the voxels.
    """

    name: str
    structure: str
    sha256: str
    seed: int
    resolution: float
    spacing: float
    mask: str
    relative: str
    digest: str


def read_testset(path: Path = LIST) -> list[FrozenMap]:
    """Return the frozen list."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    numbers = {"seed": int, "resolution": float, "spacing": float}
    return [FrozenMap(**{key: numbers.get(key, str)(value) for key, value in row.items()}) for row in rows]


def make_map(frozen: FrozenMap, data: Path, folder: Path) -> tuple[Path, Floats, Floats]:
    """Return a map of the test set as a file in ``folder``, made if it is not there, and its atoms.

    Of the atoms the positions (N, 3) in angstrom from the first voxel, ZYX, and the atomic numbers (N,).

    Raises
    ------
    ValueError
        The structure is another one than that of the list, or the map came out differently.
    """
    path, sites = folder / f"{frozen.name}.mrc", folder / f"{frozen.name}.npz"
    if not (path.exists() and sites.exists()):
        source = data / frozen.structure
        if sha256_of(source) != frozen.sha256:
            raise ValueError(f"{source} is not the structure that the test set was made of")
        density, positions = _make(source, frozen.seed)
        with writing_aside(sites) as partial, partial.open("wb") as file:
            np.savez(file, positions=positions, numbers=read_atoms(source).numbers)
        with writing_aside(path) as partial, mrcfile.new(partial, data=density, overwrite=True) as stored:
            stored.voxel_size = frozen.spacing
    if not agrees(digest(mrcfile.read(path)), frozen.digest):
        raise ValueError(
            f"{path} is not the map of the test set: remove it, or look at the versions of gemmi and numpy"
        )
    with np.load(sites) as held:
        return path, held["positions"], held["numbers"]


def _make(source: Path, seed: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    return reconstruct(source, draw(rng), rng)


def digest(density: NDArray[np.float32]) -> str:
    """Return what tells a map from others: 17 numbers, separated by blanks."""
    deviation = density.std(dtype=np.float64)
    octants = [density]
    for axis in range(3):
        octants = [half for octant in octants for half in np.array_split(octant, 2, axis=axis)]
    parts = [figure / deviation for octant in octants for figure in (octant.mean(), octant.std(dtype=np.float64))]
    return " ".join([f"{deviation:.5g}", *(f"{part:.4f}" for part in parts)])


def agrees(one: str, other: str) -> bool:
    """Whether two digests are of the same map, rounding apart."""
    a, b = (np.array(text.split(), float) for text in (one, other))
    a[0], b[0] = 1, b[0] / a[0]
    return bool(np.allclose(a, b, rtol=0, atol=TOLERANCE))


def _freeze(data: Path) -> Iterable[FrozenMap]:
    trained: dict[str, list[set[tuple[str, ...]]]] = {}
    chosen: dict[Path, list[set[tuple[str, ...]]]] = {}
    for path in sorted((data / "structures").iterdir()):
        name = path.name.split(".")[0].lower()
        words = _tetrapeptides(path)
        if not is_test(name):
            trained[name] = words
        elif name not in OF_REAL_PAIRS and words and len(read_atoms(path).numbers) >= FEWEST:
            chosen[path] = words
    for number, (path, words) in enumerate(chosen.items()):
        seed = 1000 * SEED + number
        drawn = draw(np.random.default_rng(seed))
        density, _ = _make(path, seed)
        yield FrozenMap(
            name=path.name.split(".")[0].lower(),
            structure=str(path.relative_to(data)),
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            seed=seed,
            resolution=round(drawn.resolution, 3),
            spacing=drawn.spacing,
            mask=drawn.mask,
            relative=_relative(words, trained),
            digest=digest(density),
        )


def _tetrapeptides(path: Path) -> list[set[tuple[str, ...]]]:
    """Return each chain's; nothing where there is nucleic acid."""
    import gemmi

    structure = gemmi.read_structure(str(path))
    structure.setup_entities()
    kinds = (gemmi.find_tabulated_residue(residue.name) for chain in structure[0] for residue in chain)
    if sum(kind.is_nucleic_acid() for kind in kinds) > 1:  # one is a ligand
        return []
    return [set(zip(s, s[1:], s[2:], s[3:], strict=False)) for s in sequences(structure)]


def _relative(words: list[set[tuple[str, ...]]], trained: dict[str, list[set[tuple[str, ...]]]]) -> str:
    shares = (
        (len(a & b) / min(len(a), len(b)), name) for name, others in trained.items() for a in words for b in others
    )
    share, name = max(shares)
    return name if share > RELATED else ""


if __name__ == "__main__":
    frozen = []
    for each in _freeze(Path(os.environ["SAMU_DATA"])):
        print(each.name, each.digest, flush=True)
        frozen.append(asdict(each))
    with LIST.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(frozen[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(frozen)
