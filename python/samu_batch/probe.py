"""Trying an engine in a process of its own: one that crashes, hangs or lacks a library says so and harms nothing.

The child is ``python -m samu_batch.trial``; its last line on stdout is one JSON object.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

PATIENCE_SECONDS = 120.0
"""How long an engine may take to load and to run two cubes."""


def probe(
    engine: str,
    model: str | None,
    *,
    seconds: float = 0.0,
    threads: int | None = None,
    patience: float = PATIENCE_SECONDS,
) -> dict[str, Any]:
    """Run an engine in a subprocess and tell what came of it.

    Parameters
    ----------
    engine, model
        An engine's name, and the model it shall run; with None it is only imported.
    seconds
        Time given to the measurement of its speed, beyond two cubes.
    threads
        CPU threads; None leaves them to the engine.
    patience
        Seconds after which it counts as hanging.

    Returns
    -------
    dict
        ``usable``; then ``describe``, ``seconds_per_cube`` and ``memory`` (peak resident bytes of the process), or
        ``reason``.
    """
    command = [sys.executable, "-m", "samu_batch.trial", engine, "--seconds", str(seconds)]
    command += ["--model", model] if model else []
    command += ["--threads", str(threads)] if threads else []
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=patience + seconds)
    except subprocess.TimeoutExpired:
        return {"usable": False, "reason": f"no answer within {patience + seconds:.0f} s"}
    try:
        answer: dict[str, Any] = json.loads(child.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return {"usable": False, "reason": _why_no_answer(child)}
    return answer


def _why_no_answer(child: subprocess.CompletedProcess[str]) -> str:
    last = (child.stderr.strip().splitlines() or ["it said nothing"])[-1]
    if child.returncode < 0:
        return f"its process died of {signal.Signals(-child.returncode).name}: {last}"
    return f"its process ended with status {child.returncode}: {last}"
