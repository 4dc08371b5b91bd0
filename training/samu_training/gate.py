"""Train the gate of ``samu-lite`` alone, on what the rest of it gives; computed once.

::

    python -m samu_training.gate shown MODEL PAIRS SHOWN --part 0/2     MODEL: a checkpoint, or an ONNX file
    python -m samu_training.gate train MODEL SHOWN RUN --steps 6000     RUN/checkpoint.pt, to export

A gate that is judged by what comes out learns nothing from the start; one that is told where the molecule is learns at
once, but stops whatever it doubts, weak parts of the molecule too. So it is told at first, and judged from then on.
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
from torch.nn import functional

from samu_batch.ahead import ahead
from samu_engines.gate import PATCH, Gate, passing
from samu_engines.network import SAMU_LITE, Network, channels_last
from samu_training.checkpoint import weights_of
from samu_training.losses import BETA, DENSITY_WEIGHT, FLOOR, correlation, near_density
from samu_training.shown import Shown, write_shown
from samu_training.train_options import autocast, fastest_precision

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

EDGE, SHIFT = 96, 32
"""Of the two overlapping cubes of a crop that a gate is trained on, and how far they are apart."""
RIM = 8
"""Voxels at the faces of a cube that are not judged: a gate sees too little around them."""
INNER = (slice(None), slice(None), *(slice(RIM, EDGE - RIM),) * 3)
WARM_UP = 100
EVERY = 100
"""Steps from checkpoint to checkpoint."""
TOLD_AT_LAST = 0.1
"""Weight of the cross entropy when the learning rate has fallen to zero."""
MEMORY = 0.99
"""Of the running mean of the weights, which is what is kept: training is noisy."""


def gate_loss(
    gate: Gate, source: Tensor, enhanced: Tensor, target: Tensor, *, told: float, inside: float, agreement: float
) -> Tensor:
    """Return how far what passes is from the target, and how much of what passes does not lie in the molecule.

    Parameters
    ----------
    source, enhanced, target
        (N, 1, 96, 96, 96); the two cubes of a crop follow each other.
    told
        Weight of the cross entropy with where the molecule is.
    inside
        Share of the correlation inside the molecule.
    agreement
        Weight of what overlapping cubes say otherwise.
    """
    likely = gate.likely(enhanced, source).float()
    share = passing(likely)
    passed, wanted = (enhanced * share)[INNER], target[INNER]
    near = near_density(functional.max_pool3d(target, PATCH), reach=1)
    loss = told * _cross_entropy(likely, near, enhanced)
    loss = loss + DENSITY_WEIGHT * functional.smooth_l1_loss(passed, wanted, beta=BETA)
    if agreement:
        loss = loss + agreement * _disagreement(share, enhanced)
    holds = wanted.flatten(1).std(dim=1) > 10 * FLOOR
    if holds.any():
        whole = correlation(passed[holds], wanted[holds])
        molecule = functional.interpolate(near, scale_factor=float(PATCH))[INNER]
        within = correlation(passed[holds], wanted[holds], molecule[holds])
        loss = loss + 1 - (1 - inside) * whole.mean() - inside * within.mean()
    return loss


def _cross_entropy(likely: Tensor, near: Tensor, enhanced: Tensor) -> Tensor:
    """Mean over cubes; in a cube a point counts by the square of what comes out there."""
    weight = functional.avg_pool3d(enhanced.square(), PATCH).flatten(1)
    entropy = functional.binary_cross_entropy_with_logits(likely, near, reduction="none").flatten(1)
    return ((weight * entropy).sum(dim=1) / (weight.sum(dim=1) + FLOOR)).mean()


def _disagreement(share: Tensor, enhanced: Tensor) -> Tensor:
    """Mean difference of the shares of two cubes, weighted by what comes out, where both see ``SHIFT / 2`` around."""
    half = SHIFT // 2
    first = (slice(0, None, 2), slice(None), slice(SHIFT + half, EDGE - half))
    second = (slice(1, None, 2), slice(None), slice(half, EDGE - SHIFT - half))
    weight = enhanced[first].abs()
    return (weight * (share[first] - share[second]).abs()).sum() / (weight.sum() + FLOOR)


def train_gate(gate: Gate, shown: Shown, asked: argparse.Namespace) -> Gate:
    """Train for so many steps, the learning rate falling to zero with a cosine; return the mean of the last."""
    channels_last(gate)
    mean = torch.optim.swa_utils.AveragedModel(gate, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(MEMORY))
    optimiser = torch.optim.AdamW(gate.parameters(), lr=asked.rate, weight_decay=0.01)
    losses: list[float] = []
    begun = time.monotonic()
    with ahead(_batches(shown, asked)) as batches:
        for step, batch in enumerate(batches, start=1):
            left = 0.5 * (1 + math.cos(math.pi * (step - 1) / asked.steps))
            for group in optimiser.param_groups:
                group["lr"] = asked.rate * min(1, step / WARM_UP) * left
            told = TOLD_AT_LAST + (asked.told - TOLD_AT_LAST) * left**2
            with autocast("cpu", fastest_precision("cpu")):
                loss = gate_loss(gate, *batch, told=told, inside=asked.inside, agreement=asked.agreement)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(gate.parameters(), 1.0)
            optimiser.step()
            mean.update_parameters(gate)
            losses.append(loss.item())
            if step % EVERY == 0 or step == asked.steps:
                spent, mean_loss = time.monotonic() - begun, np.mean(losses[-EVERY:])
                far = far_share(mean.module, *batch[:2])
                print(f"{step} of {asked.steps} steps, {spent:.0f} s, loss {mean_loss:.4f}, far {far:.2f}", flush=True)
                _save(mean.module, asked, step=step, spent=spent)
    last: Gate = mean.module
    return last


@torch.no_grad()
def far_share(gate: Gate, source: Tensor, enhanced: Tensor) -> float:
    """Return how much of what a gate says comes from its coarse lattices: 0 when they have died, and it looks near."""
    whole = gate.likely(enhanced, source)
    level = gate.up[-1].register_forward_hook(lambda _, __, far: far.mean(dim=(2, 3, 4), keepdim=True).expand_as(far))
    near = gate.likely(enhanced, source)
    level.remove()
    return float(((near - whole).std() / (whole.std() + FLOOR)).item())


def _batches(shown: Shown, asked: argparse.Namespace) -> Iterator[list[Tensor]]:
    rng = np.random.default_rng(asked.seed)
    for _ in range(asked.steps):
        crops = [shown.draw(rng, edge=EDGE, longer=SHIFT) for _ in range(asked.batch)]
        cubes = np.stack([part for crop in crops for part in (crop[:, :EDGE], crop[:, -EDGE:])])
        yield [torch.from_numpy(cubes[:, [channel]]) for channel in range(3)]


def without_gate(model: Path) -> Network:
    """Return ``samu-lite`` up to its gate, with the weights of a model's ONNX file or of a checkpoint."""
    network: Network = Network(dataclasses.replace(SAMU_LITE, gate=())).eval()
    wanted = network.state_dict()
    network.load_state_dict({key: weights for key, weights in weights_of(model).items() if key in wanted})
    channels_last(network)
    return network


