"""Simulated pairs are what they claim: density in its place, noise at its resolution, source on target."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")
fft = pytest.importorskip("scipy.fft")

from samu_training import data
from samu_training.as_seen import as_seen
from samu_training.atoms import OF_REAL_PAIRS, Atoms, is_test
from samu_training.crops import Crops, longest_first, turned
from samu_training.data import as_the_product_reads, make_pair
from samu_training.density import gaussians, target_density
from samu_training.recipe import draw_recipe
from samu_training.simulate import _fsc, _noise, frequencies, place


@pytest.fixture(scope="module")
def atoms():
    """A random walk of carbon atoms: dense as a small protein."""
    rng = np.random.default_rng(5)
    positions = rng.uniform(0, 34, (1600, 3)).astype(np.float32)
    numbers = np.full(1600, 6.0, np.float32)
    return Atoms(name="walk", positions=positions, numbers=numbers, reach=np.zeros(1600, np.float32))


def test_density_is_that_of_a_plain_loop():
    rng = np.random.default_rng(0)
    positions, weights = rng.uniform(-3, 15, (12, 3)).astype(np.float32), rng.uniform(1, 8, 12).astype(np.float32)
    shape, spacing, sigma = (9, 11, 10), 1.2, 0.9
    expected = np.zeros(shape)
    centres = np.stack(np.meshgrid(*(np.arange(n) * spacing for n in shape), indexing="ij"), axis=-1)
    for position, weight in zip(positions, weights, strict=True):
        distance = np.linalg.norm(centres - position, axis=-1)
        expected += weight * (2 * np.pi * sigma**2) ** -1.5 * np.exp(-0.5 * (distance / sigma) ** 2)
    density = gaussians(positions, weights, shape=shape, spacing=spacing, sigma=sigma)
    np.testing.assert_allclose(density, expected, atol=2e-4 * expected.max())


def test_density_integrates_to_the_atomic_numbers():
    positions = np.array([[12.3, 11.1, 14.8], [9.0, 15.5, 10.2]], np.float32)
    density = target_density(positions, np.array([6.0, 16.0], np.float32), shape=(25, 25, 25), spacing=1.0)
    assert density.sum() == pytest.approx(22.0, rel=2e-3)


def test_noise_has_the_fsc_that_was_drawn(atoms):
    """Two whole maps correlate, shell by shell, as two means of half maps with the drawn FSC do."""
    rng = np.random.default_rng(3)
    recipe = draw_recipe(rng)
    recipe = type(recipe)(**(vars(recipe) | {"spacing": 1.2, "resolution": 5.0, "falloff": 0.015, "noise_inside": 0.5}))
    shape = (64, 64, 64)
    frequency = frequencies(shape, recipe.spacing)
    signal = fft.rfftn(gaussians(atoms.positions + 20, atoms.numbers, shape=shape, spacing=1.2, sigma=1.0))
    everywhere = np.ones(shape, bool)
    a, b = (signal + _noise(signal, everywhere, recipe, rng, frequency=frequency) for _ in range(2))
    for low in np.arange(0.06, 0.2, 0.02):
        shell = (frequency >= low) & (frequency < low + 0.02)
        measured = np.abs((a * b.conj())[shell].sum()) / np.sqrt(
            (abs(a[shell]) ** 2).sum() * (abs(b[shell]) ** 2).sum()
        )
        drawn = float(_fsc(recipe, np.array([low + 0.01]))[0])
        assert measured == pytest.approx(2 * drawn / (1 + drawn), abs=0.06)


def test_a_perfect_model_is_seen_as_it_is(atoms):
    """Without errors of the model the map holds its atoms; with them, atoms are off by what was drawn."""
    rng = np.random.default_rng(4)
    drawn = vars(draw_recipe(rng))
    b = np.full(len(atoms.numbers), 50.0)
    perfect = type(draw_recipe(rng))(**drawn | {"shift": 0, "jitter": 0, "occupancy": 0, "strays": 0})
    positions, weights, factors = as_seen(atoms.positions, atoms.numbers, b, perfect, rng)
    np.testing.assert_array_equal(positions, atoms.positions)
    np.testing.assert_array_equal(weights, atoms.numbers)
    np.testing.assert_array_equal(factors, b)
    off = type(perfect)(**drawn | {"shift": 0.4, "jitter": 0.3, "occupancy": 0.2, "strays": 0.05})
    positions, weights, _ = as_seen(atoms.positions, atoms.numbers, b, off, rng)
    assert len(weights) == 1680
    assert (positions[:1600] - atoms.positions).std() == pytest.approx(0.5, rel=0.2)
    assert weights[:1600].std() == pytest.approx(0.2 * 6, rel=0.25)


def test_the_source_lies_on_its_target(atoms):
    """Law 4 for training: the best fit of source and target is without any shift."""
    source, target = make_pair(atoms, np.random.default_rng(11)).astype(np.float64)
    correlation = fft.irfftn(fft.rfftn(source) * fft.rfftn(target).conj(), s=source.shape)
    peak = np.array(np.unravel_index(correlation.argmax(), correlation.shape))
    assert tuple(peak) == (0, 0, 0)


@pytest.mark.parametrize(("large", "longest"), [(False, 112), (True, 192)])
def test_a_box_is_no_longer_than_is_asked(large, longest):
    """And holds molecule from end to end where the structure is longer."""
    rng = np.random.default_rng(2)
    positions = rng.uniform(0, 300, (4000, 3)).astype(np.float32)
    block = Atoms(name="block", positions=positions, numbers=np.ones(4000), reach=np.zeros(4000))
    recipe = draw_recipe(rng, large=large)
    placed, shape = place(block, recipe, rng)
    assert np.array(shape) * recipe.spacing == pytest.approx(longest, abs=recipe.spacing)
    inside = placed[((placed >= 0) & (placed <= longest)).all(axis=1)]
    assert np.ptp(inside, axis=0).min() > 0.8 * longest


def test_large_pairs_are_of_structures_that_need_a_large_box(atoms, tmp_path, monkeypatch):
    long = replace(atoms, name="long", positions=atoms.positions * np.array([4, 1, 1], np.float32))
    assert not any(is_test(each.name) for each in (atoms, long))
    monkeypatch.setattr(data, "load_atoms", lambda pack: [atoms, long])
    data.make_pairs(tmp_path / "pack.npz", tmp_path, count=3, seed=1, test=False, large=True)
    assert len(list(tmp_path.glob("*.npy"))) == 3
    shown = (tmp_path / "structures.csv").read_text()
    assert "long" in shown
    assert "walk" not in shown


def test_maps_pass_through_the_product(atoms):
    density = gaussians(atoms.positions + 8, atoms.numbers, shape=(50, 50, 50), spacing=1.0, sigma=1.5)
    density[density < 1e-4] = 0
    read = as_the_product_reads(density, spacing=1.0)
    np.testing.assert_allclose(read, density / np.percentile(density[density != 0], 99.9), rtol=1e-5)


def test_the_24_turns_are_proper():
    corner = np.zeros((1, 3, 3, 3), np.float32)
    corner[0, 0, 0, 1], corner[0, 0, 2, 0], corner[0, 1, 0, 0] = 1, 2, 3  # chiral
    rng = np.random.default_rng(0)
    seen = {turned(corner, rng).tobytes() for _ in range(2000)}
    mirrored = np.ascontiguousarray(corner[:, ::-1])
    assert len(seen) == 24
    assert mirrored.tobytes() not in seen


def test_long_crops_are_turned_to_their_long_axis_and_never_mirrored(tmp_path):
    corner = np.zeros((1, 3, 5, 3), np.float32)
    corner[0, 0, 0, 1], corner[0, 0, 4, 0], corner[0, 1, 0, 0] = 1, 2, 3  # chiral
    rng = np.random.default_rng(0)
    seen = {longest_first(turned(corner, rng)).tobytes() for _ in range(400)}
    assert len(seen) == 8  # those of the 24 that leave the long axis along the first
    mirrored = np.ascontiguousarray(corner[:, ::-1])
    assert longest_first(mirrored).tobytes() not in seen
    np.save(tmp_path / "00000.npy", np.random.default_rng(1).random((2, 40, 44, 48)).astype(np.float16))
    crops = Crops(tmp_path, edge=24, longer=12)
    assert {crops.draw(rng)[0].shape for _ in range(12)} == {(1, 36, 24, 24)}


def test_crops_may_reach_over_the_box(tmp_path):
    np.save(tmp_path / "00000.npy", np.ones((2, 30, 40, 36), np.float16))
    source, target = Crops(tmp_path, edge=32).batch(np.random.default_rng(0), 16)
    assert source.shape == target.shape == (16, 1, 32, 32, 32)
    assert set(np.unique(target)) == {0.0, 1.0}
    assert ((source > 0) == (target > 0)).all()
    # As in the last cubes of a map, there is little in some crops but the zeros around it; few hold nothing.
    held = (Crops(tmp_path, edge=32).batch(np.random.default_rng(1), 200)[1] > 0).mean(axis=(1, 2, 3, 4))
    assert 0.02 < (held < 0.1).mean() < 0.2
    assert held.min() > 0


def test_structures_of_the_real_pairs_are_kept_from_training():
    assert all(map(is_test, OF_REAL_PAIRS))
