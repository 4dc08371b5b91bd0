"""What a model's file or a compiled plan is made of, said without a GPU."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto

from samu_engines.graph import check_graph, islands
from samu_engines.plans import SUFFIX, described_plan
from samu_engines.variants import in_half_precision, in_old_opset

if TYPE_CHECKING:
    from pathlib import Path

PRECISIONS = {TensorProto.FLOAT: "float32", TensorProto.FLOAT16: "float16"}


def inspect_plan(path: Path) -> dict[str, Any]:
    """Return what a plan was compiled from and for.

    Raises
    ------
    ValueError, OSError
        It is no plan, or is damaged; it cannot be read.
    """
    return {"plan": str(path), "bytes": path.stat().st_size} | described_plan(path).facts()


def inspect_model(path: Path) -> dict[str, Any]:
    """Return the weights and the forms of a model's ONNX file, after a check against what engines rely on.

    Each form has its operators by precision, and the islands: what is float32 in every precision.

    Raises
    ------
    ValueError, OSError
        It breaks the rules, and the message names each; it cannot be read.
    """
    model = onnx.load(path)
    check_graph(model)
    half = in_half_precision(model)
    forms = {"as stored": model, "float16": half, "float16, for TensorRT before 10.15": in_old_opset(half)}
    weights = [tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT16]
    return {
        "model": str(path),
        "bytes": path.stat().st_size,
        "parameters": sum(math.prod(tensor.dims) for tensor in weights),
        "forms": {name: _form(form) for name, form in forms.items()},
    }


def is_plan(path: Path) -> bool:
    """Tell a plan from a model by its name."""
    return path.suffix == SUFFIX


def _form(model: onnx.ModelProto) -> dict[str, Any]:
    graph = model.graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}
    operators: dict[str, Counter[str]] = {name: Counter() for name in PRECISIONS.values()}
    for node in graph.node:
        if (precision := PRECISIONS.get(kinds.get(node.output[0], 0))) and node.op_type != "Cast":
            operators[precision][node.op_type] += 1
    kept = islands(graph)
    return {
        "opset": model.opset_import[0].version,
        "operators": {name: dict(counted.most_common()) for name, counted in operators.items() if counted},
        "islands": dict(Counter(node.op_type for node in graph.node if node.output[0] in kept).most_common()),
    }
