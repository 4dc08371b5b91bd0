"""Other forms of a model's one ONNX file, derived without torch: half precision, an older operator set, exact norms.

A variant takes and gives float32 as the file does. Its weights are initialisers of the precision they are used in, so
what it computes differs by rounding alone. ``in_old_opset(in_half_precision(model))`` is what TensorRT 8.6 reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.shape_inference import infer_shapes

from samu_engines.graph import OLD_OPSET, attributes_of, check_variant, islands
from samu_engines.norms import WrittenOut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

Message = TypeVar("Message", onnx.ModelProto, onnx.NodeProto)

FLOAT: int = TensorProto.FLOAT
HALF: int = TensorProto.FLOAT16
NAMES = {FLOAT: "float32", HALF: "float16"}
ELEMENTWISE = frozenset(["Add", "Div", "Identity", "Mul", "Relu", "Sigmoid", "Sub"])
"""Behind an island they stay in float32 until a convolution, a product or a copy rounds: fused, that costs nothing."""
ISLAND = "float32/"
"""Begins the names of nodes that compute in float32, for builders that choose precisions themselves."""
OLD_IR = 8
"""The version of the file format that came with opset 17."""
NEW_ATTRIBUTES = {
    "Resize": ("antialias", "keep_aspect_ratio_policy"),
    "Cast": ("saturate",),
}
"""Attributes that opset 17 does not know; the lint of models holds those of Resize to what it does."""


def in_half_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model computing in float16, but for :func:`samu_engines.graph.islands`.

    Strongly typed: a Cast stands wherever the precision changes, and nothing is left to a builder.
    """
    return _derived(model, half=True)


def in_single_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model computing in float32 as it does, with float32 weights and none of their Casts."""
    return _derived(model, half=False)


def in_old_opset(variant: onnx.ModelProto) -> onnx.ModelProto:
    """Return a variant in opset 17, group norms as reshape and instance norm, for TensorRT before 10.15.

    Their parsers end there, or take a GroupNormalization as opset 18 had it: with a scale for each group.
    """
    nodes, constants = _without_group_norms(variant, WrittenOut.as_instance_norm)
    nodes = [_older(node, constants) for node in nodes]
    old = _rebuilt(variant, nodes, constants.values(), opset=OLD_OPSET)
    half = any(value.type.tensor_type.elem_type == HALF for value in old.graph.value_info)
    check_variant(old, opset=OLD_OPSET, half=half)
    return old


def with_exact_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model, or a variant of one, with its group norms as means of means, for engines on CPUs.

    OpenVINO and ONNX Runtime have a group norm that loses digits where a mean is large against its deviation.
    """
    stored = {tensor.name for tensor in model.graph.initializer}
    is_model = any(node.op_type == "Cast" and node.input[0] in stored for node in model.graph.node)
    variant = in_single_precision(model) if is_model else model
    nodes, constants = _without_group_norms(variant, WrittenOut.as_means)
    return _rebuilt(variant, nodes, constants.values(), opset=variant.opset_import[0].version)


