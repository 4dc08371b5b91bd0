"""Checkpoints: all that a run needs to go on as if it had never stopped."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from samu_engines.torch_cpu import read_weights

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from samu_engines.network import Network
    from samu_training.processes import Processes


@dataclass
class Progress:
    """Steps taken, and seconds spent on them."""

    step: int = 0
    spent: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Learner:
    """What changes while a network learns. What crops are drawn follows from the step alone."""

    network: Network
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    progress: Progress

    def save(self, path: Path, processes: Processes) -> None:
        """Write a checkpoint whole; all processes take part, the first one writes."""
        generators = processes.gather(_generators(processes.device))
        if not processes.first:
            return
        state = {
            "config": dataclasses.asdict(self.network.config),
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "generators": generators,
            **dataclasses.asdict(self.progress),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def restore(self, path: Path, processes: Processes) -> None:
        """Go on from a checkpoint; of another number of processes only dropout differs from then on."""
        state = torch.load(path, weights_only=True, map_location="cpu")
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        if "scaler" in state:
            self.scaler.load_state_dict(state["scaler"])
        self.progress.step, self.progress.spent = state["step"], state["spent"]
        generators = state.get("generators", [])
        if len(generators) == processes.count:
            _set_generators(generators[processes.rank], processes.device)


def weights_of(start: Path) -> dict[str, Tensor]:
    """Return the weights in a checkpoint, or in a model's ONNX file, by the names of the network's parameters."""
    held: dict[str, Tensor]
    held = read_weights(start) if start.suffix == ".onnx" else torch.load(start, weights_only=True)["network"]
    return held


def _generators(device: torch.device) -> dict[str, Any]:
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def _set_generators(states: dict[str, Any], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
