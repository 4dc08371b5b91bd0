"""OpenVINO on the CPU: the default where there is no GPU."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov

from samu_engines.cpu import read_for_cpus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from samu_engines.spec import Spec


class OpenVinoEngine:
    """Runs a model's ONNX file on the CPU, in float32.

    Parameters
    ----------
    spec
        What the model asks of the data, by shape; ``spec.weights`` is the ONNX file.
    device
        ``cpu`` or None: there is no other here.
    threads
        Threads of the inference; None leaves it to OpenVINO.
    """

    batch = 1
    _name, _precision = "openvino", "float32"

    def __init__(self, spec: Spec, *, device: str | None, threads: int | None) -> None:
        self.spec = spec
        self._threads = threads
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            # It pins its threads to the first cores, those of every worker on a machine to the same ones.
            "ENABLE_CPU_PINNING": "NO",
            "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[self._precision],
        }
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = str(threads)
        core = ov.Core()
        network = core.read_model(read_for_cpus(spec))
        network.reshape([-1, 1, spec.cube, spec.cube, spec.cube])
        self._compiled = core.compile_model(network, "CPU", settings)

    def stream(self, batches: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Yield the enhanced cubes of each batch, in order; the next batch is cut while one is computed."""
        idle = deque(self._compiled.create_infer_request() for _ in range(2))
        busy: deque[ov.InferRequest] = deque()
        for cubes in batches:
            request = idle.popleft()
            request.start_async({0: cubes})
            busy.append(request)
            if not idle:
                yield self._finished(busy, idle)
        while busy:
            yield self._finished(busy, idle)

    def run(self, cubes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the enhanced cubes of one batch."""
        return next(self.stream([cubes]))

    def describe(self) -> dict[str, Any]:
        """Return what really runs, for the receipt."""
        return {
            "name": self._name,
            "version": ov.get_version(),
            "device": self._compiled.get_property("FULL_DEVICE_NAME")
            if "FULL_DEVICE_NAME" in self._compiled.get_property("SUPPORTED_PROPERTIES")
            else "CPU",
            "precision": self._precision,
            "threads": self._threads,
        }

    def close(self) -> None:
        """Free the compiled network."""
        del self._compiled

    @staticmethod
    def _finished(busy: deque[ov.InferRequest], idle: deque[ov.InferRequest]) -> NDArray[np.float32]:
        request = busy.popleft()
        request.wait()
        # The request's own buffer is written again by its next batch.
        enhanced = np.array(request.get_output_tensor(0).data, dtype=np.float32)
        idle.append(request)
        return enhanced


class OpenVinoBf16Engine(OpenVinoEngine):
    """Runs a model's ONNX file on the CPU in bfloat16, where the processor computes in it."""

    tolerance = 3e-2
    """Of the golden cube, ten times what engines are held to: bfloat16 has eight bits. It is never chosen by itself."""
    _name, _precision = "openvino-bf16", "bfloat16"

    def __init__(self, spec: Spec, *, device: str | None, threads: int | None) -> None:
        if "BF16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ValueError("this processor does not compute in bfloat16, and to emulate it is slow; take openvino")
        super().__init__(spec, device=device, threads=threads)
