"""What is derived from a model's file keeps the rules, and computes what the file does but for rounding."""

import re

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
torch = pytest.importorskip("torch")

from onnx import TensorProto, helper, numpy_helper

from samu_batch.golden import TOLERANCE
from samu_batch.model import ModelSpec
from samu_engines.graph import OLD_OPSET, OPSET, check_variant, islands
from samu_engines.network import Network, NetworkConfig
from samu_engines.variants import ISLAND, in_half_precision, in_old_opset, in_single_precision

CUBE = 16
CONFIGS = {
    "group norm and attention": NetworkConfig(
        patch=1, widths=(32, 32), blocks=1, attention_levels=(0,), structure_channels=8
    ),
    "voxel norm, patches, linear path, gate": NetworkConfig(
        patch=2, widths=(8, 16), blocks=1, norm="voxel", early_upsampling=True, linear_path=True, refine=4, gate=(4, 8)
    ),
}


@pytest.fixture(scope="module", params=CONFIGS)
def exported(request, tmp_path_factory):
    """A small network with random weights, as (the model, what PyTorch makes of `cubes`, `cubes`)."""
    from samu_training import export

    torch.manual_seed(0)
    network = Network(CONFIGS[request.param]).eval()
    with torch.no_grad():
        for weights in network.parameters():  # so that nothing starts at zero, and all are what float16 can hold
            weights.copy_((weights + 0.05 * torch.randn_like(weights)).half())
    folder = tmp_path_factory.mktemp("model")
    sidecar = export.export_model(network, folder, name="small", card={}, tiling=export.Tiling(CUBE, CUBE // 2))
    cubes = np.random.default_rng(0).random((3, 1, CUBE, CUBE, CUBE), dtype=np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(cubes)).numpy()
    return onnx.load(sidecar.with_suffix(".onnx")), expected, cubes


def answer(model, cubes):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: cubes})[0]


def relative_rms(found, expected):
    return np.sqrt(np.mean((found.astype(np.float64) - expected) ** 2) / np.mean(expected.astype(np.float64) ** 2))


def test_float32_without_casts_computes_what_the_file_computes(exported):
    model, _, cubes = exported
    assert relative_rms(answer(in_single_precision(model), cubes), answer(model, cubes)) < 1e-6


def test_float32_in_the_old_opset_computes_what_torch_computes(exported):
    model, expected, cubes = exported
    assert relative_rms(answer(in_old_opset(in_single_precision(model)), cubes), expected) < 1e-4


def test_half_precision_differs_by_rounding_and_does_differ(exported):
    model, expected, cubes = exported
    half = in_half_precision(model)
    for variant in (half, in_old_opset(half)):
        assert 1e-5 < relative_rms(answer(variant, cubes), expected) < TOLERANCE


def test_variants_are_small_and_repeatable(exported):
    model, _, _ = exported
    half = in_half_precision(model)
    assert half.SerializeToString(deterministic=True) == in_half_precision(model).SerializeToString(deterministic=True)
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    convolved = [node.input[1] for node in half.graph.node if node.op_type == "Conv"]
    assert convolved
    for tensor in half.graph.initializer:
        if tensor.name in convolved:
            np.testing.assert_array_equal(numpy_helper.to_array(tensor), numpy_helper.to_array(stored[tensor.name]))


def test_islands_are_marked_and_nothing_else_convolves_in_float32(exported):
    half = in_half_precision(exported[0])
    kept = islands(half.graph)
    assert kept
    for node in half.graph.node:
        if node.output[0] in kept:
            assert node.name.startswith(ISLAND)
        if node.op_type == "Conv":
            assert not node.name.startswith(ISLAND)
    # Of the two softmaxes of an attention, that of the keys is an island, its weights' product included.
    assert not any(node.output[0] in kept for node in half.graph.node if node.op_type == "Softmax")
    weights = {node.output[0] for node in half.graph.node if node.op_type == "Exp"}
    products = [node for node in half.graph.node if node.op_type == "MatMul" and weights & set(node.input)]
    assert len(products) == len(weights)
    assert kept.issuperset(weights | {node.output[0] for node in products})


def test_the_old_opset_has_no_group_norm_and_no_newer_operator(exported):
    old = in_old_opset(in_half_precision(exported[0]))
    assert [opset.version for opset in old.opset_import] == [OLD_OPSET]
    onnx.checker.check_model(old)
    for node in old.graph.node:
        assert onnx.defs.get_schema(node.op_type, OLD_OPSET).since_version <= OLD_OPSET
    assert not any(node.op_type == "GroupNormalization" for node in old.graph.node)


def test_the_shipped_model_in_half_precision_would_pass_its_golden_cube():
    spec = ModelSpec.load("samu-lite")
    half = in_half_precision(onnx.load(spec.weights))
    found = spec.golden.deviation(answer(half, spec.golden.input(spec.cube)))
    assert 1e-5 < found.rms < TOLERANCE
    assert found.whole < TOLERANCE


def changed(model, change):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    change(copy)
    return copy


def no_island(model):
    """Let the mean of a norm be in float16."""
    mean = next(node for node in model.graph.node if node.op_type == "ReduceMean")
    value = next(value for value in model.graph.value_info if value.name == mean.output[0])
    value.type.tensor_type.elem_type = TensorProto.FLOAT16


def single_convolution(model):
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    value = next(value for value in model.graph.value_info if value.name == node.output[0])
    value.type.tensor_type.elem_type = TensorProto.FLOAT


def computed_weight(model):
    node = next(node for node in model.graph.node if node.op_type == "Conv")
    model.graph.node.insert(0, helper.make_node("Identity", [node.input[1]], ["copied"]))
    node.input[1] = "copied"


BROKEN = {
    "an island in float16": (no_island, r"ReduceMean makes \S+ with \S+ in FLOAT16, not FLOAT"),
    "a convolution in float32": (single_convolution, r"Conv makes \S+ with \S+ in FLOAT, not FLOAT16"),
    "a weight that is computed": (computed_weight, r"Conv makes \S+ with copied, which is no initialiser"),
    "another opset": (lambda model: setattr(model.opset_import[0], "version", 20), "opset 20, not 21"),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_of_variants_is_held(rule):
    change, message = BROKEN[rule]
    half = in_half_precision(onnx.load(ModelSpec.load("samu-lite").weights))
    check_variant(half, opset=OPSET, half=True)
    with pytest.raises(ValueError, match=message):
        check_variant(changed(half, change), opset=OPSET, half=True)


def test_a_group_norm_in_the_old_opset_is_refused(exported):
    half = in_half_precision(exported[0])
    if not any(node.op_type == "GroupNormalization" for node in half.graph.node):
        pytest.skip("this network has no group norm")
    old = changed(half, lambda model: setattr(model.opset_import[0], "version", OLD_OPSET))
    with pytest.raises(ValueError, match=re.escape("not on the list: GroupNormalization")):
        check_variant(old, opset=OLD_OPSET, half=True)
