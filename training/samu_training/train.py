"""The training loop.

::

    python -m samu_training.train samu-lite --pairs FOLDER --validation FOLDER --run RUN --minutes 90
    torchrun --nproc-per-node 4 -m -- samu_training.train --config training/configs/paper.toml --device cuda ...

It stops when the budget is used up, and goes on from ``RUN/checkpoint.pt`` when started again; ``RUN/log.jsonl`` holds
what it saw, and ``python -m samu_training.curves RUN`` draws it. ``python -m samu_training.export`` makes a model of
the checkpoint. Processes that torchrun starts take ``--batch`` crops each and average their gradients; the first one
writes.
"""

from __future__ import annotations

import json
import math
import re
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional

from samu_engines.network import Network, channels_last
from samu_training.augment import torchio_augmentation
from samu_training.checkpoint import Learner, Progress, weights_of
from samu_training.crops import Crops, Mixed
from samu_training.losses import correlation, density_loss, disagreement, near_density, overlap_shift
from samu_training.processes import Processes
from samu_training.stream import batches
from samu_training.structure import Embeddings
from samu_training.train_options import autocast, network_config, parse_options

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import Tensor

VALIDATION_BATCHES = 12
CHECKPOINT_SECONDS = 60
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "density": density_loss,
    "smooth-l1": functional.smooth_l1_loss,
}
"""The second is the paper's equation 7."""


def main() -> None:
    """Train to a budget of time or of steps."""
    chosen = parse_options(__doc__)
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    processes = Processes.join(chosen.device)
    learner = train(chosen, processes)
    processes.leave()
    if processes.first:
        progress = learner.progress
        print(f"done: {progress.step} steps in {progress.spent / 60:.1f} minutes; {chosen.run / 'checkpoint.pt'}")


def train(chosen: Namespace, processes: Processes) -> Learner:
    """Train as chosen, and return what came of it."""
    learner = _learner(chosen, processes)
    progress, checkpoint = learner.progress, chosen.run / "checkpoint.pt"
    step = Step(chosen, learner, processes)
    validation = Crops(chosen.validation, edge=chosen.edge)
    stream = _stream(chosen, processes, first=progress.step)
    saved = seen = time.monotonic()
    running: list[tuple[float, float, float]] = []
    while (used := _used(chosen, progress)) < 1 and progress.step != chosen.stop_after:
        begun = time.monotonic()
        batch = [part.to(processes.device) for part in next(stream)]
        ready = time.monotonic()
        loss = step(batch, rate=chosen.rate * min(1, (progress.step + 1) / chosen.warm_up) * _cosine(used))
        progress.step += 1
        running.append((loss, ready - begun, time.monotonic() - begun))
        now = time.monotonic()
        progress.spent, due = processes.agree(progress.spent + now - begun, now - saved > CHECKPOINT_SECONDS)
        if processes.first and now - seen > chosen.every:
            seen = time.monotonic()
            figures = _figures(running) | validate(learner.network, validation, chosen, processes.device)
            _log(chosen.run, _when(learner) | figures)
            running.clear()
        if due:
            saved = time.monotonic()
            learner.save(checkpoint, processes)
    learner.save(checkpoint, processes)
    return learner


def _learner(chosen: Namespace, processes: Processes) -> Learner:
    """Return the network and its optimiser as they are at the start, or at the checkpoint."""
    torch.manual_seed(chosen.seed + processes.rank)
    network = Network(network_config(chosen)).to(processes.device)
    channels_last(network)
    _freeze(network, chosen.freeze)
    optimiser = torch.optim.AdamW(network.parameters(), lr=chosen.rate, weight_decay=0.01)
    scaler = torch.amp.GradScaler(processes.device.type, enabled=chosen.precision == "float16")
    learner = Learner(network=network, optimiser=optimiser, scaler=scaler, progress=Progress())
    checkpoint = chosen.run / "checkpoint.pt"
    if checkpoint.exists():
        learner.restore(checkpoint, processes)
    elif chosen.start is not None:
        _start_from(chosen.start, network)
    chosen.run.mkdir(parents=True, exist_ok=True)
    return learner


def _freeze(network: Network, parts: list[str]) -> None:
    """Leave parts of a network as they are."""
    names = dict(network.named_modules())
    for part in parts:
        if part not in names:
            known = ", ".join(name for name in names if name and re.fullmatch(r"[a-z]+(\.\d+)?", name))
            raise SystemExit(f"--freeze {part}: the network has no such part; it has {known}")
        names[part].requires_grad_(requires_grad=False)


