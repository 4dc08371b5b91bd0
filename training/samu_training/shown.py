"""What a gate is trained on: whole maps as the network is shown them, and what it makes of them without a gate.

A pair of :mod:`samu_training.data` is shown once, dimmed or brightened; some with noise that drowns the molecule, and
some cut out, for many maps end within molecule or detergent. Crops are drawn from that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, gaussian_filter

from samu_batch.files import writing_aside
from samu_training.as_read import PERCENTILE
from samu_training.crops import longest_first, turned
from samu_training.losses import PRESENT
from samu_training.train_options import autocast, fastest_precision

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.random import Generator
    from numpy.typing import NDArray

    from samu_engines.network import Network

BRIGHTNESS = (0.55, 1.3)
DIM, DIMMED = 0.2, (0.12, 0.55)
"""Share of the maps whose few brightest voxels are no part of the molecule, so that it is dim; how dim."""
NOISY, NOISE, GRAIN = 0.25, (0.4, 1.6), (0.7, 2.0)
"""Share of the maps with more noise; its spread over the molecule's; its width in voxels."""
CUT, LEAST = 0.25, 0.5
"""Share of the maps that are cut out of a larger one, and what is left of each axis at least."""
AROUND = 16
"""Voxels of nothing around a map that are kept: cubes reach there."""
LATTICE = 16
RING = 5, 12
"""Angstrom from the molecule where detergent lies that is to be told from it."""
CROWDED = 0.35
"""Brightness of the ring's brightest third over the molecule's, above which a map is drawn more often."""
ON_MOLECULE = 0.75
"""Share of the crops in whose middle lies a voxel with target density."""


def write_shown(rest: Network, pairs: list[Path], folder: Path, *, seed: int) -> None:
    """Write for each pair float16 (3, D, H, W): source in [0, 1], what ``rest`` makes of it, target.

    Edges are multiples of 16, ``AROUND`` and more voxels of nothing around the map. Files bear the names of the pair's
    folder and of the pair, so that several folders may become one; those that are there stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for pair in pairs:
        path = folder / f"{pair.absolute().parent.name}_{pair.name}"
        if path.exists():
            continue
        source, target = show(np.load(pair).astype(np.float32), np.random.default_rng([seed, *path.name.encode()]))
        shown = np.stack([source, enhanced(rest, source), target]).astype(np.float16)
        with writing_aside(path) as partial, partial.open("wb") as file:
            np.save(file, shown)
        print(path.name, shown.shape[1:], flush=True)


def show(pair: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """Return a pair (2, D, H, W) as a network is shown it: noisy or not, cut out or not, dimmed, padded and clipped."""
    if rng.random() < NOISY and pair[1].any():
        pair = np.stack([noisier(pair[0], pair[1], rng), pair[1]])
    if rng.random() < CUT:
        whole = np.array(pair.shape[1:])
        kept = np.ceil(whole * rng.uniform(LEAST, 1, 3)).astype(int)
        first = rng.integers(whole - kept + 1)
        pair = pair[(slice(None), *(slice(a, a + n) for a, n in zip(first, kept, strict=True)))]
    brightness = rng.uniform(*(DIMMED if rng.random() < DIM else BRIGHTNESS))
    pair = pair * np.array([brightness, 1], np.float32)[:, None, None, None]
    pair = np.clip(pair, 0, 1)
    pair[pair < 1e-6] = 0
    after = [AROUND + -n % LATTICE for n in pair.shape[1:]]
    return np.pad(pair, [(0, 0), *((AROUND, n) for n in after)])


def noisier(source: NDArray[np.float32], target: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """Return a source with more noise, where it is not masked, divided by its percentile again."""
    noise = gaussian_filter(rng.normal(size=source.shape).astype(np.float32), rng.uniform(*GRAIN))
    strength = rng.uniform(*NOISE) * source[target >= PRESENT].std() / noise.std()
    noisy = source + strength * noise * (source != 0)
    return np.asarray(noisy / np.percentile(noisy[noisy != 0], PERCENTILE), np.float32)


def enhanced(rest: Network, source: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what a network makes of a map (D, H, W) as a whole."""
    with torch.inference_mode(), autocast("cpu", fastest_precision("cpu")):
        made: NDArray[np.float32] = rest(torch.from_numpy(source)[None, None])[0, 0].float().numpy()
    return made


def crowded(source: NDArray[np.float32], target: NDArray[np.float32]) -> bool:
    """Whether what surrounds the molecule of a map is nearly as bright as it is; every second voxel is looked at."""
    source, target = source[::2, ::2, ::2], target[::2, ::2, ::2]
    if not (target >= PRESENT).any():
        return False
    away = 2 * distance_transform_edt(target < PRESENT)
    ring, inside = np.sort(source[(away > RING[0]) & (away < RING[1])]), source[away < 2]
    if not ring.size or not inside.any():
        return False
    return bool(ring[-len(ring) // 3 :].mean() > CROWDED * inside.mean())


class Shown:
    """Random crops of the maps in a folder, a crowded map ``often`` times as often as others."""

    def __init__(self, folder: Path, *, often: float) -> None:
        self._maps = [np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))]
        if not self._maps:
            raise SystemExit(f"{folder} holds no maps: make some with python -m samu_training.gate shown")
        weights = np.array([often if crowded(each[0], each[2]) else 1.0 for each in self._maps])
        self._shares = weights / weights.sum()

    def draw(self, rng: Generator, *, edge: int, longer: int) -> NDArray[np.float32]:
        """Return source, enhanced and target of a crop, turned at random: (3, edge + longer, edge, edge)."""
        whole = self._maps[rng.choice(len(self._maps), p=self._shares)]
        shape = np.full(3, edge)
        shape[rng.integers(3)] += longer
        start = _start(whole, shape, rng)
        ends = zip(start, shape, whole.shape[1:], strict=True)
        box = [slice(max(0, first), max(0, min(n, first + size))) for first, size, n in ends]
        inside = np.asarray(whole[(slice(None), *box)], np.float32)
        before = [max(0, -first) for first in start]
        missing = zip(before, shape, inside.shape[1:], strict=True)
        padding = [(0, 0), *((first, size - first - n) for first, size, n in missing)]
        return longest_first(turned(np.pad(inside, padding), rng))


def _start(whole: NDArray[np.float16], shape: NDArray[np.int64], rng: Generator) -> NDArray[np.int64]:
    size = np.array(whole.shape[1:])
    if rng.random() < ON_MOLECULE:
        for _ in range(40):
            middle = rng.integers(size)
            if whole[2][tuple(middle)] > PRESENT:
                return np.asarray(middle - rng.integers(shape // 4, 3 * shape // 4))
    return np.asarray(rng.integers(np.minimum(0, size - shape), np.maximum(0, size - shape) + 1))
