"""Train the gate of ``samu-lite`` alone, on what the rest of it gives, which is computed once: minutes, not hours.

::

    python -m samu_training.gate crops MODEL.onnx PAIRS CROPS --count 500 --seed 1     a process for each seed
    python -m samu_training.gate train MODEL.onnx CROPS RUN --steps 500                RUN/checkpoint.pt, to export

A gate sees no more than the cube and what was enhanced, so nothing else of the network takes part. Crops with
unmodelled density as bright as protein are few, and are drawn more often.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch.nn import functional

from samu_engines.blocks import Gate, surroundings
from samu_engines.network import SAMU_LITE, Network, channels_last
from samu_engines.torch_cpu import read_weights
from samu_training.as_read import CORE, CUBE
from samu_training.data import Crops
from samu_training.losses import (
    BETA,
    DENSITY_WEIGHT,
    FLOOR,
    HALO,
    PRESENT,
    correlation,
    disagreement,
    near_density,
    overlap_shift,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

SHIFT = overlap_shift(CUBE)
RING = 5, 12
"""Angstrom from the molecule where detergent lies that is to be told from it."""
CROWDED = 0.35
"""Brightness of the ring's brightest third over the molecule's, above which a crop is drawn more often."""
WARM_UP = 20
PARTS = "source", "target", "enhanced"
USED = (slice(None), slice(None), *(slice(HALO, HALO + CORE),) * 3)


def write_crops(rest: Network, drawn: Crops, folder: Path, *, count: int, seed: int) -> None:
    """Fill a folder with crops and what a network without a gate makes of their two overlapping cubes.

    Each is float16: ``source`` and ``target`` (90, 64, 64), ``enhanced`` (2, 64, 64, 64); those that are there stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"{seed}_{number:05d}.npz"
        if path.exists():
            continue
        source, target = (part[0] for part in drawn.draw(np.random.default_rng([seed, number])))
        with torch.inference_mode():
            enhanced = rest(_two(source))[:, 0].numpy()
        halves = (part.astype(np.float16) for part in (source, target, enhanced))
        np.savez(path, **dict(zip(PARTS, halves, strict=True)))