def _start_from(start: Path, network: Network) -> None:
    """Take the weights that a network shares with a checkpoint, or with a model's ONNX file."""
    held = weights_of(start)
    if not held.keys() & network.state_dict().keys():
        raise SystemExit(f"--start {start} holds no weights of this network")
    network.load_state_dict(held, strict=False)


def _stream(chosen: Namespace, processes: Processes, *, first: int) -> Iterator[list[Tensor]]:
    simulated = _crops(chosen, chosen.pairs)
    crops = Mixed(simulated, _crops(chosen, chosen.real), share=chosen.real_share) if chosen.real else simulated
    return batches(crops, chosen, processes, first=first)


def _crops(chosen: Namespace, pairs: Path) -> Crops:
    return Crops(
        pairs,
        edge=chosen.edge,
        longer=overlap_shift(chosen.edge) if chosen.agreement else 0,
        augment=torchio_augmentation() if chosen.augment == "torchio" else None,
        embeddings=Embeddings(chosen.embeddings, pairs=pairs) if chosen.embeddings else None,
    )


def _used(chosen: Namespace, progress: Progress) -> float:
    """Return the share of the budget that is used."""
    share: float = progress.step / chosen.steps if chosen.steps else progress.spent / (60 * chosen.minutes)
    return share


def _cosine(used: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * used))


class Step:
    """One step of the optimiser on one batch."""

    def __init__(self, chosen: Namespace, learner: Learner, processes: Processes) -> None:
        # Without embeddings the weights of the cross-attention see no gradient.
        all_used = chosen.embeddings is not None or not learner.network.config.structure_channels
        self._network = processes.wrap(learner.network, all_used=all_used)
        self._learner = learner
        self._chosen = chosen
        self._device = processes.device.type

    def __call__(self, batch: list[Tensor], *, rate: float) -> float:
        """Learn from source, target and, where there are any, structural embeddings; return the loss."""
        source, target, *structure = _in_two(batch, self._chosen.edge) if self._chosen.agreement else batch
        optimiser, scaler = self._learner.optimiser, self._learner.scaler
        for group in optimiser.param_groups:
            group["lr"] = rate
        with autocast(self._device, self._chosen.precision):
            enhanced = self._network(source, *structure)
        enhanced = enhanced.float()
        loss = LOSSES[self._chosen.loss](enhanced, target)
        if self._chosen.agreement:
            loss = loss + self._chosen.agreement * disagreement(
                *enhanced.chunk(2), shift=overlap_shift(self._chosen.edge)
            )
        optimiser.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.unscale_(optimiser)
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), self._chosen.clip)
        scaler.step(optimiser)
        scaler.update()
        return float(loss.item())


def _in_two(batch: list[Tensor], edge: int) -> list[Tensor]:
    """Cut each long crop of a batch into two cubes that overlap; structural embeddings hold for both."""
    source, target, *structure = batch
    halves = [torch.cat([part[:, :, :edge], part[:, :, -edge:]]) for part in (source, target)]
    return [*halves, *(torch.cat([each, each]) for each in structure)]


def _when(learner: Learner) -> dict[str, Any]:
    progress, [group] = learner.progress, learner.optimiser.param_groups
    return {"step": progress.step, "minutes": round(progress.spent / 60, 2), "rate": group["lr"]}


def _figures(running: list[tuple[float, float, float]]) -> dict[str, float]:
    loss, waiting, total = np.array(running).mean(axis=0)
    return {
        "loss": round(loss, 4),
        "seconds_a_step": round(total, 3),
        "share_in_network": round(1 - waiting / total, 3),
    }


@torch.no_grad()
def validate(network: Network, crops: Crops, chosen: Namespace, device: torch.device) -> dict[str, float]:
    """Return mean correlations with the target before and after, on the same crops every time, without embeddings."""
    network.eval()
    rng = np.random.default_rng(1)
    before, after, inside, losses = [], [], [], []
    for _ in range(VALIDATION_BATCHES):
        source, target = (torch.from_numpy(part).to(device) for part in crops.batch(rng, chosen.batch))
        with autocast(device.type, chosen.precision):
            enhanced = network(source)
        holds = target.flatten(1).std(dim=1) > 0.02
        before.append(correlation(source, target)[holds])
        after.append(correlation(enhanced.float(), target)[holds])
        inside.append(correlation(enhanced.float(), target, near_density(target))[holds])
        losses.append(LOSSES[chosen.loss](enhanced.float(), target).item())
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


if __name__ == "__main__":
    main()
