"""ONNX Runtime on the CPU: the second choice where there is no GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnxruntime as ort

from samu_engines.cpu import read_for_cpus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from samu_engines.spec import Spec


class OnnxRuntimeEngine:
    """Runs a model's ONNX file on the CPU in float32.

    Parameters
    ----------
    spec
        What the model asks of the data, by shape; ``spec.weights`` is the ONNX file.
    device
        ``cpu`` or None: there is no other here.
    threads
        Threads of the inference; None leaves it to ONNX Runtime.
    """

    batch = 1

    def __init__(self, spec: Spec, *, device: str | None, threads: int | None) -> None:
        self.spec = spec
        self._threads = threads
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.inter_op_num_threads = 1
        # Threads that spin while they wait take the cores from the tiler and from other workers.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(read_for_cpus(spec), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def stream(self, batches: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Yield the enhanced cubes of each batch, in order."""
        for cubes in batches:
            yield self.run(cubes)

    def run(self, cubes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the enhanced cubes of one batch."""
        [enhanced] = self._session.run(None, {self._input: cubes})
        result: NDArray[np.float32] = enhanced
        return result

    def describe(self) -> dict[str, Any]:
        """Return what really runs, for the receipt."""
        return {
            "name": "onnxruntime",
            "version": ort.__version__,
            "device": "CPU",
            "precision": "float32",
            "threads": self._threads,
        }

    def close(self) -> None:
        """Free the session."""
        del self._session
