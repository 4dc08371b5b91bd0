"""What every engine may rely on in a model's ONNX graph. An export that breaks a rule is no model.

- One input, cubes of any number N and one static edge, (N, 1, E, E, E), and one output of that shape, both float32.
- Opset 21 or later of the standard domain, no control flow, no functions, and operators that TensorRT's parser knows
  (onnx-tensorrt 10.1, docs/operators.md): the list below is what the networks need of it.
- Resize doubles by repeating voxels (nearest, asymmetric, floor): what engines agree on.
- Weights are float16 initialisers under the names of the network's parameters, each cast to float32 where it is used,
  so that torch and engines of other precisions read them from there. All else is float32, norms and softmax included.

What is derived from it (:mod:`samu_engines.variants`) keeps the same rules but for the opset and the precision.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from onnx import AttributeProto, TensorProto, helper

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import onnx

OPSET = 21
OLD_OPSET = 17
"""What the parser of TensorRT 8.6 ends at."""
# fmt: off
OPERATORS = frozenset([
    "Add", "Cast", "Concat", "Constant", "Conv", "Div", "Exp", "Expand", "Gather", "GroupNormalization",
    "Identity", "LayerNormalization", "MatMul", "Max", "Mul", "Pow", "Reciprocal", "ReduceMax", "ReduceMean",
    "ReduceSum", "Relu", "Reshape", "Resize", "Shape", "Sigmoid", "Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub",
    "Transpose", "Unsqueeze",
])
# fmt: on
OLD_OPERATORS = OPERATORS - {"GroupNormalization"} | {"InstanceNormalization"}
# fmt: off
FLOAT32_OPERATORS = frozenset([
    "Exp", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "Pow", "ReduceMean", "ReduceSum",
    "Sqrt", "Reciprocal",
])
# fmt: on
"""Norms and softmaxes, whole or in parts: sums over many voxels, and squares, leave the range of half precision."""
TAKE_AXES = ("ReduceMean", "ReduceSum", "Reshape")
RESIZE = {
    "mode": (b"nearest", b"nearest"),
    "coordinate_transformation_mode": (b"asymmetric", b"half_pixel"),
    "nearest_mode": (b"floor", b"round_prefer_floor"),
    "keep_aspect_ratio_policy": (b"stretch", b"stretch"),
    "antialias": (0, 0),
}
"""Attribute: the value asked for, and ONNX's default where it is not given."""
SMALL = 16
"""Elements of a constant that is no weight: shapes, axes, scales, an epsilon."""
HALVES = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}


def check_graph(model: onnx.ModelProto, *, parameters: Collection[str] | None = None) -> None:
    """Hold a graph to the rules.

    Parameters
    ----------
    model
        The ONNX model.
    parameters
        Names of the network's parameters that its output depends on: each must be an initialiser, and nothing else may
        be a weight. None leaves names alone.

    Raises
    ------
    ValueError
        It breaks some; the message names each, with the node or tensor.
    """
    opset = _opset(model)
    broken = [] if opset >= OPSET else [f"opset {opset}, not {OPSET} or later"]
    _refuse([*broken, *_shared_rules(model, OPERATORS), *_weights(model.graph, parameters)])


def check_variant(model: onnx.ModelProto, *, opset: int, half: bool) -> None:
    """Hold what was derived from a model to the rules: the opset, the precisions, and weights that are initialisers.

    Parameters
    ----------
    model
        The variant, with the types of its tensors (``value_info``).
    opset
        :data:`OPSET` or :data:`OLD_OPSET`.
    half
        Whether it computes in float16; :func:`islands` are float32 in any case.

    Raises
    ------
    ValueError
        It breaks some; the message names each.
    """
    broken = [] if (found := _opset(model)) == opset else [f"opset {found}, not {opset}"]
    broken += _shared_rules(model, OLD_OPERATORS if opset == OLD_OPSET else OPERATORS)
    _refuse([*broken, *_precisions(model.graph, half=half), *_initialisers(model.graph)])


def islands(graph: onnx.GraphProto) -> frozenset[str]:
    """Return the tensors that every precision makes in float32.

    Norms; the softmax of the keys over all voxels (99.9 % of its weights lie below the normal range of float16), from
    what its exponential takes to the sum of its weights; and the product of those weights with the values.
    """
    exponentials = [node for node in graph.node if node.op_type == "Exp"]
    weights = {name for node in exponentials for name in node.output}
    found = {name for node in exponentials for name in node.input}
    for node in graph.node:
        weighs = node.op_type in ("MatMul", "Reshape") and weights & set(node.input)
        if node.op_type in FLOAT32_OPERATORS or weighs:
            found |= set(node.output)
    return frozenset(found)


def _refuse(broken: list[str]) -> None:
    if broken:
        raise ValueError("the graph breaks what engines rely on: " + "; ".join(broken))


