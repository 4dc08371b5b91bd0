"""Structural embeddings of pairs, as training hands them to the network.

A folder of pairs names each pair's structure in ``structures.csv``; a folder of embeddings holds one array for each
structure (:mod:`samu_training.embed`). A pair without a molecule has no embedding: zeros, by which the network's
cross-attention is passed by, as it is for every map when there is none (section 3.4 of CryoSAMU).
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np

from samu_training.embed import LENGTH

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

WIDTH = 512
NAMES = "structures.csv"


def note_structure(folder: Path, pair: str, structure: str) -> None:
    """Append which structure a pair shows; none (an empty name) where it holds no molecule."""
    with (folder / NAMES).open("a", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow([pair, structure])


class Embeddings:
    """The embeddings of the pairs of one folder."""

    def __init__(self, folder: Path, *, pairs: Path) -> None:
        self._folder = folder
        self._names = pairs / NAMES
        self._structures: dict[str, str] = {}

    def of(self, pair: str) -> NDArray[np.float32]:
        """Return float32 (800, 512) for a pair's file name; zeros if it holds no molecule.

        Raises
        ------
        FileNotFoundError
            Nobody noted the pair's structure, or there is no embedding of it.
        """
        if pair not in self._structures:
            self._structures = self._read()
        if pair not in self._structures:
            raise FileNotFoundError(f"{self._names} does not say which structure {pair} shows")
        structure = self._structures[pair]
        if not structure:
            return np.zeros((LENGTH, WIDTH), np.float32)
        return np.load(self._folder / f"{structure}.npy").astype(np.float32)  # type: ignore[no-any-return]

    def _read(self) -> dict[str, str]:
        if not self._names.exists():
            return {}
        with self._names.open(newline="") as file:
            return dict(csv.reader(file))
