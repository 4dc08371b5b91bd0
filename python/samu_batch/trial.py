"""What a process does that tries one engine for another process (:mod:`samu_batch.probe`)."""

from __future__ import annotations

import argparse
import json
import time
from importlib.metadata import entry_points
from typing import Any

from samu_batch.engine import GROUP, load_engine
from samu_batch.errors import EngineError
from samu_batch.machine import peak_memory


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
