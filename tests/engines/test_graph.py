"""The lint of a model's graph passes what an export makes, and names each rule that a graph breaks."""

import re

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper

from samu_batch.errors import SamuError
from samu_batch.model import ModelSpec
from samu_engines.graph import check_graph

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
SHAPE = ["N", 1, 8, 8, 8]


def good_nodes():
    return {
        "cast": helper.make_node("Cast", ["first.weight"], ["first.weight.float32"], to=FLOAT),
        "convolve": helper.make_node(
            "Conv", ["cubes", "first.weight.float32"], ["half"], strides=[2] * 3, pads=[1] * 6
        ),
        "double": helper.make_node(
            "Resize",
            ["half", "", "scales"],
            ["enhanced"],
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
    }


def model_of(nodes=None, *, weight=np.float16, shape=SHAPE, kind=FLOAT, opset=21, initialisers=(), domains=()):
    nodes = good_nodes() if nodes is None else nodes
    weights = numpy_helper.from_array(np.ones((1, 1, 3, 3, 3), weight), "first.weight")
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2, 2], np.float32), "scales")
    graph = helper.make_graph(
        list(nodes.values()),
        "tiny",
        [helper.make_tensor_value_info("cubes", kind, shape)],
        [helper.make_tensor_value_info("enhanced", kind, shape)],
        [weights, scales, *initialisers],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def with_resize(**attributes):
    nodes = good_nodes()
    given = {a.name: helper.get_attribute_value(a) for a in nodes["double"].attribute} | attributes
    given = {key: value for key, value in given.items() if value is not None}
    nodes["double"] = helper.make_node("Resize", ["half", "", "scales"], ["enhanced"], **given)
    return model_of(nodes)


def with_node(position, *node, **attributes):
    return model_of(good_nodes() | {position: helper.make_node(*node, **attributes)})


def branching():
    value = helper.make_tensor_value_info("same", FLOAT, None)
    branch = helper.make_graph([helper.make_node("Identity", ["half"], ["same"])], "branch", [], [value])
    return with_node("if", "If", ["condition"], ["either"], then_branch=branch, else_branch=branch)


def with_function():
    model = model_of()
    opsets = [helper.make_opsetid("", 21)]
    node = helper.make_node("Identity", ["x"], ["y"])
    model.functions.append(helper.make_function("own", "Twice", ["x"], ["y"], [node], opsets))
    return model


def with_second_input():
    model = model_of()
    model.graph.input.append(helper.make_tensor_value_info("structure", FLOAT, ["N", 4, 512]))
    return model


def with_another_output_shape():
    model = model_of()
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_value = 4
    return model


BIG = numpy_helper.from_array(np.ones((3, 9), np.float32), "big")

VIOLATIONS = {
    "an old opset": (lambda: model_of(opset=20), "opset 20, not 21"),
    "a function": (with_function, "functions: Twice"),
    "two inputs": (with_second_input, "2 inputs and 1 outputs"),
    "half-precision cubes": (lambda: model_of(kind=HALF), "cubes is FLOAT16, not FLOAT"),
    "one batch size": (lambda: model_of(shape=[2, 1, 8, 8, 8]), "cubes has a batch of 2, not any"),
    "free space": (lambda: model_of(shape=["N", 1, 8, 8, "W"]), "no batch of static cubes"),
    "boxes": (lambda: model_of(shape=["N", 1, 8, 8, 16]), "no batch of static cubes"),
    "two channels": (lambda: model_of(shape=["N", 2, 8, 8, 8]), "no batch of static cubes"),
    "four axes": (lambda: model_of(shape=["N", 1, 8, 8]), "no batch of static cubes"),
    "another shape out": (with_another_output_shape, "input and output differ in shape"),
    "a branch": (branching, "control flow: If makes either"),
    "an operator that TensorRT lacks": (
        lambda: with_node("more", "Unique", ["half"], ["unique"]),
        "an operator that is not on the list: Unique makes unique",
    ),
    "an operator of a vendor": (
        lambda: with_node("more", "FusedConv", ["half"], ["fused"], domain="com.microsoft"),
        "an operator that is not on the list: com.microsoft::FusedConv makes fused",
    ),
    "linear resize": (lambda: with_resize(mode="linear"), "mode=linear, not nearest"),
    "resize about half pixels": (
        lambda: with_resize(coordinate_transformation_mode="half_pixel"),
        "coordinate_transformation_mode=half_pixel, not asymmetric",
    ),
    "resize that rounds as ONNX does by default": (
        lambda: with_resize(nearest_mode=None),
        "nearest_mode=round_prefer_floor, not floor",
    ),
    "resize with antialiasing": (lambda: with_resize(antialias=1), "antialias=1, not 0"),
    "resize by a computed scale": (
        lambda: with_node("double", "Resize", ["half", "", "half"], ["enhanced"]),
        "by a scale that is no constant",
    ),
    "a weight in float32": (lambda: model_of(initialisers=[BIG]), "big is a weight and FLOAT, not FLOAT16"),
    "a weight in a Constant": (
        lambda: with_node("big", "Constant", [], ["big"], value=BIG),
        "big is a weight and a Constant, not an initialiser",
    ),
    "half precision inside": (
        lambda: with_node("less", "Cast", ["half"], ["less"], to=HALF),
        "Cast makes less float16",
    ),
    "a weight that is not cast": (
        lambda: with_node("convolve", "Conv", ["cubes", "first.weight"], ["half"]),
        "Conv takes first.weight without a Cast",
    ),
}


def test_a_graph_that_keeps_the_rules_passes():
    model = model_of()
    onnx.checker.check_model(model, full_check=True)
    check_graph(model)
    check_graph(model, parameters={"first.weight"})


@pytest.mark.parametrize("broken", VIOLATIONS)
def test_each_rule_is_held(broken):
    make, message = VIOLATIONS[broken]
    with pytest.raises(ValueError, match=re.escape(message)):
        check_graph(make())


def test_weights_are_the_networks_parameters():
    with pytest.raises(ValueError, match=r"parameters that are no float16 initialisers: last\.weight"):
        check_graph(model_of(), parameters={"first.weight", "last.weight"})
    with pytest.raises(ValueError, match=r"weights that are no parameters: first\.weight"):
        check_graph(model_of(), parameters=set())


def test_every_broken_rule_is_named_at_once():
    with pytest.raises(ValueError, match=r"opset 17.*cubes is FLOAT16.*big is a weight"):
        check_graph(model_of(opset=17, kind=HALF, initialisers=[BIG]))


def test_the_shipped_model_keeps_the_rules():
    try:
        spec = ModelSpec.load("samu-lite")
    except SamuError as error:
        pytest.skip(str(error))
    check_graph(onnx.load(spec.weights))
