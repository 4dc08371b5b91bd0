"""TensorRT on an NVIDIA GPU, in half precision but for the islands of :mod:`samu_engines.graph`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import onnx
import tensorrt as trt
from cuda.bindings import runtime as cudart

from samu_engines.batching import of_edge
from samu_engines.build import build_engine, failure, messages_of, plan_for
from samu_engines.nvidia import first_gpu
from samu_engines.pipeline import Pipeline
from samu_engines.plans import default_folder, write_aside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from samu_engines.nvidia import Gpu
    from samu_engines.plans import EnginePlan
    from samu_engines.spec import Spec

log = logging.getLogger("samu_batch")

BATCH = 8
"""Cubes of 64^3 at once where no plan for another number is kept; half as many, and so on, where memory is short."""


class TensorRtEngine:
    """Runs a model's ONNX file on one GPU; compiles it first where no plan for this GPU is kept.

    Parameters
    ----------
    spec
        What the model asks of the data, by shape; ``spec.weights`` is the ONNX file.
    device
        ``cuda`` or None: the first GPU that the process may see.
    threads
        Of no use here.

    Raises
    ------
    RuntimeError
        There is no driver or GPU, or TensorRT cannot compile or run the model.
    MemoryError
        One cube at a time is too much for the GPU.
    """

    def __init__(self, spec: Spec, *, device: str | None, threads: int | None) -> None:
        if device == "cpu":
            raise RuntimeError("it runs on NVIDIA GPUs alone")
        # Without a driver TensorRT hands out objects that kill Python when they are touched.
        self._gpu = first_gpu()
        self.spec = spec
        self.batch = _first_batch(spec, self._gpu)
        while True:
            try:
                self._load(plan_for(trt, spec, self._gpu, batch=self.batch))
                return
            except MemoryError as error:
                if self.batch == 1:
                    raise
                log.info("%d cubes at once are too many: %s", self.batch, error)
                self.batch //= 2

    @staticmethod
    def prepare(spec: Spec, *, batch: int | None) -> dict[str, Any]:
        """Compile a model for the GPU that is here, unless that was done; return the plan and how it was come by."""
        gpu = first_gpu()
        plan = plan_for(trt, spec, gpu, batch=batch or _first_batch(spec, gpu))
        _, how = _compiled(spec, plan)
        return {"plan": str(default_folder().file_of(plan)), "how": how, "batch": plan.batch, "gpu": plan.gpu}

    def stream(self, batches: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Yield the enhanced cubes of each batch, in order; copies and compute overlap."""
        return self._pipeline.stream(batches)

    def run(self, cubes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the enhanced cubes of one batch."""
        [enhanced] = self.stream([cubes])
        return enhanced

    def describe(self) -> dict[str, Any]:
        """Return what really runs, for the receipt."""
        return {
            "name": "tensorrt",
            "version": trt.__version__,
            "device": self._gpu.name,
            "precision": "float16",
            "batch": self.batch,
            "driver": self._gpu.driver,
            "plan": self._how,
            "cuda_graph": self._graph,
        }

    def close(self) -> None:
        """Free the GPU."""
        self._pipeline.close()
        del self._pipeline, self._network

    def _load(self, plan: EnginePlan) -> None:
        compiled, self._how = _compiled(self.spec, plan)
        messages = messages_of(trt)
        network = _Network(compiled, messages)
        self._pipeline = Pipeline(cudart, batch=plan.batch, cube=plan.cube)
        try:
            network.bind(self._pipeline, (plan.batch, 1, plan.cube, plan.cube, plan.cube))
            self._graph = self._pipeline.record(network.context.execute_async_v3)
        except RuntimeError as error:
            self._pipeline.close()
            raise failure(str(error), messages.errors) from error
        self._network = network


class _Network:
    """A plan that is ready to run: TensorRT's three objects for it, which must live as long as it runs."""

    def __init__(self, compiled: bytes, messages: Any) -> None:
        self._runtime = trt.Runtime(messages)
        self._engine = self._runtime.deserialize_cuda_engine(compiled)
        if self._engine is None:
            raise failure("TensorRT does not take its plan", messages.errors)
        self.context = self._engine.create_execution_context()
        if self.context is None:
            raise failure("TensorRT cannot run its plan", messages.errors)

    def bind(self, pipeline: Pipeline, shape: tuple[int, ...]) -> None:
        """Let it read and write the pipeline's memory, always whole batches."""
        for name in map(self._engine.get_tensor_name, range(self._engine.num_io_tensors)):
            taken = self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            self.context.set_tensor_address(name, pipeline.source if taken else pipeline.target)
            if taken:
                self.context.set_input_shape(name, shape)


def _first_batch(spec: Spec, gpu: Gpu) -> int:
    """Return the largest batch that a plan is kept for, or the usual one."""
    kept = [plan for _, plan in default_folder().plans() if plan is not None]
    here = [plan.batch for plan in kept if plan == plan_for(trt, spec, gpu, batch=plan.batch)]
    return max(here, default=of_edge(spec.cube, BATCH))


def _compiled(spec: Spec, plan: EnginePlan) -> tuple[bytes, str]:
    """Return the compiled plan, and how it was come by."""
    folder = default_folder()
    timings = folder.path / f"timings-{plan.builder}-{plan.capability}"

    def compile_plan() -> bytes:
        log.info("TensorRT compiles %s for %s, %d cubes at once", plan.model, plan.gpu, plan.batch)
        compiled, measured = build_engine(trt, plan, onnx.load(spec.weights), timings=_read(timings))
        try:
            write_aside(timings, measured)
        except OSError as error:
            log.debug("%s cannot be written: %s", timings, error)
        return compiled

    return folder.get(plan, compile_plan)


def _read(timings: Path) -> bytes:
    try:
        return timings.read_bytes()
    except OSError:
        return b""
