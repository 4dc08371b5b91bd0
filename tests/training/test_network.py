"""The network holds to the paper's numbers, and to what the engines rely on."""

import copy
import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils.flop_counter import FlopCounterMode

from samu_engines.blocks import LinearAttention, ResidualBlock
from samu_engines.folding import fold, unfold
from samu_engines.gate import Gate, passing
from samu_engines.network import SAMU, SAMU_LITE, Network


def millions(*parts):
    return round(sum(p.numel() for part in parts for p in part.parameters()) / 1e6, 2)


def gigaflops(network):
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.to("meta")(torch.zeros(1, 1, 64, 64, 64))
    return counter.get_total_flops() / 1e9


def as_if_trained(network):
    """Fill the second convolutions, which start at zero."""
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            torch.nn.init.normal_(module.second[-1].weight, std=0.02)
    return network.eval()


@pytest.fixture(scope="module")
def samu():
    torch.manual_seed(0)
    return Network(SAMU).eval()


@pytest.fixture(scope="module")
def lite():
    torch.manual_seed(0)
    return as_if_trained(Network(SAMU_LITE))


def test_the_papers_parameters(samu):
    assert sum(p.numel() for p in samu.parameters()) == pytest.approx(12.220e6, rel=1e-4)
    assert millions(samu.stem, samu.encoder) == 2.92
    assert millions(samu.middle) == 2.14
    assert millions(samu.decoder, samu.head) == 7.16


def test_the_papers_blocks(samu):
    count = lambda kind: sum(isinstance(m, kind) for m in samu.modules())  # noqa: E731
    assert count(ResidualBlock) == 22
    assert count(LinearAttention) == 16
    assert len(samu.encoder) + 1 == len(samu.decoder) == 12  # each skip is taken once


def test_compute_of_a_cube():
    assert gigaflops(Network(SAMU)) == pytest.approx(467.9, abs=0.05)
    assert gigaflops(Network(SAMU_LITE)) <= 30


