"""The training loop.

``python -m samu_training.train samu-lite --pairs FOLDER --validation FOLDER --run RUN --minutes 90``

It stops when the budget is used up, and goes on from ``RUN/checkpoint.pt`` when started again; ``RUN/log.jsonl`` holds
what it saw. ``python -m samu_training.export`` makes a model of the checkpoint.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from samu_engines.network import CONFIGS, Network
from samu_training.data import Crops
from samu_training.losses import correlation, density_loss, near_density

WARM_UP = 200
"""Steps until the learning rate is full."""
VALIDATION_BATCHES = 12
SMALLEST_EDGE = 24
CHECKPOINT_SECONDS = 60


def main() -> None:
    """Train to a budget of time or of steps."""
    arguments = _arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    rng = np.random.default_rng(arguments.seed)
    device = torch.device(arguments.device)
    network = Network(CONFIGS[arguments.network]).to(device, memory_format=torch.channels_last_3d)
    optimiser = torch.optim.AdamW(network.parameters(), lr=arguments.rate, weight_decay=0.01)
    step, spent = 0, 0.0
    checkpoint = arguments.run / "checkpoint.pt"
    if checkpoint.exists():
        step, spent = _restore(checkpoint, network, optimiser, rng)
    elif arguments.start is not None:
        network.load_state_dict(torch.load(arguments.start, weights_only=True)["network"], strict=False)
    crops = Crops(arguments.pairs, edge=arguments.edge)
    validation = Crops(arguments.validation, edge=arguments.edge)
    arguments.run.mkdir(parents=True, exist_ok=True)
    saved = seen = time.monotonic()
    running: list[tuple[float, float, float]] = []
    while (used := step / arguments.steps if arguments.steps else spent / (60 * arguments.minutes)) < 1:
        if step == arguments.stop_after:
            break
        begun = time.monotonic()
        for group in optimiser.param_groups:
            group["lr"] = arguments.rate * min(1, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * used))
        source, target = (torch.from_numpy(part).to(device) for part in crops.batch(rng, arguments.batch))
        ready = time.monotonic()
        with torch.autocast(device.type, dtype=torch.bfloat16):
            enhanced = network(source)
        loss = density_loss(enhanced.float(), target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        step += 1
        running.append((loss.item(), ready - begun, time.monotonic() - begun))
        spent += time.monotonic() - begun
        if time.monotonic() - seen > arguments.every:
            seen = time.monotonic()
            figures = _figures(running) | _validate(network, validation, arguments.batch, device)
            _log(arguments.run, {"step": step, "minutes": round(spent / 60, 2), "rate": group["lr"]} | figures)
            running.clear()
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            saved = time.monotonic()
            _save(checkpoint, network, optimiser, rng, step=step, spent=spent)
    _save(checkpoint, network, optimiser, rng, step=step, spent=spent)
    print(f"done: {step} steps in {spent / 60:.1f} minutes; {checkpoint}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=CONFIGS)
    parser.add_argument("--pairs", type=Path, required=True, help="folder of training pairs")
    parser.add_argument("--validation", type=Path, required=True, help="folder of pairs of other structures")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=90, help="time budget; the learning rate ends at zero with it")
    parser.add_argument("--steps", type=int, help="budget in steps instead: repeatable to the bit")
    parser.add_argument("--stop-after", type=int, help="step to stop at, with the learning rate of the whole budget")
    parser.add_argument("--rate", type=float, default=6e-4)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--edge", type=int, default=48, help="edge of the crops in voxels, 24 or more")
    parser.add_argument("--every", type=float, default=120, help="seconds between validations")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="of torch; one is best where the cores are shared")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="checkpoint to take the weights from that it shares")
    arguments = parser.parse_args()
    # Gradients of a bfloat16 convolution over a lattice of 2 x 2 x 2 are wrong in torch 2.15 on the CPU.
    if arguments.edge < SMALLEST_EDGE:
        parser.error(f"--edge {arguments.edge}: crops need {SMALLEST_EDGE} voxels")
    return arguments


def _figures(running: list[tuple[float, float, float]]) -> dict[str, float]:
    loss, waiting, total = np.array(running).mean(axis=0)
    return {
        "loss": round(loss, 4),
        "seconds_a_step": round(total, 3),
        "share_in_network": round(1 - waiting / total, 3),
    }


@torch.no_grad()
def _validate(network: Network, crops: Crops, batch: int, device: torch.device) -> dict[str, float]:
    """Mean correlation with the target before and after, on the same crops every time."""
    network.eval()
    rng = np.random.default_rng(1)
    before, after, inside, losses = [], [], [], []
    for _ in range(VALIDATION_BATCHES):
        source, target = (torch.from_numpy(part).to(device) for part in crops.batch(rng, batch))
        with torch.autocast(device.type, dtype=torch.bfloat16):
            enhanced = network(source)
        holds = target.flatten(1).std(dim=1) > 0.02
        before.append(correlation(source, target)[holds])
        after.append(correlation(enhanced.float(), target)[holds])
        inside.append(correlation(enhanced.float(), target, near_density(target))[holds])
        losses.append(density_loss(enhanced.float(), target).item())
    network.train()
    means = [round(torch.cat(part).mean().item(), 4) for part in (before, after, inside)]
    return {
        "cc_before": means[0],
        "cc_after": means[1],
        "cc_inside": means[2],
        "validation_loss": round(float(np.mean(losses)), 4),
    }


def _log(run: Path, values: dict[str, Any]) -> None:
    line = json.dumps(values)
    print(line, flush=True)
    with (run / "log.jsonl").open("a") as file:
        file.write(line + "\n")


def _save(
    path: Path,
    network: Network,
    optimiser: torch.optim.Optimizer,
    rng: np.random.Generator,
    *,
    step: int,
    spent: float,
) -> None:
    state = {
        "config": dataclasses.asdict(network.config),
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "torch_rng": torch.get_rng_state(),
        "numpy_rng": json.dumps(rng.bit_generator.state),
        "step": step,
        "spent": spent,
    }
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def _restore(
    path: Path, network: Network, optimiser: torch.optim.Optimizer, rng: np.random.Generator
) -> tuple[int, float]:
    state = torch.load(path, weights_only=True)
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    torch.set_rng_state(state["torch_rng"])
    rng.bit_generator.state = json.loads(state["numpy_rng"])
    return state["step"], state["spent"]


if __name__ == "__main__":
    main()
