"""Draws the log of a training run: ``python -m samu_training.curves RUN`` makes ``RUN/curves.png``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

PANELS = {
    "loss": {"loss": "training", "validation_loss": "validation"},
    "correlation with the target": {"cc_before": "before", "cc_after": "after", "cc_inside": "after, inside"},
    "learning rate": {"rate": "rate"},
}
"""What is drawn in each panel: names in the log, and in the legend."""


def read_log(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's log.

    Raises
    ------
    FileNotFoundError
        The run has logged nothing yet.
    """
    log = run / "log.jsonl"
    if not log.exists():
        raise FileNotFoundError(f"{log} is not there: the run has logged nothing yet")
    return [json.loads(line) for line in log.read_text().splitlines()]


def draw(run: Path, picture: Path) -> None:
    """Draw the curves of a run over its steps into a PNG or SVG file."""
    from matplotlib.figure import Figure

    log = read_log(run)
    figure = Figure(figsize=(7, 7), layout="constrained")
    for axes, (title, lines) in zip(figure.subplots(len(PANELS), 1, sharex=True), PANELS.items(), strict=True):
        for name, label in lines.items():
            axes.plot([line["step"] for line in log], [line[name] for line in log], label=label)
        axes.set(ylabel=title)
        if len(lines) > 1:
            axes.legend()
    axes.set(xlabel="step")
    figure.savefig(picture, dpi=100)


def main() -> None:
    """Draw the curves of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("-o", "--output", type=Path, help="PNG or SVG file")
    chosen = parser.parse_args()
    output = chosen.output or chosen.run / "curves.png"
    draw(chosen.run, output)
    print(output)


if __name__ == "__main__":
    main()
