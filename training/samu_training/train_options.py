"""What a training run is asked for: a configuration file, and the command line, which holds before it."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from samu_engines.network import CONFIGS, NetworkConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

SMALLEST_AGREEING = 32
"""Edge of crops that, overlapping, share eight voxels inside their halos."""


def parse_options(description: str | None, words: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ``--config`` names a TOML file with any of the options."""
    words = list(sys.argv[1:] if words is None else words)
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--config", type=Path)
    config, _ = first.parse_known_args(words)
    parser = _parser(description)
    if config.config is not None:
        values = tomllib.loads(config.config.read_text())
        parser.set_defaults(network=values.pop("network", None))
        words = [f"--{name}" if value is True else f"--{name}={value}" for name, value in values.items()] + words
    chosen = parser.parse_args(words)
    if chosen.network not in CONFIGS:
        parser.error(f"which network? One of {', '.join(CONFIGS)}, or a --config that names one")
    if chosen.precision == "auto":
        chosen.precision = fastest_precision(chosen.device)
    coarsest = network_config(chosen).coarsest
    # Gradients of a bfloat16 convolution over a lattice of 2 x 2 x 2 are wrong in torch 2.15 on the CPU.
    fewest = coarsest * (2 if chosen.precision == "float32" else 3)
    if chosen.edge < fewest or chosen.edge % coarsest:
        needed = f"a multiple of {coarsest} voxels, {fewest} or more"
        parser.error(f"--edge {chosen.edge}: crops for {chosen.network} need {needed}")
    if chosen.agreement and chosen.edge < SMALLEST_AGREEING:
        parser.error(f"--edge {chosen.edge}: with --agreement crops need {SMALLEST_AGREEING} voxels")
    return chosen


def network_config(chosen: argparse.Namespace) -> NetworkConfig:
    """Return what is trained: a network, or all of it but its gate."""
    config = CONFIGS[chosen.network]
    return dataclasses.replace(config, gate=()) if chosen.without_gate else config


def fastest_precision(device: str) -> str:
    """Return ``"bfloat16"`` where a device computes in it at speed; a CPU without AVX-512 is a hundred times slower."""
    if device.startswith("cuda"):
        at_speed = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        at_speed = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return "bfloat16" if at_speed else "float32"


def autocast(device: str, precision: str) -> torch.autocast:
    """Return the context in which a network computes in a precision."""
    return torch.autocast(device, dtype=getattr(torch, precision), enabled=precision != "float32")


def _parser(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("network", nargs="?", choices=CONFIGS)
    add("--without-gate", action="store_true", help="train what comes before a gate, which is trained after that")
    add("--config", type=Path, help="TOML file of options, such as configs/paper.toml")
    add("--pairs", type=Path, required=True, help="folder of training pairs")
    add("--real", type=Path, help="folder of pairs of real maps (samu_training.real), mixed in")
    add("--real-share", type=float, default=0.4, help="of the crops that are drawn from --real")
    add("--validation", type=Path, required=True, help="folder of pairs of other structures")
    add("--embeddings", type=Path, help="folder of structural embeddings of the training pairs")
    add("--run", type=Path, required=True)
    add("--minutes", type=float, default=90, help="time budget; the learning rate ends at zero with it")
    add("--steps", type=int, help="budget in steps instead: repeatable to the bit")
    add("--stop-after", type=int, help="step to stop at, with the learning rate of the whole budget")
    add("--rate", type=float, default=6e-4)
    add("--warm-up", type=int, default=200, help="steps until the learning rate is full")
    add("--batch", type=int, default=4, help="crops a step, in each process; with --agreement each is shown as two")
    add(
        "--edge",
        type=int,
        default=48,
        help="of the crops in voxels: a multiple of 16, 48 or more; samu: of 8, 24 or more",
    )
    add("--loss", choices=["density", "smooth-l1"], default="density")
    add("--agreement", type=float, default=0.0, help="weight of what a network says otherwise in overlapping crops")
    add("--clip", type=float, default=1.0, help="largest norm of the gradients")
    precisions = ["auto", "bfloat16", "float16", "float32"]
    add("--precision", choices=precisions, default="auto", help="auto: bfloat16 where the device computes in it")
    add("--augment", choices=["none", "torchio"], default="none")
    add("--workers", type=int, default=0, help="processes that prepare crops ahead; 0: in this one, when needed")
    add("--every", type=float, default=120, help="seconds between validations")
    add("--device", default="cpu")
    add("--threads", type=int, help="of torch; one is best where the cores are shared")
    add("--seed", type=int, default=0)
    add("--freeze", nargs="+", default=[], metavar="PART", help="part of the network that stays as it is")
    add("--start", type=Path, help="checkpoint, or ONNX file of a model, to take the weights from that it shares")
    return parser