def _shared_rules(model: onnx.ModelProto, operators: Collection[str]) -> Iterator[str]:
    if model.functions:
        yield f"functions: {', '.join(function.name for function in model.functions)}"
    yield from _interface(model.graph)
    yield from _operators(model, operators)
    yield from _resizes(model.graph)


def _opset(model: onnx.ModelProto) -> int:
    return next((opset.version for opset in model.opset_import if opset.domain == ""), 0)


def _interface(graph: onnx.GraphProto) -> Iterator[str]:
    if (len(graph.input), len(graph.output)) != (1, 1):
        yield f"{len(graph.input)} inputs and {len(graph.output)} outputs, not one of each"
    edges = set()
    for value in (*graph.input, *graph.output):
        tensor = value.type.tensor_type
        if tensor.elem_type != TensorProto.FLOAT:
            yield f"{value.name} is {TensorProto.DataType.Name(tensor.elem_type)}, not FLOAT"
        batch, *space = [dim.dim_value for dim in tensor.shape.dim] or [0]
        if batch:
            yield f"{value.name} has a batch of {batch}, not any"
        if len(space) != 4 or space[0] != 1 or not all(space) or len(set(space[1:])) != 1:
            yield f"{value.name} is no batch of static cubes of one channel, (N, 1, E, E, E): {space}"
        edges.add(tuple(space))
    if len(edges) > 1:
        yield f"input and output differ in shape: {sorted(edges)}"


def _operators(model: onnx.ModelProto, operators: Collection[str]) -> Iterator[str]:
    for node in model.graph.node:
        name = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        if any(attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for attribute in node.attribute):
            yield f"control flow: {name} makes {', '.join(node.output)}"
        elif name not in operators:
            yield f"an operator that is not on the list: {name} makes {', '.join(node.output)}"


def _resizes(graph: onnx.GraphProto) -> Iterator[str]:
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    for node in graph.node:
        if node.op_type != "Resize":
            continue
        given = attributes_of(node)
        for attribute, (asked, default) in RESIZE.items():
            if (value := given.get(attribute, default)) != asked:
                yield f"Resize makes {node.output[0]} with {attribute}={_text(value)}, not {_text(asked)}"
        if not set(filter(None, node.input[1:])) <= constants:
            yield f"Resize makes {node.output[0]} by a scale that is no constant"


def _weights(graph: onnx.GraphProto, parameters: Collection[str] | None) -> Iterator[str]:
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    weights = {name for name, tensor in tensors.items() if tensor.data_type == TensorProto.FLOAT16}
    for name, tensor in tensors.items():
        if name not in weights and math.prod(tensor.dims) > SMALL:
            yield f"{name} is a weight and {TensorProto.DataType.Name(tensor.data_type)}, not FLOAT16"
    for node in graph.node:
        yield from _halves_in(node, weights)
    if parameters is not None:
        if missing := sorted(set(parameters) - weights):
            yield f"parameters that are no float16 initialisers: {', '.join(missing)}"
        if unknown := sorted(weights - set(parameters)):
            yield f"weights that are no parameters: {', '.join(unknown)}"


def _halves_in(node: onnx.NodeProto, weights: Collection[str]) -> Iterator[str]:
    """Tell where a node stores a large constant, makes halves, or takes a weight that was not cast."""
    given = attributes_of(node)
    if node.op_type == "Cast":
        if given["to"] in HALVES:
            yield f"Cast makes {node.output[0]} {HALVES[given['to']]}"
        return
    if node.op_type == "Constant" and "value" in given and math.prod(given["value"].dims) > SMALL:
        yield f"{node.output[0]} is a weight and a Constant, not an initialiser"
    if uncast := sorted(set(node.input) & set(weights)):
        yield f"{node.op_type} takes {', '.join(uncast)} without a Cast to float32"


def _precisions(graph: onnx.GraphProto, *, half: bool) -> Iterator[str]:
    """Tell which island leaves float32, and which convolution or product outside is not in the variant's precision."""
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    kinds |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    kept = islands(graph)
    for node in graph.node:
        if node.output[0] in kept:
            wanted = TensorProto.FLOAT
        elif node.op_type in ("Conv", "MatMul"):
            wanted = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        else:
            continue
        for name in (*node.input, *node.output):
            kind = kinds.get(name, TensorProto.UNDEFINED)
            if kind != wanted and not (kind == TensorProto.INT64 and node.op_type in TAKE_AXES):
                wrong, right = TensorProto.DataType.Name(kind), TensorProto.DataType.Name(wanted)
                yield f"{node.op_type} makes {node.output[0]} with {name} in {wrong}, not {right}"


def _initialisers(graph: onnx.GraphProto) -> Iterator[str]:
    """Tell of weights that are no initialisers where parsers want one: of convolutions, and of instance norms."""
    known = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in ("Conv", "InstanceNormalization") and (missing := sorted(set(node.input[1:]) - known)):
            yield f"{node.op_type} makes {node.output[0]} with {', '.join(missing)}, which is no initialiser"


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """Return a node's attributes as Python values."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