@pytest.mark.parametrize("density", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("name", ["samu", "lite"])
@torch.no_grad()
def test_output_is_finite(name, density, request):
    cube = torch.full((1, 1, 32, 32, 32), density)
    enhanced = request.getfixturevalue(name)(cube)
    assert enhanced.shape == cube.shape
    assert torch.isfinite(enhanced).all()


@torch.no_grad()
def test_structure_matters_only_where_it_is_given(samu):
    cube, structure = torch.rand(1, 1, 32, 32, 32), torch.randn(1, 20, 512)
    without = samu(cube)
    with_structure = samu(cube, structure)
    assert not torch.allclose(with_structure, without)
    attention = samu.middle.structure.attention
    kept = attention.in_proj_bias.clone()
    attention.in_proj_bias += 1
    assert torch.equal(samu(cube), without)
    attention.in_proj_bias.copy_(kept)


@torch.no_grad()
def test_a_cube_without_structure_may_stand_beside_one_with(samu):
    samu = copy.deepcopy(samu).double()  # a batch of another size is rounded otherwise
    for name, weights in samu.named_parameters():  # as they are once trained: zeros would hide what should be passed by
        if "structure" in name and name.endswith("bias"):
            torch.nn.init.normal_(weights, std=0.1)
    cubes, structure = torch.rand(2, 1, 32, 32, 32).double(), torch.randn(2, 20, 512).double()
    structure[1] = 0
    mixed = samu(cubes, structure)
    torch.testing.assert_close(mixed[:1], samu(cubes[:1], structure[:1]), rtol=0, atol=1e-10)
    torch.testing.assert_close(mixed[1:], samu(cubes[1:]), rtol=0, atol=1e-10)
    assert not torch.allclose(mixed[:1], samu(cubes[:1]), atol=1e-3)


@torch.no_grad()
def test_linear_attention_is_that_of_a_plain_loop():
    torch.manual_seed(1)
    layer = LinearAttention(32).eval()
    features = torch.randn(1, 32, 2, 3, 4)
    qkv = layer.qkv(layer.norm(features))[0].reshape(3, 4, 32, -1)
    heads = []
    for head in range(4):
        q, k, v = (qkv[part, head] for part in range(3))
        k = torch.cat([layer.memory[0, head], k], dim=1)
        v = torch.cat([layer.memory[1, head], v], dim=1)
        k = torch.stack([row.softmax(0) for row in k])
        columns = []
        for voxel in range(q.shape[1]):
            query = q[:, voxel].softmax(0) / 32**0.5
            columns.append(sum(query[c] * (k[c] @ v.T) for c in range(32)))
        heads.append(torch.stack(columns, dim=1))
    expected = layer.out(torch.cat(heads).reshape(1, 128, 2, 3, 4))
    torch.testing.assert_close(layer(features), expected, rtol=1e-4, atol=1e-5)


def test_what_passes_is_repeated_and_averaged_over_three_voxels():
    likely = torch.randn(2, 1, 3, 4, 5)
    repeated = torch.sigmoid(likely).numpy()
    for axis in (2, 3, 4):
        repeated = repeated.repeat(2, axis=axis)
    found = passing(likely).numpy()
    for number, channel, *point in np.ndindex(*repeated.shape):
        box = tuple(slice(max(0, i - 1), i + 2) for i in point)
        np.testing.assert_allclose(
            found[(number, channel, *point)], repeated[(number, channel, *box)].mean(), rtol=1e-5
        )


def decided():
    """Return a gate whose shares differ from voxel to voxel, and are not rounded to 0 or 1."""
    gate = Gate((4, 8, 8))
    torch.nn.init.normal_(gate.head.weight, std=0.1)
    return gate


@torch.no_grad()
def test_a_gate_lets_nearly_all_pass_at_first():
    enhanced, cubes = torch.randn(2, 1, 16, 16, 16), torch.rand(2, 1, 16, 16, 16)
    torch.testing.assert_close(Gate((4, 8, 8))(enhanced, cubes), enhanced * torch.sigmoid(torch.tensor(2.0)))


@torch.no_grad()
def test_a_gate_never_adds():
    torch.manual_seed(0)
    enhanced, cubes = torch.randn(2, 1, 16, 16, 16), torch.rand(2, 1, 16, 16, 16)
    share = decided()(enhanced, cubes) / enhanced
    assert share.min() > 0
    assert share.max() < 1
    assert share.std() > 1e-3


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_a_gate_takes_half_precision(precision):
    torch.manual_seed(0)
    enhanced, cubes = torch.rand(1, 1, 16, 16, 16), torch.rand(1, 1, 16, 16, 16)
    gate = decided()
    expected = gate(enhanced, cubes)
    halves = gate.to(precision)(enhanced.to(precision), cubes)
    assert halves.dtype == precision
    torch.testing.assert_close(halves.float(), expected, rtol=0.1, atol=0.02)


def test_folding_is_undone_exactly():
    cubes = torch.arange(2 * 8 * 4 * 6).reshape(2, 1, 8, 4, 6)
    folded = fold(cubes, 2)
    assert folded.shape == (2, 8, 4, 2, 3)
    assert torch.equal(folded[0, :, 0, 0, 0], cubes[0, 0, :2, :2, :2].reshape(-1))
    assert torch.equal(unfold(folded, 2), cubes)


@torch.no_grad()
def test_lite_depends_on_surroundings_alone():
    """What a voxel becomes does not depend on where its cube begins, so cores join."""
    torch.manual_seed(2)
    network = as_if_trained(Network(dataclasses.replace(SAMU_LITE, widths=(8, 16, 16))))
    density = torch.rand(1, 1, 432, 16, 16)
    one, other = network(density[:, :, :416]), network(density[:, :, 16:])
    torch.testing.assert_close(one[:, :, 200:216], other[:, :, 184:200], rtol=0, atol=1e-5)
    assert not torch.allclose(one[:, :, 16:32], other[:, :, :16], atol=1e-3)  # but at the faces it does