def _without_group_norms(
    variant: onnx.ModelProto, write_out: Callable[[WrittenOut], WrittenOut]
) -> tuple[list[onnx.NodeProto], dict[str, onnx.TensorProto]]:
    """Return the nodes of a variant, and its constants, with each group norm in terms of other operators."""
    shapes = {value.name: value.type.tensor_type.shape.dim for value in variant.graph.value_info}
    constants = {tensor.name: tensor for tensor in variant.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in variant.graph.node:
        if node.op_type != "GroupNormalization":
            nodes.append(node)
            continue
        shape = [dim.dim_value for dim in shapes[node.input[0]]]
        instead = write_out(WrittenOut(node, shape, constants))
        nodes += instead.nodes
        constants |= instead.constants
    return nodes, constants


def _derived(model: onnx.ModelProto, *, half: bool) -> onnx.ModelProto:
    retyping = _Retyping(_with_types(model).graph, half=half)
    opset = model.opset_import[0].version
    variant = _rebuilt(model, retyping.nodes, retyping.constants.values(), opset=opset)
    check_variant(variant, opset=opset, half=half)
    return variant


class _Retyping:
    """One pass over a graph's nodes, in order, that gives each a precision and casts what it takes to it."""

    def __init__(self, graph: onnx.GraphProto, *, half: bool) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self._half = half
        self._islands = islands(graph)
        values = (*graph.value_info, *graph.input, *graph.output)
        self._floats = {value.name for value in values if value.type.tensor_type.elem_type == FLOAT}
        self._kinds = {name: tensor.data_type for name, tensor in self.constants.items()}
        self._kinds |= {value.name: FLOAT for value in graph.input}
        self._weights: dict[str, str] = {}
        for node in graph.node:
            if node.op_type == "Cast" and node.input[0] in self.constants:
                self._weights[node.output[0]] = node.input[0]  # each user takes the weight in its own precision
            else:
                self._add(node)
        for value in graph.output:
            self._give_back(value.name)

    def _add(self, node: onnx.NodeProto) -> None:
        new = _copied(node)
        if self._floats.intersection(node.output):
            kind = self._kind(node)
            # The scales of a Resize are float32 in every precision.
            for place in [0] if node.op_type == "Resize" else range(len(node.input)):
                name = self._weights.get(node.input[place], node.input[place])
                new.input[place] = self._cast(name, kind) if self._kinds.get(name) in NAMES else name
            if self._half and kind == FLOAT:
                new.name = ISLAND + node.name
            self._kinds |= dict.fromkeys(node.output, kind)
        self.nodes.append(new)

    def _kind(self, node: onnx.NodeProto) -> int:
        if not self._half or self._islands.intersection(node.output):
            return FLOAT
        behind = any(self._kinds.get(name) == FLOAT and name not in self.constants for name in node.input)
        return FLOAT if behind and node.op_type in ELEMENTWISE else HALF

    def _cast(self, name: str, kind: int) -> str:
        """Return the name of a tensor in a precision, made where it is not there yet."""
        if self._kinds[name] == kind:
            return name
        wanted = f"{name}.{NAMES[kind]}"
        if wanted not in self._kinds:
            if name in self.constants:
                values = numpy_helper.to_array(self.constants[name]).astype(NAMES[kind])
                self.constants[wanted] = numpy_helper.from_array(values, wanted)
            else:
                self.nodes.append(helper.make_node("Cast", [name], [wanted], name=f"{wanted}/cast", to=kind))
            self._kinds[wanted] = kind
        return wanted

    def _give_back(self, output: str) -> None:
        """End with float32."""
        if self._kinds[output] == FLOAT:
            return
        inner = f"{output}.float16"
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [inner if name == output else name for name in names]
        self.nodes.append(helper.make_node("Cast", [inner], [output], name=f"{output}/cast", to=FLOAT))


def _older(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> onnx.NodeProto:
    """Return a node as opset 17 writes it: with the axes of means and maxima as attribute, without what came later."""
    given = attributes_of(node)
    inputs = list(node.input)
    if node.op_type in ("ReduceMax", "ReduceMean") and len(inputs) == 2:
        given["axes"] = numpy_helper.to_array(constants[inputs.pop()]).tolist()
        given.pop("noop_with_empty_axes", None)
    given = {key: value for key, value in given.items() if key not in NEW_ATTRIBUTES.get(node.op_type, ())}
    return helper.make_node(node.op_type, inputs, list(node.output), name=node.name, **given)


def _rebuilt(
    model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], constants: Iterable[onnx.TensorProto], *, opset: int
) -> onnx.ModelProto:
    """Return a model of other nodes, with those of the constants that they use, and the types of all tensors."""
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in constants if tensor.name in used]
    graph = helper.make_graph(nodes, model.graph.name, model.graph.input, model.graph.output, kept)
    ir = OLD_IR if opset == OLD_OPSET else model.ir_version
    new = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    onnx.checker.check_model(new)
    return _with_types(new)


def _with_types(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model with the type and shape of every tensor (raises where types do not agree)."""
    # onnx infers nothing behind a GroupNormalization, which gives what it takes.
    stand_in = _copied(model)
    for node in stand_in.graph.node:
        if node.op_type == "GroupNormalization":
            node.CopyFrom(helper.make_node("Identity", node.input[:1], node.output))
    typed = _copied(model)
    del typed.graph.value_info[:]
    typed.graph.value_info.extend(infer_shapes(stand_in, strict_mode=True).graph.value_info)
    return typed


def _copied(message: Message) -> Message:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