def main() -> None:
    """Write maps as they are shown, or train on them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    commands = parser.add_subparsers(dest="command", required=True)
    shown = commands.add_parser("shown", help="write maps as they are shown, and what the rest of the network gives")
    train = commands.add_parser("train", help="train the gate on them")
    for command, places in ((shown, ("model", "pairs", "shown")), (train, ("model", "shown", "run"))):
        for place in places:
            command.add_argument(place, type=Path)
        command.add_argument("--seed", type=int, default=1)
    shown.add_argument("--part", default="0/1", help="of the pairs: 0/2 and 1/2 are two halves")
    train.add_argument("--steps", type=int, default=6000)
    train.add_argument("--batch", type=int, default=4, help="crops a step; each is two cubes")
    train.add_argument("--rate", type=float, default=1e-3)
    train.add_argument("--often", type=float, default=3, help="times that a crowded map is drawn as often as others")
    train.add_argument("--inside", type=float, default=0.42, help="share of the correlation inside the molecule")
    train.add_argument("--told", type=float, default=1.0, help="weight at first of where the molecule is")
    train.add_argument("--agreement", type=float, default=0.3)
    train.add_argument("--start", type=Path, help="checkpoint, or ONNX file of a model, whose gate is trained on")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(asked.seed)
    if asked.command == "shown":
        number, count = map(int, asked.part.split("/"))
        write_shown(
            without_gate(asked.model), sorted(asked.pairs.glob("*.npy"))[number::count], asked.shown, seed=asked.seed
        )
    else:
        gate = Gate(SAMU_LITE.gate)
        if asked.start:
            gate.load_state_dict(_gate_of(asked.start))
        train_gate(gate, Shown(asked.shown, often=asked.often), asked)


def _save(gate: Gate, asked: argparse.Namespace, *, step: int, spent: float) -> None:
    """Write the gate behind the rest of the model as a checkpoint."""
    weights = without_gate(asked.model).state_dict()
    weights |= {f"gate.{name}": values for name, values in gate.state_dict().items()}
    asked.run.mkdir(parents=True, exist_ok=True)
    state = {"config": dataclasses.asdict(SAMU_LITE), "network": weights, "step": step, "spent": spent}
    partial = asked.run / "checkpoint.partial"
    torch.save(state, partial)
    partial.replace(asked.run / "checkpoint.pt")


def _gate_of(start: Path) -> dict[str, Tensor]:
    held = weights_of(start)
    return {name.removeprefix("gate."): values for name, values in held.items() if name.startswith("gate.")}


if __name__ == "__main__":
    main()
