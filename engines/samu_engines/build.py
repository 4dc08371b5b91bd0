"""Compiling a model with TensorRT. The module is an argument, so that the logic runs without a GPU in tests.

From 10 on networks are strongly typed: the half-precision variant says every precision itself. 8.6 chooses precisions
under the FP16 flag, and is bound to float32 where the variant's node names ask for it.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Any

from samu_engines.graph import OLD_OPSET, OPSET
from samu_engines.plans import EnginePlan
from samu_engines.variants import ISLAND, in_half_precision, in_old_opset

if TYPE_CHECKING:
    from types import ModuleType

    import onnx

    from samu_engines.nvidia import Gpu
    from samu_engines.spec import Spec

log = logging.getLogger("samu_batch")

OLDEST = (8, 6)
STRONGLY_TYPED = "STRONGLY_TYPED"
OLD_FLAGS = ("FP16", "OBEY_PRECISION_CONSTRAINTS")
MEMORY_WORDS = ("out of memory", "outofmemory", "insufficient", "memory allocation")
"""How TensorRT's messages tell that the device's memory was too short; it has no other word for it."""


def plan_for(trt: ModuleType, spec: Spec, gpu: Gpu, *, batch: int) -> EnginePlan:
    """Return what is to be compiled for a model, a GPU and this TensorRT.

    Raises
    ------
    ValueError
        This TensorRT is older than 8.6.
    """
    version = tuple(int(part) for part in trt.__version__.split(".")[:2])
    if version < OLDEST:
        raise ValueError(f"TensorRT {trt.__version__} is older than {'.'.join(map(str, OLDEST))}")
    # The parser that takes a GroupNormalization as opset 21 has it came with this layer, in 10.15.
    new = hasattr(trt.INetworkDefinition, "add_normalization_v2")
    return EnginePlan(
        model=spec.name,
        onnx_sha256=spec.weights_sha256,
        cube=spec.cube,
        batch=batch,
        opset=OPSET if new else OLD_OPSET,
        builder=trt.__version__,
        flags=OLD_FLAGS if version[0] < 10 else (STRONGLY_TYPED,),
        gpu=gpu.name,
        capability=gpu.capability,
        driver=gpu.driver,
    )


def variant_of(model: onnx.ModelProto, plan: EnginePlan) -> onnx.ModelProto:
    """Return the form of the model's file that a plan is compiled from."""
    half = in_half_precision(model)
    return half if plan.opset == OPSET else in_old_opset(half)


def build_engine(trt: ModuleType, plan: EnginePlan, model: onnx.ModelProto, *, timings: bytes) -> tuple[bytes, bytes]:
    """Compile a model.

    Parameters
    ----------
    trt
        TensorRT; a GPU must be there.
    plan
        What to compile it for.
    model
        The model's file.
    timings
        The timing cache of earlier builds on this GPU, or empty.

    Returns
    -------
    tuple
        The compiled plan, and the timing cache to keep.

    Raises
    ------
    MemoryError
        The device's memory is too short.
    RuntimeError
        TensorRT cannot compile it; the message is its own.
    """
    messages = messages_of(trt)
    builder = trt.Builder(messages)
    network = _parsed(trt, builder, plan, variant_of(model, plan), messages)
    config = _configured(trt, builder, plan, network)
    known = config.create_timing_cache(timings) or config.create_timing_cache(b"")
    config.set_timing_cache(known, ignore_mismatch=False)
    compiled = builder.build_serialized_network(network, config)
    if compiled is None:
        raise failure("TensorRT compiled nothing", messages.errors)
    return bytes(compiled), bytes(config.get_timing_cache().serialize())


def messages_of(trt: ModuleType) -> Any:
    """Return TensorRT's logger, with no ``errors`` yet: it keeps what it is told of them, and sends all to ours."""
    messages = _only_logger(trt)
    messages.errors.clear()
    return messages


@cache
def _only_logger(trt: ModuleType) -> Any:
    """Return the one logger of this process: TensorRT tells the first that it is given, whatever it is given later."""
    severities = trt.ILogger.Severity
    errors, told = (severities.INTERNAL_ERROR, severities.ERROR), severities.WARNING

    class Messages(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, text: str) -> None:
            if severity in errors:
                self.errors.append(text)
            if severity in (*errors, told):
                log.debug("TensorRT: %s", text)

    return Messages()


def failure(what: str, errors: list[str]) -> Exception:
    """Return the error for something that TensorRT refused: MemoryError where its messages speak of memory."""
    said = "; ".join(errors[-3:]) or "it gave no reason"
    short = any(word in said.lower() for word in MEMORY_WORDS)
    return MemoryError(f"{what}: {said}") if short else RuntimeError(f"{what}: {said}")


def _parsed(trt: ModuleType, builder: Any, plan: EnginePlan, variant: onnx.ModelProto, messages: Any) -> Any:
    flag = STRONGLY_TYPED if STRONGLY_TYPED in plan.flags else "EXPLICIT_BATCH"
    network = builder.create_network(1 << int(getattr(trt.NetworkDefinitionCreationFlag, flag)))
    if flag != STRONGLY_TYPED:
        # Its parser makes an instance norm of a plugin unless it is told otherwise, which not every 8.6 can be.
        trt.init_libnvinfer_plugins(messages, "")
    parser = trt.OnnxParser(network, messages)
    if flag != STRONGLY_TYPED and hasattr(trt, "OnnxParserFlag"):
        parser.set_flag(trt.OnnxParserFlag.NATIVE_INSTANCENORM)
    if not parser.parse(variant.SerializeToString()):
        errors = [str(parser.get_error(number)) for number in range(parser.num_errors)]
        raise failure("TensorRT cannot read the model", errors)
    return network


def _configured(trt: ModuleType, builder: Any, plan: EnginePlan, network: Any) -> Any:
    config = builder.create_builder_config()
    # What is float32 is so because half precision is too little for it: no shorter mantissa there.
    config.clear_flag(trt.BuilderFlag.TF32)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if STRONGLY_TYPED not in plan.flags:
        for flag in plan.flags:
            config.set_flag(getattr(trt.BuilderFlag, flag))
        for number in range(network.num_layers):
            layer = network.get_layer(number)
            if layer.name.startswith(ISLAND):
                layer.precision = trt.float32
    profile = builder.create_optimization_profile()
    cubes = (1, plan.cube, plan.cube, plan.cube)
    profile.set_shape(network.get_input(0).name, (1, *cubes), (plan.batch, *cubes), (plan.batch, *cubes))
    config.add_optimization_profile(profile)
    return config
