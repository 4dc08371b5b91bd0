"""TensorRT as far as this package uses it. Every name is one that the real module of the version has: names.json.

A plan is the ONNX file behind a line that says for what it was built; ONNX Runtime runs it on the CPU, when the stream
of the simulated CUDA comes to it. The environment sets the rest: FAKE_TENSORRT_VERSION; _SECONDS that a build takes;
_LOG, a file that gets a line for each build; _BATCH, the most cubes that there is memory for; _BREAKS, what fails.
"""

import ctypes
import json
import os
import sys
import time
from enum import IntEnum
from pathlib import Path

import numpy as np

__version__ = os.environ.get("FAKE_TENSORRT_VERSION", "11.4.0.106")
NAMES = json.loads((Path(__file__).parents[1] / "names.json").read_text())[__version__]
calls = []


def setting(name, default=""):
    return os.environ.get(f"FAKE_TENSORRT_{name}", default)


class Named:
    """Has those public names alone that the real class of this name has, and keeps what is asked of it in ``calls``."""

    def __getattribute__(self, name):
        kind = type(self).__name__
        if not name.startswith("_") and name not in NAMES[kind].split():
            raise AttributeError(f"TensorRT {__version__} has no {kind}.{name}")
        value = object.__getattribute__(self, name)
        if callable(value) and not name.startswith("_"):
            return lambda *arguments, **named: calls.append((name, *arguments)) or value(*arguments, **named)
        return value

    def __setattr__(self, name, value):
        if not name.startswith("_"):
            getattr(self, name)
            calls.append((name, value))
        object.__setattr__(self, name, value)


class Layer(Named):
    precision = None

    def __init__(self, name):
        object.__setattr__(self, "name", name)


Layer.__name__ = "ILayer"


class ILogger:
    Severity = IntEnum("Severity", NAMES["Severity"].split(), start=0)


def enumeration(name):
    return IntEnum(name, NAMES[name].split(), start=0)


BuilderFlag = enumeration("BuilderFlag")
NetworkDefinitionCreationFlag = enumeration("NetworkDefinitionCreationFlag")
ProfilingVerbosity = enumeration("ProfilingVerbosity")
TensorIOMode = enumeration("TensorIOMode")
if "OnnxParserFlag" in NAMES:
    OnnxParserFlag = enumeration("OnnxParserFlag")
float32 = "float32"


class ITensor(Named):
    name = "cubes"


class INetworkDefinition(Named):
    def __init__(self):
        self._model, self._layers = b"", []

    @property
    def num_layers(self):
        return len(self._layers)

    def get_layer(self, number):
        return self._layers[number]

    def get_input(self, number):
        return ITensor()


if "add_normalization_v2" in NAMES["INetworkDefinition"].split():
    INetworkDefinition.add_normalization_v2 = lambda self: None


class ITimingCache(Named):
    def __init__(self, content):
        self._content = content

    def serialize(self):
        return memoryview(self._content + b"t")


class IOptimizationProfile(Named):
    def set_shape(self, name, least, usual, most):
        self._most = most


class IBuilderConfig(Named):
    profiling_verbosity = None

    def add_optimization_profile(self, profile):
        self._profile = profile

    def create_timing_cache(self, content):
        return ITimingCache(content)

    def set_timing_cache(self, cache, ignore_mismatch):
        self._cache = cache
        return True

    def get_timing_cache(self):
        return self._cache

    def clear_flag(self, flag):
        assert isinstance(flag, BuilderFlag)

    def set_flag(self, flag):
        assert isinstance(flag, BuilderFlag)


class Builder(Named):
    def __init__(self, logger):
        self._logger = logger

    def create_network(self, flags):
        return INetworkDefinition()

    def create_builder_config(self):
        return IBuilderConfig()

    def create_optimization_profile(self):
        return IOptimizationProfile()

    def build_serialized_network(self, network, config):
        if setting("LOG"):
            with Path(setting("LOG")).open("a") as log:
                log.write(f"{os.getpid()}\n")
        time.sleep(float(setting("SECONDS", "0")))
        if setting("BREAKS") == "build":
            self._logger.log(ILogger.Severity.ERROR, "Could not find any implementation for node conv3d")
            return None
        batch = config._profile._most[0]
        if batch > int(setting("BATCH", "64")):
            self._logger.log(ILogger.Severity.ERROR, "[virtualMemoryBuffer.cpp] OutOfMemory (no further information)")
            return None
        return memoryview(f"{__version__} {batch}\n".encode() + network._model)


class ParserError(Named):
    def __str__(self):
        return "In node 3 (parseNode): UNSUPPORTED_NODE: no such operator"


class OnnxParser(Named):
    def __init__(self, network, logger):
        self._network = network

    num_errors = 1

    def set_flag(self, flag):
        assert isinstance(flag, OnnxParserFlag)

    def get_error(self, number):
        return ParserError()

    def parse(self, content):
        import onnx

        self._network._model = content
        self._network._layers = [Layer(node.name) for node in onnx.load_from_string(content).graph.node]
        return setting("BREAKS") != "parse"


class Runtime(Named):
    def __init__(self, logger):
        self._logger = logger

    def deserialize_cuda_engine(self, plan):
        header, _, model = bytes(plan).partition(b"\n")
        version, _, batch = header.partition(b" ")
        if version != __version__.encode() or setting("BREAKS") == "deserialize":
            self._logger.log(ILogger.Severity.ERROR, "IRuntime::deserializeCudaEngine: Error Code 1: Serialization")
            return None
        return ICudaEngine(model, int(batch), self._logger)


class ICudaEngine(Named):
    num_io_tensors = 2

    def __init__(self, model, batch, logger):
        self._model, self._batch, self._logger = model, batch, logger

    def get_tensor_name(self, number):
        return ("cubes", "enhanced")[number]

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name == "cubes" else TensorIOMode.OUTPUT

    def create_execution_context(self):
        if setting("BREAKS") == "context":
            self._logger.log(ILogger.Severity.ERROR, "CUDA failure: out of memory")
            return None
        return IExecutionContext(self._model)


class IExecutionContext(Named):
    def __init__(self, model):
        import onnxruntime

        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._addresses, self._shape = {}, None

    def set_tensor_address(self, name, address):
        self._addresses[name] = address

    def set_input_shape(self, name, shape):
        self._shape = shape

    def execute_async_v3(self, handle):
        from cuda.bindings import runtime

        return runtime.enqueue(handle, self._compute)

    def _compute(self):
        source, target = (self._array(name) for name in ("cubes", "enhanced"))
        [target[:]] = self._session.run(None, {"cubes": source})

    def _array(self, name):
        memory = (ctypes.c_float * int(np.prod(self._shape))).from_address(self._addresses[name])
        return np.ctypeslib.as_array(memory).reshape(self._shape)


def init_libnvinfer_plugins(logger, namespace):
    calls.append(("init_libnvinfer_plugins",))
    return True


for name in [name for name in vars() if not name.startswith("_")]:
    kind = getattr(sys.modules[__name__], name)
    if isinstance(kind, type) and issubclass(kind, (Named, IntEnum)) and kind not in (Named, Layer, IntEnum):
        assert name in NAMES["module"].split(), name
