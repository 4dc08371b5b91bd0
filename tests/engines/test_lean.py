"""The network for GPUs computes what the network computes: exactly but for rounding, whatever the chunks."""

import copy

import pytest

torch = pytest.importorskip("torch")

from samu_batch.golden import TOLERANCE
from samu_engines.blocks import LinearAttention
from samu_engines.lean import LeanAttention, LeanNetwork
from samu_engines.network import Network, NetworkConfig

CONFIGS = {
    "samu": NetworkConfig(patch=1, widths=(32, 64), blocks=1, attention_levels=(0,), structure_channels=8, dropout=0.2),
    "samu-lite": NetworkConfig(
        patch=2, widths=(8, 16), blocks=1, norm="voxel", early_upsampling=True, linear_path=True, refine=4, gate=(4, 8)
    ),
}


def networks(name, dtype):
    torch.manual_seed(0)
    network = Network(CONFIGS[name]).to(dtype).eval()
    with torch.no_grad():
        for weights in network.parameters():  # so that nothing stays at zero
            weights.add_(0.05 * torch.randn_like(weights))
    return network, copy.deepcopy(network)


def relative_rms(found, expected):
    return ((found.double() - expected.double()).norm() / expected.double().norm()).item()


@pytest.mark.parametrize("name", CONFIGS)
def test_it_is_the_network(name):
    network, lean = networks(name, torch.float64)
    cubes = torch.rand(3, 1, 16, 16, 16, dtype=torch.float64)
    with torch.inference_mode():
        assert relative_rms(LeanNetwork(lean, dtype=torch.float64, chunk=1000)(cubes), network(cubes)) < 1e-11


@pytest.mark.parametrize("name", CONFIGS)
def test_in_float32_it_is_as_near_to_float64_as_the_network(name):
    exact, _ = networks(name, torch.float64)
    network, lean = networks(name, torch.float32)
    exact.load_state_dict({key: weights.double() for key, weights in network.state_dict().items()})
    cubes = torch.rand(3, 1, 16, 16, 16)
    with torch.inference_mode():
        expected = exact(cubes.double())
        rounding = relative_rms(network(cubes), expected)
        assert relative_rms(LeanNetwork(lean, dtype=torch.float32, chunk=1000)(cubes), expected) < 2 * rounding


@pytest.mark.parametrize("chunk", [1, 7, 511, 512, 100_000])
def test_the_attention_does_not_depend_on_the_chunk(chunk):
    torch.manual_seed(1)
    attention = LinearAttention(64).double().eval()
    with torch.no_grad():
        attention.qkv.weight.mul_(30)  # keys that differ by hundreds: the largest so far comes in many chunks
    features = torch.randn(2, 64, 8, 8, 8, dtype=torch.float64)
    with torch.inference_mode():
        expected = attention(features)
        found = LeanAttention(attention, chunk=chunk)(features)
    assert relative_rms(found, expected) < 1e-11


def test_in_half_precision_it_stays_within_the_tolerance():
    network, lean = networks("samu-lite", torch.float32)
    network.load_state_dict({name: weights.half().float() for name, weights in network.state_dict().items()})
    cubes = torch.rand(1, 1, 16, 16, 16)
    with torch.inference_mode():
        try:
            found = LeanNetwork(lean, dtype=torch.float16)(cubes)
        except RuntimeError as error:
            pytest.skip(f"torch has no such convolution on this CPU: {error}")
        assert found.dtype == torch.float32
        assert 1e-5 < relative_rms(found, network(cubes)) < TOLERANCE


def test_it_never_holds_what_is_as_large_as_queries_keys_and_values():
    torch.manual_seed(2)
    attention = LinearAttention(32).eval()
    lean = LeanAttention(copy.deepcopy(attention), chunk=64)
    features = torch.randn(1, 32, 16, 16, 16)
    whole = 3 * 128 * 16**3 * 4

    def largest_allocation(module):
        cpu = [torch.profiler.ProfilerActivity.CPU]
        with torch.profiler.profile(activities=cpu, profile_memory=True) as profile, torch.inference_mode():
            module(features)
        return max(event.cpu_memory_usage for event in profile.events())

    assert largest_allocation(attention) >= whole
    assert largest_allocation(lean) < 1.1 * features.nbytes  # its input and its output are of that size
