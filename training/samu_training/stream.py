"""The crops of each step and process: each follows from the seed and its number alone, so a run resumes exactly."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from torch import Tensor

    from samu_training.crops import Crops, Mixed
    from samu_training.processes import Processes


class _Numbered(Dataset):  # type: ignore[misc]
    """Crops by number: ``seed`` and number are all that is drawn from."""

    def __init__(self, crops: Crops | Mixed, seed: int) -> None:
        self._crops = crops
        self._seed = seed

    def __getitem__(self, number: int) -> list[Tensor]:
        return [torch.from_numpy(part) for part in self._crops.draw(np.random.default_rng([self._seed, number]))]


class _Share(Sampler):  # type: ignore[misc]
    """The numbers of one process's crops: its share of the joint batch of every step, without end."""

    def __init__(self, first: int, batch: int, processes: Processes) -> None:
        self._first = first
        self._batch = batch
        self._processes = processes

    def __iter__(self) -> Iterator[int]:
        for step in itertools.count(self._first):
            start = (step * self._processes.count + self._processes.rank) * self._batch
            yield from range(start, start + self._batch)


def batches(crops: Crops | Mixed, chosen: Namespace, processes: Processes, *, first: int) -> Iterator[list[Tensor]]:
    """Yield the batches of a process from step ``first`` on.

    Each is source and target, (N, 1, E, E, E), and (N, 800, 512) embeddings where the crops have them.
    """
    loader = DataLoader(
        _Numbered(crops, chosen.seed),
        batch_size=chosen.batch,
        sampler=_Share(first, chosen.batch, processes),
        num_workers=chosen.workers,
        pin_memory=processes.device.type == "cuda",
        generator=torch.Generator(),  # the loader must not draw from that of dropout
    )
    yield from loader
