"""PyTorch on an NVIDIA GPU, in half precision but for what leaves its range. Needs torch, and no vendor's index."""

from __future__ import annotations

import gc
import logging
from typing import TYPE_CHECKING, Any

import torch

from samu_engines import plain_norms
from samu_engines.batching import MOST, Halving, find_batch, of_edge
from samu_engines.lean import LeanNetwork
from samu_engines.network import CONFIGS
from samu_engines.torch_cpu import read_network
from samu_engines.torch_pipeline import CudaLanes, TorchPipeline, memory_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from samu_engines.batching import Stream
    from samu_engines.plain_norms import Norms
    from samu_engines.spec import Spec

log = logging.getLogger("samu_batch")


class TorchCudaEngine:
    """Runs the network on one GPU, with the weights of the model's ONNX file, as many cubes at once as fit.

    Parameters
    ----------
    spec
        What the model asks of the data, by shape; ``spec.name`` is the network's, ``spec.weights`` the ONNX file.
    device
        ``cuda`` or None: the first GPU that the process may see.
    threads
        Of no use here.

    Raises
    ------
    RuntimeError
        There is no GPU, or torch cannot use it.
    MemoryError
        One cube at a time is too much for the GPU.
    """

    def __init__(self, spec: Spec, *, device: str | None, threads: int | None) -> None:
        if device == "cpu":
            raise RuntimeError("it runs on NVIDIA GPUs alone")
        if not torch.cuda.is_available():
            built_for = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPUs alone"
            raise RuntimeError(f"torch {torch.__version__}, built for {built_for}, sees no GPU that it can use")
        if spec.weights is None or spec.name not in CONFIGS:
            raise ValueError(f"{spec.name} is none of the networks known here: {', '.join(CONFIGS)}")
        self.spec = spec
        # Batches have few sizes, and each runs many times: the search for the fastest convolutions pays.
        torch.backends.cudnn.benchmark = True
        with memory_errors():
            norms, self._norms = norms_for("cuda")
            network = LeanNetwork(read_network(spec.weights, spec.name), dtype=torch.float16, norms=norms)
            self._network = network.to("cuda")
        self._batches = Halving(self._prepared, batch=self._found())

    @property
    def batch(self) -> int:
        """Cubes that it likes at once, now."""
        return self._batches.batch

    def stream(self, batches: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Yield the enhanced cubes of each batch, in order; copies and compute overlap."""
        return self._batches.stream(batches)

    def run(self, cubes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the enhanced cubes of one batch."""
        [enhanced] = self.stream([cubes])
        return enhanced

    def describe(self) -> dict[str, Any]:
        """Return what really runs, for the receipt."""
        return {
            "name": "torch-cuda",
            "version": torch.__version__,
            "device": torch.cuda.get_device_name(),
            "precision": "float16",
            "norms": self._norms,
            "batch": self._batches.largest,
        }

    def close(self) -> None:
        """Free the GPU."""
        del self._batches, self._network
        _free()

    def _found(self) -> int:
        free, _ = torch.cuda.mem_get_info()
        edge = self.spec.cube

        def peak_of(cubes: int) -> int:
            torch.cuda.reset_peak_memory_stats()
            with torch.inference_mode(), memory_errors():
                self._network(torch.zeros(cubes, 1, edge, edge, edge, device="cuda"))
                torch.cuda.synchronize()
            return int(torch.cuda.max_memory_reserved())

        batch = find_batch(peak_of, free, most=of_edge(edge, MOST))
        _free()
        return batch

    def _prepared(self, batch: int) -> Stream:
        _free()  # what was prepared for a larger batch
        return TorchPipeline(self._network, CudaLanes(), batch=batch, cube=self.spec.cube).stream


def norms_for(device: str) -> tuple[Norms, str]:
    """Return the norms that are written in Triton if they work on this device, else PyTorch's; and which, and why.

    Triton compiles when it is called, with a C compiler that the machine may lack.
    """
    try:
        from samu_engines import fused_norms

        fused_norms.check(device)
    except Exception as error:  # whatever it is, PyTorch's norms are as good, and slower
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        log.warning("norms are computed by PyTorch, because Triton cannot: %s", reason)
        return plain_norms, f"torch, because Triton cannot: {reason}"
    return fused_norms, f"triton {fused_norms.VERSION}"


def _free() -> None:
    """Give back memory that nothing uses, so that other workers on this GPU can have it."""
    gc.collect()  # graphs and their memory hang on cycles of the error that told of too little
    torch.cuda.empty_cache()
