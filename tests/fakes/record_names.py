"""Print the names that a TensorRT's Python module really has, one class a line: ``names.json`` holds some versions.

``python tests/fakes/record_names.py tensorrt_bindings``: the bindings' wheels from PyPI import without a GPU where
empty stand-ins of the vendor's libraries lie in LD_LIBRARY_PATH (tests/engines/test_tensorrt_names.py makes them).
"""

import importlib
import json
import sys

# fmt: off
CLASSES = [
    "Builder", "BuilderFlag", "DataType", "IBuilderConfig", "ICudaEngine", "IExecutionContext", "ILayer", "ILogger",
    "INetworkDefinition", "IOptimizationProfile", "ITensor", "ITimingCache", "NetworkDefinitionCreationFlag",
    "OnnxParser", "OnnxParserFlag", "ParserError", "ProfilingVerbosity", "Runtime", "TensorIOMode",
]
# fmt: on


def names_of(module):
    """Return version, the module's names, and those of each class that we use."""
    found = {"module": public(module)}
    for name in CLASSES:
        if hasattr(module, name):
            kind = getattr(module, name)
            found[name] = list(kind.__members__) if hasattr(kind, "__members__") else public(kind)
    found["Severity"] = list(module.ILogger.Severity.__members__)
    return {module.__version__: found}


def public(thing):
    return sorted(name for name in dir(thing) if not name.startswith("_"))


if __name__ == "__main__":
    [(version, found)] = names_of(importlib.import_module(sys.argv[1])).items()
    print(json.dumps(version), ": {", sep="")
    print(",\n".join(f" {json.dumps(name)}: {json.dumps(' '.join(members))}" for name, members in found.items()), "}")
