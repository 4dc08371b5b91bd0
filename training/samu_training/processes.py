"""One process that trains, or those that torchrun started: they share each batch and average their gradients."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn


@dataclass(frozen=True, kw_only=True)
class Processes:
    """Which process this is, of how many, and its device."""

    rank: int
    count: int
    device: torch.device

    @classmethod
    def join(cls, device: str) -> Processes:
        """Meet the processes that torchrun's variables name; alone without them."""
        rank, count, local = (int(os.environ.get(name, default)) for name, default in _TORCHRUN)
        if count == 1:
            return cls(rank=0, count=1, device=torch.device(device))
        if device == "cuda":
            torch.cuda.set_device(local)  # NCCL gathers objects on the current device, which must not be another's
        distributed.init_process_group("nccl" if device == "cuda" else "gloo")
        return cls(rank=rank, count=count, device=torch.device(device, local if device == "cuda" else None))

    def leave(self) -> None:
        """Part from the others once all are done: torchrun ends a process that still writes when another one fails."""
        if self.count > 1:
            distributed.barrier()
            distributed.destroy_process_group()

    @property
    def first(self) -> bool:
        """Whether this is the one that logs and writes."""
        return self.rank == 0

    def wrap(self, network: nn.Module, *, all_used: bool) -> nn.Module:
        """Return the network with gradients averaged over the processes, and the first one's weights in all of them.

        ``all_used`` says that each step uses every parameter.
        """
        if self.count == 1:
            return network
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=devices, find_unused_parameters=not all_used)

    def agree(self, *values: float) -> list[float]:
        """Return the first process's values in all of them: clocks differ, and loops must not."""
        if self.count == 1:
            return list(values)
        shared = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.broadcast(shared, 0)
        return [float(value) for value in shared]

    def gather(self, value: Any) -> list[Any]:
        """Return every process's value, in all of them."""
        values = [value] * self.count
        if self.count > 1:
            distributed.all_gather_object(values, value)
        return values


_TORCHRUN = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
