"""Random crops of the pairs that :mod:`samu_training.data` and :mod:`samu_training.real` write, to train on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.random import Generator
    from numpy.typing import NDArray

    from samu_training.structure import Embeddings

    Augmentation = Callable[[NDArray[np.float32], Generator], NDArray[np.float32]]

OVERHANG = 0.75
"""Share of its edge by which a crop may reach over the box: of a map's last cubes most lies there, and is zero."""
ON_MOLECULE = 0.75
"""Share of the crops whose centre is a voxel with target density."""
BRIGHTNESS = (0.75, 1.3)
"""How bright a crop is shown: the density that becomes 1 is that of a few voxels, and of other maps more or less."""


class Crops:
    """Random crops of the pairs in a folder; pairs that arrive while training goes on are used as they come.

    Crops are cubes of ``edge`` voxels, and ``longer`` than that along their first axis.
    """

    def __init__(
        self,
        folder: Path,
        *,
        edge: int,
        longer: int = 0,
        augment: Augmentation | None = None,
        embeddings: Embeddings | None = None,
    ) -> None:
        self._folder = folder
        self._edge = edge
        self._longer = longer
        self._augment = augment
        self._embeddings = embeddings
        self._pairs: dict[str, NDArray[np.float16]] = {}

    def batch(self, rng: Generator, count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return sources in [0, 1] and targets in [0, 1], each (count, 1, edge, edge, edge)."""
        crops = [self.draw(rng) for _ in range(count)]
        return np.stack([source for source, *_ in crops]), np.stack([target for _, target, *_ in crops])

    def draw(self, rng: Generator) -> list[NDArray[np.float32]]:
        """Return source and target, (1, edge, edge, edge) each, and the structural embedding if there are any."""
        names = self._names()
        name = names[rng.integers(len(names))]
        crop = self._crop(name, rng)
        return [crop[:1], crop[1:], *([self._embeddings.of(name)] if self._embeddings else [])]

    def _crop(self, name: str, rng: Generator) -> NDArray[np.float32]:
        pair = self._load(name)
        shape = np.full(3, self._edge)
        if self._longer:
            shape[rng.integers(3)] += self._longer
        start = self._start(pair, shape, rng)
        box = [slice(max(0, s), max(0, min(n, s + e))) for s, n, e in zip(start, pair.shape[1:], shape, strict=True)]
        inside = pair[(slice(None), *box)].astype(np.float32)
        padding = [
            (b.start - s, e - (b.start - s) - (b.stop - b.start)) for b, s, e in zip(box, start, shape, strict=True)
        ]
        crop = np.pad(inside, [(0, 0), *padding])
        crop[0] *= rng.uniform(*BRIGHTNESS)
        crop = np.clip(crop, 0, 1)
        if self._augment is not None:
            crop[:1] = self._augment(crop[:1], rng)
        crop[crop < 1e-6] = 0
        return longest_first(turned(crop, rng))

    def _start(self, pair: NDArray[np.float16], shape: NDArray[np.int64], rng: Generator) -> NDArray[np.int64]:
        whole = np.array(pair.shape[1:])
        if rng.random() < ON_MOLECULE:
            for _ in range(40):
                centre = rng.integers(whole)
                if pair[1][tuple(centre)] > 0.05:
                    return np.asarray(centre - rng.integers(shape // 4, 3 * shape // 4))
        overhang = (OVERHANG * shape).astype(int)
        return np.asarray(rng.integers(-overhang, np.maximum(whole - shape + overhang, -overhang) + 1))

    def _names(self) -> list[str]:
        names = sorted(path.name for path in self._folder.glob("*.npy"))
        if not names:
            raise FileNotFoundError(f"{self._folder} holds no pairs: make some with python -m samu_training.data")
        return names

    def _load(self, name: str) -> NDArray[np.float16]:
        if name not in self._pairs:
            self._pairs[name] = np.load(self._folder / name, mmap_mode="r")
        return self._pairs[name]


class Mixed:
    """Crops of two folders, of the second with a given probability."""

    def __init__(self, crops: Crops, others: Crops, *, share: float) -> None:
        self._crops = crops
        self._others = others
        self._share = share

    def draw(self, rng: Generator) -> list[NDArray[np.float32]]:
        """Return what :meth:`Crops.draw` does."""
        return (self._others if rng.random() < self._share else self._crops).draw(rng)


def turned(crop: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """Turn by one of the 24 proper rotations of the cube: a mirror image of a protein is none."""
    axes = rng.permutation(3)
    flips = rng.integers(2, size=3)
    odd = (np.linalg.det(np.eye(3)[axes]) < 0) != (flips.sum() % 2 == 1)
    if odd:
        flips[0] ^= 1
    crop = crop.transpose(0, *(axes + 1))
    return np.ascontiguousarray(crop[(slice(None), *(slice(None, None, -1 if flip else 1) for flip in flips))])


def longest_first(crop: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn the longest axis of (C, D, H, W) to the front; a cyclic change of axes is a rotation, no mirror."""
    axes = 1 + (np.argmax(crop.shape[1:]) + np.arange(3)) % 3
    return np.ascontiguousarray(crop.transpose(0, *axes))