def crowded(source: NDArray[np.float32], target: NDArray[np.float32]) -> bool:
    """Whether what surrounds the molecule of a crop is nearly as bright as it is."""
    if not (target >= PRESENT).any():
        return False
    away = distance_transform_edt(target < PRESENT)
    ring, inside = np.sort(source[(away > RING[0]) & (away < RING[1])]), source[away < 2]
    if not ring.size or not inside.any():
        return False
    return bool(ring[-len(ring) // 3 :].mean() > CROWDED * inside.mean())


class Seen:
    """Crops as a gate is trained on them; what is made of one is kept."""

    def __init__(self, folder: Path) -> None:
        self._paths = sorted(folder.glob("*.npz"))
        if not self._paths:
            raise SystemExit(f"{folder} holds no crops: make some with python -m samu_training.gate crops")
        self._kept: dict[int, list[Tensor]] = {}

    def weights(self, *, often: float) -> NDArray[np.float64]:
        """Return how often each crop is to be drawn, in sum 1: a crowded one ``often`` times as often as others."""
        weights = np.array([often if crowded(*self._read(path)[:2]) else 1.0 for path in self._paths])
        shares: NDArray[np.float64] = weights / weights.sum()
        return shares

    def batch(self, numbers: NDArray[np.int64]) -> list[Tensor]:
        """Return surroundings, enhanced cubes, and targets and where the molecule is in their cores; two of a crop."""
        return [torch.cat(parts).float() for parts in zip(*map(self._of, numbers.tolist()), strict=True)]

    def _of(self, number: int) -> list[Tensor]:
        if number not in self._kept:
            source, target, cubes = self._read(self._paths[number])
            enhanced, core = torch.from_numpy(cubes)[:, None], _two(target)[USED]
            seen = torch.cat(surroundings(enhanced, _two(source)), dim=1)
            self._kept[number] = [part.half() for part in (seen, enhanced, core, near_density(core))]
        return self._kept[number]

    @staticmethod
    def _read(path: Path) -> list[NDArray[np.float32]]:
        with np.load(path) as arrays:
            return [arrays[name].astype(np.float32) for name in PARTS]


def gate_loss(enhanced: Tensor, target: Tensor, molecule: Tensor, *, inside: float, agreement: float) -> Tensor:
    """Smooth L1, what is missing in the correlations of cores, and what overlapping cubes say otherwise.

    Parameters
    ----------
    enhanced, target, molecule
        (N, 1, 64, 64, 64), and (N, 1, 50, 50, 50) twice; the two cubes of a crop follow each other.
    inside
        Share of the correlation inside the molecule.
    agreement
        Weight of the last.
    """
    core = enhanced[USED]
    loss = DENSITY_WEIGHT * functional.smooth_l1_loss(core, target, beta=BETA)
    loss = loss + agreement * disagreement(enhanced[0::2], enhanced[1::2], shift=SHIFT)
    holds = target.flatten(1).std(dim=1) > 10 * FLOOR
    if holds.any():
        whole = correlation(core[holds], target[holds])
        within = correlation(core[holds], target[holds], molecule[holds])
        loss = loss + 1 - (1 - inside) * whole.mean() - inside * within.mean()
    return loss


def train_gate(gate: Gate, seen: Seen, asked: argparse.Namespace) -> None:
    """Train for so many steps, the learning rate falling to zero with a cosine."""
    rng = np.random.default_rng(asked.seed)
    weights = seen.weights(often=asked.often)
    optimiser = torch.optim.AdamW(gate.parameters(), lr=asked.rate, weight_decay=0.01)
    losses: list[float] = []
    for step in range(asked.steps):
        for group in optimiser.param_groups:
            group["lr"] = asked.rate * min(1, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / asked.steps))
        around, enhanced, target, molecule = seen.batch(rng.choice(len(weights), asked.batch, p=weights))
        passed = enhanced * gate.share(around)
        loss = gate_loss(passed, target, molecule, inside=asked.inside, agreement=asked.agreement)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(gate.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
        if len(losses) % 50 == 0:
            print(f"{len(losses)} of {asked.steps} steps, loss {np.mean(losses[-50:]):.4f}", flush=True)


def _two(crop: NDArray[np.float32]) -> Tensor:
    """(90, 64, 64) to the two cubes that overlap in it, (2, 1, 64, 64, 64)."""
    return torch.from_numpy(np.stack([crop[:CUBE], crop[-CUBE:]])[:, None])


def without_gate(model: Path) -> Network:
    """Return ``samu-lite`` up to its gate, with the weights of a model's ONNX file."""
    network: Network = Network(dataclasses.replace(SAMU_LITE, gate=0)).eval()
    wanted = network.state_dict()
    network.load_state_dict({key: weights for key, weights in read_weights(model).items() if key in wanted})
    channels_last(network)
    return network


def main() -> None:
    """Write crops, or train on them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    commands = parser.add_subparsers(dest="command", required=True)
    crops = commands.add_parser("crops", help="write crops, and what the rest of the network gives of them")
    train = commands.add_parser("train", help="train the gate on them")
    for command, places in ((crops, ("model", "pairs", "crops")), (train, ("model", "crops", "run"))):
        for place in places:
            command.add_argument(place, type=Path)
        command.add_argument("--seed", type=int, default=1)
    crops.add_argument("--count", type=int, default=500)
    train.add_argument("--steps", type=int, default=500)
    train.add_argument("--batch", type=int, default=4, help="crops a step; each is two cubes")
    train.add_argument("--rate", type=float, default=1e-2)
    train.add_argument("--often", type=float, default=6, help="times that a crowded crop is drawn as often as others")
    train.add_argument("--inside", type=float, default=0.75, help="share of the correlation inside the molecule")
    train.add_argument("--agreement", type=float, default=30)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(asked.seed)
    if asked.command == "crops":
        crops_of = Crops(asked.pairs, edge=CUBE, longer=SHIFT)
        write_crops(without_gate(asked.model), crops_of, asked.crops, count=asked.count, seed=asked.seed)
    else:
        write_checkpoint(asked)


def write_checkpoint(asked: argparse.Namespace) -> None:
    """Train a new gate behind the rest of a model, and write both as a checkpoint."""
    gate, begun = Gate(SAMU_LITE.gate), time.monotonic()
    train_gate(gate, Seen(asked.crops), asked)
    weights = without_gate(asked.model).state_dict()
    weights |= {f"gate.{name}": values for name, values in gate.state_dict().items()}
    asked.run.mkdir(parents=True, exist_ok=True)
    state = {"config": dataclasses.asdict(SAMU_LITE), "network": weights}
    torch.save(state | {"step": asked.steps, "spent": time.monotonic() - begun}, asked.run / "checkpoint.pt")


if __name__ == "__main__":
    main()
