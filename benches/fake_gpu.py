"""An engine that stands for a GPU: it returns its input, 20 ms a cube later, and notes when it was at work.

As a GPU it computes one batch after another, and takes the next one while it does: it rests only when none is there.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

SECONDS_PER_CUBE = 0.02

_SOURCE = f"""
import os, time
from collections import deque
from samu_engines.identity import IdentityEngine


class FakeGpu(IdentityEngine):
    def __init__(self, spec, **options):
        super().__init__(spec, **options)
        self.free, self.maps = 0.0, 0
        self.log = open(os.path.join(os.environ["FAKE_GPU_LOG"], str(os.getpid())), "a", buffering=1)

    def stream(self, batches):
        computing = deque()
        self.maps += 1
        for cubes in batches:
            begin = max(self.free, time.monotonic())
            self.free = begin + {SECONDS_PER_CUBE} * len(cubes)
            self.log.write(f"{{begin}} {{self.free}} {{self.maps}}\\n")
            computing.append((self.free, cubes))
            if len(computing) > 1:
                yield self.result(*computing.popleft())
        while computing:
            yield self.result(*computing.popleft())

    def result(self, ready, cubes):
        time.sleep(max(0.0, ready - time.monotonic()))
        return cubes
"""


Spans = list[tuple[float, float, int]]


class FakeGpus(NamedTuple):
    """The sidecar of a model that they run, and what tells when each was at work since it was last asked.

    Begin and end of every batch, in seconds of the monotonic clock, which all processes share; and the map's number.
    """

    model: str
    spans: Callable[[], list[Spans]]


def install(folder: Path) -> FakeGpus:
    """Make the engine ``fake-gpu`` for processes that begin later, and a model for it, with files in ``folder``."""
    folder.mkdir()
    logs = folder / "logs"
    logs.mkdir()
    (folder / "fake_gpu_engine.py").write_text(_SOURCE)
    info = folder / "fake_gpu_engine-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-gpu-engine\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[samu_batch.engines]\nfake-gpu = fake_gpu_engine:FakeGpu\n")
    weights, sidecar = folder / "model.onnx", folder / "model.json"
    weights.write_bytes(b"of no consequence")
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    values = {"format": 1, "name": "model", "file": weights.name, "weights_sha256": sha256}
    values |= {"cube": 64, "core": 50, "spacing": 1.0, "normalisation": {"percentile": 99.9}}
    sidecar.write_text(json.dumps(values))
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    os.environ["FAKE_GPU_LOG"] = str(logs)

    def spans() -> list[Spans]:
        each = []
        for log in sorted(logs.iterdir()):
            lines = [line.split() for line in log.read_text().splitlines()]
            log.write_text("")  # its process may go on
            if lines:
                each.append([(float(begin), float(end), int(number)) for begin, end, number in lines])
        return each

    return FakeGpus(str(sidecar), spans)


def planned(paths, folder, model):
    """Return the decisions for maps that the engine shall enhance into a run in ``folder``, longest first."""
    from samu_batch.batch import plan_batch
    from samu_batch.entries import Entry
    from samu_batch.model import ModelSpec
    from samu_batch.run_directory import RunDirectory
    from samu_batch.task import MapOptions

    options = MapOptions(model=model, engine="fake-gpu", scratch=folder / "scratch", memory=1 << 29)
    directory = RunDirectory(folder / "run")
    tasks = [directory.task(Entry(path.stem, str(path), "file"), options) for path in paths]
    return plan_batch(tasks, spec=ModelSpec.load(model), retry_failed=False, update=False)
