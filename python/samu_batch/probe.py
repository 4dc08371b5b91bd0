"""Trying an engine in a process of its own: one that crashes, hangs or lacks a library says so and harms nothing.

The child is ``python -m samu_batch.probe``; its last line on stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from importlib.metadata import entry_points
from typing import Any

from samu_batch.engine import AUTO_ORDER, GROUP, load_engine
from samu_batch.errors import EngineError
from samu_batch.machine import peak_memory

PATIENCE_SECONDS = 120.0
"""How long an engine may take to load and to run two cubes."""


def installed_engines() -> list[str]:
    """Return the names of the engines that entry points offer: the order of ``auto`` first, then alphabetical."""
    names = {point.name for point in entry_points(group=GROUP)}
    return [*(name for name in AUTO_ORDER if name in names), *sorted(names - set(AUTO_ORDER))]


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
    command = [sys.executable, "-m", "samu_batch.probe", engine, "--seconds", str(seconds)]
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


def measure(engine: str, model: str, *, seconds: float, threads: int | None) -> dict[str, Any]:
    """Load an engine here and time it on batches of noise, the first of which warms it up (raises as load_engine)."""
    import numpy as np

    loaded = load_engine(model, engine=engine, threads=threads)
    shape = (loaded.batch, 1, *(loaded.spec.cube,) * 3)
    noise = np.random.default_rng(0).random(shape, dtype=np.float32)
    loaded.run(noise)
    cubes, start = 0, time.perf_counter()
    while not cubes or time.perf_counter() - start < seconds:
        enhanced = loaded.run(noise)
        cubes += len(noise)
    took = time.perf_counter() - start
    if enhanced.shape != shape or not np.isfinite(enhanced).all():
        raise EngineError(f"a batch of noise came back as {enhanced.shape} with values that are not all finite")
    facts = {"describe": loaded.describe(), "seconds_per_cube": took / cubes, "cubes": cubes, "memory": peak_memory()}
    loaded.close()
    return facts


def _why_no_answer(child: subprocess.CompletedProcess[str]) -> str:
    last = (child.stderr.strip().splitlines() or ["it said nothing"])[-1]
    if child.returncode < 0:
        return f"its process died of {signal.Signals(-child.returncode).name}: {last}"
    return f"its process ended with status {child.returncode}: {last}"


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("engine")
    parser.add_argument("--model")
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--threads", type=int)
    asked = parser.parse_args()
    try:
        if asked.model:
            facts = measure(asked.engine, asked.model, seconds=asked.seconds, threads=asked.threads)
        else:
            next(iter(entry_points(group=GROUP, name=asked.engine))).load()
            facts = {}
        answer = {"usable": True} | facts
    except Exception as error:  # whatever it is, it is the answer
        answer = {"usable": False, "reason": str(error) or type(error).__name__}
    print(json.dumps(answer))


if __name__ == "__main__":
    _main()
