"""What surrounds a molecule in simulated maps lies around it, and looks like what it is named for."""

from dataclasses import replace

import numpy as np
import pytest

ndimage = pytest.importorskip("scipy.ndimage")

from samu_training.belt import belt
from samu_training.recipe import draw_recipe


@pytest.fixture
def inside():
    """A molecule of 24 x 24 x 60 A along z, in a box of 100 A."""
    inside = np.zeros((50, 50, 50), bool)
    inside[10:40, 19:31, 19:31] = True
    return inside


def recipe_of(kind, **values):
    return replace(draw_recipe(np.random.default_rng(0)), belt=kind, spacing=2.0, belt_density=0.5, **values)


def test_most_maps_are_of_each_kind_and_no_kind_has_none(inside):
    kinds = [draw_recipe(np.random.default_rng(seed)).belt for seed in range(400)]
    assert {kind: kinds.count(kind) > 20 for kind in kinds} == dict.fromkeys(("none", "lumps", "slab", "micelle"), True)
    assert not belt(inside, 3.0, recipe_of("none"), np.random.default_rng(0)).any()


def test_dense_maps_have_detergent_as_dense_as_protein_and_mostly_no_mask():
    drawn = [draw_recipe(np.random.default_rng(seed), dense=True) for seed in range(400)]
    micelles = [recipe for recipe in drawn if recipe.belt == "micelle"]
    assert 0.8 < len(micelles) / len(drawn) < 0.9
    assert 0.9 < np.mean([recipe.belt_density for recipe in micelles]) < 1.1
    assert np.mean([recipe.mask == "none" for recipe in drawn]) > 0.7


@pytest.mark.parametrize("kind", ["lumps", "slab"])
def test_lumps_lie_outside_the_molecule_and_near_it(inside, kind):
    blobs = belt(inside, 3.0, recipe_of(kind), np.random.default_rng(1))
    assert blobs.any()
    assert not blobs[inside].any()
    away = ndimage.distance_transform_edt(~inside, sampling=2.0)
    assert blobs[away > 24].mean() < 0.2 * blobs[(away > 0) & (away < 8)].mean()


def test_a_micelle_is_a_ring_with_two_layers_of_heads(inside):
    """Along the axis that a ring was drawn around it is heads, tails, heads; and it scales with the molecule."""
    rings = [belt(inside, 3.0, recipe_of("micelle", b_factor=20.0), np.random.default_rng(seed)) for seed in range(60)]
    profiles = []
    for ring in rings:
        beside = ring[:, 14:36, 14:36].sum(axis=(1, 2))
        if beside[:5].max() < 0.02 * beside.max() and beside[-5:].max() < 0.02 * beside.max():
            profiles.append(beside / beside.max())  # around the long axis: it ends before the molecule does
    assert len(profiles) > 10
    dips = [p[np.flatnonzero(p > 0.4)[0] : np.flatnonzero(p > 0.4)[-1] + 1].min() for p in profiles]
    assert np.median(dips) < 0.7
    again = belt(inside, 6.0, recipe_of("micelle", b_factor=20.0), np.random.default_rng(7))
    np.testing.assert_allclose(again, 2 * rings[7], rtol=1e-5)


def test_the_ice_that_a_micelle_displaces_takes_from_its_mean_and_not_from_its_texture(inside):
    def drawn(density, texture):
        recipe = replace(recipe_of("micelle"), belt_density=density, belt_texture=texture)
        return belt(inside, 3.0, recipe, np.random.default_rng(1))

    ring, texture = drawn(0.5, 0.0), drawn(0.0, 1.0)
    assert abs(texture.mean()) < 0.1 * texture.std()
    assert texture[np.abs(ring) > 0.2 * ring.max()].std() > 5 * texture[ring == 0].std()
    np.testing.assert_allclose(drawn(0.5, 2.0), ring + 2 * texture, atol=1e-5)
