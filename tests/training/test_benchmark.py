"""The frozen benchmark: maps are what they say, and are made again as they were; figures and gates are right."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

gemmi = pytest.importorskip("gemmi")

from scipy import fft

from samu_training import fidelity, reconstruct
from samu_training._benchmark_table import gates
from samu_training._pair_table import METRICS, Row
from samu_training.atoms import OF_REAL_PAIRS, is_test
from samu_training.benchmark import Judged
from samu_training.pairs import RealPair
from samu_training.potential import electron_potential, frequencies, read_sites
from samu_training.testset import agrees, digest, make_map, read_testset

DRAWN = dataclasses.replace(
    reconstruct.draw(np.random.default_rng(0)), resolution=5.0, spacing=1.3, padding=12.0, micelle=False, mask="none"
)


@pytest.fixture(scope="module")
def structure(tmp_path_factory):
    """A chain of carbon folded at random into a ball, without B factors."""
    rng = np.random.default_rng(1)
    model = gemmi.Structure()
    model.add_model(gemmi.Model(1))
    model[0].add_chain(gemmi.Chain("A"))
    for number, place in enumerate(rng.normal(scale=9, size=(900, 3))):
        residue, atom = gemmi.Residue(), gemmi.Atom()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(number + 1, " ")
        atom.name, atom.element, atom.pos = "CA", gemmi.Element("C"), gemmi.Position(*place)
        residue.add_atom(atom)
        model[0][0].add_residue(residue)
    path = tmp_path_factory.mktemp("structures") / "ball.pdb"
    model.write_pdb(str(path))
    return path


def test_an_atom_scatters_electrons_as_the_tables_say():
    place, b, spacing = np.array([20.3, 17.1, 23.8]), 40.0, 1.6
    shape = 24, 20, 30
    spectrum = electron_potential(np.array([[*place, 6, b]]), shape=shape, spacing=spacing, ice=0.0, ice_b=b)
    frequency = frequencies(shape, spacing)
    near = frequency < 0.25
    table = np.vectorize(lambda s: gemmi.Element("C").c4322.calculate_sf(s**2 / 4))(frequency[near])
    expected = table * np.exp(-0.25 * b * frequency[near] ** 2)
    np.testing.assert_allclose(np.abs(spectrum[near]) * spacing**3, expected, rtol=0.01)
    density = fft.irfftn(spectrum, s=shape)
    centre = [(density * np.arange(n).reshape(np.roll((1, 1, n), axis + 1))).sum() for axis, n in enumerate(shape)]
    np.testing.assert_allclose(np.array(centre) / density.sum() * spacing, place, atol=0.02)


def test_half_maps_agree_to_the_drawn_resolution(structure):
    """FSC inside the mask: 0.143 at the resolution, more before, less behind."""
    found = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        sites = read_sites(structure, mean_b=DRAWN.b_factor)
        positions = sites[:, :3] - sites[:, :3].min(axis=0) + 12
        sites[:, :3] = positions
        shape = (64, 64, 64)
        frequency = frequencies(shape, DRAWN.spacing)
        potential = electron_potential(sites, shape=shape, spacing=DRAWN.spacing, ice=0.5, ice_b=DRAWN.b_factor)
        distance = reconstruct._distances(positions, shape, DRAWN.spacing)
        halves = reconstruct._half_maps(potential, distance, frequency, DRAWN, rng)
        mask = reconstruct._edge(distance, 5, 6)
        masked = [fft.rfftn(fft.irfftn(half, s=shape) * mask) for half in halves]
        middles, fsc = reconstruct.shell_correlation(*masked, frequency)
        found.append(np.interp([1 / 8, 1 / 5, 1 / 3.4], middles, fsc))
    at_8, at_5, at_3 = np.mean(found, axis=0)
    assert at_8 > 0.6
    assert at_5 == pytest.approx(0.143, abs=0.06)
    assert at_3 < 0.08


def test_a_map_lies_on_its_atoms(structure):
    density, positions = reconstruct.reconstruct(structure, DRAWN, np.random.default_rng(3))
    truth = fidelity.Truth.of(positions, np.full(len(positions), 6, np.float32), shape=density.shape, spacing=1.3)
    shifted = [np.roll(density, shift, axis) for axis in range(3) for shift in (-1, 1)]
    best, *others = (fidelity.correlations(other, truth)["cc_box"] for other in (density, *shifted))
    assert best > 1.05 * max(others)


def test_a_digest_knows_a_map_but_for_rounding(structure):
    maps = [reconstruct.reconstruct(structure, DRAWN, np.random.default_rng(seed))[0] for seed in (3, 3, 4)]
    one, again, other = map(digest, maps)
    assert one == again
    assert agrees(one, digest(maps[0] * np.float32(1 + 1e-5)))
    assert not agrees(one, other)
    assert not agrees(one, digest(maps[0] * np.float32(1.01)))


def test_the_list_holds_what_it_says():
    maps = read_testset()
    assert len({frozen.name for frozen in maps}) == len({frozen.seed for frozen in maps}) == len(maps) >= 60
    for frozen in maps:
        assert is_test(frozen.name), frozen.name
        assert frozen.name not in OF_REAL_PAIRS
        drawn = reconstruct.draw(np.random.default_rng(frozen.seed))
        assert 4 <= drawn.resolution <= 8
        assert 0.8 <= drawn.spacing <= 2
        assert (round(drawn.resolution, 3), drawn.spacing, drawn.mask) == (
            frozen.resolution,
            frozen.spacing,
            frozen.mask,
        )


@pytest.mark.skipif("SAMU_DATA" not in os.environ, reason="SAMU_DATA does not name a folder of structures")
def test_a_frozen_map_is_made_again(tmp_path):
    [frozen] = [frozen for frozen in read_testset() if frozen.name == "1sen"]
    make_map(frozen, Path(os.environ["SAMU_DATA"]), tmp_path)
    with pytest.raises(ValueError, match="not the map"):
        make_map(dataclasses.replace(frozen, digest=read_testset()[0].digest), Path(), tmp_path)
    with pytest.raises(ValueError, match="not the structure"):
        make_map(dataclasses.replace(frozen, sha256="0"), Path(os.environ["SAMU_DATA"]), tmp_path / "other")


@pytest.fixture(scope="module")
def truth():
    rng = np.random.default_rng(2)
    positions = rng.uniform(14, 34, (400, 3)).astype(np.float32)
    return fidelity.Truth.of(positions, np.full(400, 7, np.float32), shape=(48, 48, 48), spacing=1.0)


def filtered(density, b, cut=0.0):
    frequency = fidelity._frequencies(density.shape, 1.0)
    spectrum = fft.rfftn(density) * np.exp(-0.25 * b * frequency**2)
    return fft.irfftn(spectrum * (frequency < cut if cut else 1), s=density.shape).astype(np.float32)


def test_resolution_is_where_the_detail_ends(truth):
    rng = np.random.default_rng(0)
    for d in (4.0, 6.5):
        noise = rng.normal(size=truth.target.shape)
        lost = filtered(truth.target, 0, 1 / d) + 1e-2 * (noise - filtered(noise, 0, 1 / d))
        assert fidelity.resolution(lost, truth.target, spacing=1.0) == pytest.approx(d, rel=0.08)
    assert fidelity.resolution(truth.target, truth.target, spacing=1.0) == 2.0


def test_the_best_b_undoes_a_blur(truth):
    best = fidelity.best_global_b(filtered(truth.target, 80), truth, resolution=4.0)
    assert best["b"] == pytest.approx(-80, abs=5)
    assert best["cc_box"] > 0.98  # sharpening ends at 0.4 1/A
    assert best["cc_mask"] > 0.95


def test_the_best_b_is_found_by_the_correlation_itself(truth):
    """Thin shells stand for all voxels."""
    rng = np.random.default_rng(1)
    density = filtered(truth.target + rng.normal(size=truth.target.shape), 60)
    spectra, frequency = [fft.rfftn(part) for part in (density, truth.target)], fidelity._frequencies((48,) * 3, 1.0)
    by_shells = fidelity._box_correlation(*spectra, frequency)
    for cut, b in ((0.0, -100.0), (5.0, 150.0)):
        sharpened = fft.irfftn(spectra[0] * fidelity._filter(frequency, cut, b), s=density.shape)
        expected = np.corrcoef(sharpened.ravel(), truth.target.ravel())[0, 1]
        assert by_shells(cut, b) == pytest.approx(expected, abs=1e-4)


GOOD = {"cc_box": 0.71, "cc_mask": 0.60, "d_fsc_05": 6.0, "d_fsc_05_masked": 5.0, "solvent": 0.02}
POOR = {"cc_box": 0.55, "cc_mask": 0.50, "d_fsc_05": 8.0, "d_fsc_05_masked": 6.0, "solvent": 0.06}


def judged(**after):
    return [
        Judged(frozen=frozen, deposited=POOR, best_b=POOR | {"cc_box": 0.60}, models={"m": GOOD | after})
        for frozen in read_testset()[:5]
    ]


def rows(entries, **after):
    pair = RealPair(name="p", entry="e", resolution=4.0, map=Path(), model=Path())
    before = dict.fromkeys(METRICS, 0.5) | {f"best_b_{name}": {"cc": 0.5} for name in ("cc_mask", "cc_box")}
    better = dict.fromkeys(METRICS, 0.6) | {"d_fsc_05": 0.4, "d_fsc_05_flat": 0.4} | after
    return [Row(dataclasses.replace(pair, entry=str(n)), before=before, after=better) for n in range(entries)]


def failed(simulated, real):
    return [gate.asked for gate in gates("m", simulated, real) if not gate.passed]


def test_gates_open_for_a_good_model_alone():
    assert failed(judged(), rows(5)) == []
    assert len(failed(judged(cc_box=0.66), rows(5))) == 1
    assert len(failed(judged(cc_box=0.59), rows(5))) == 2
    assert len(failed(judged(d_fsc_05=7.5), rows(5))) == 1
    assert len(failed(judged(solvent=0.04), rows(5))) == 1
    assert len(failed([*judged(), *judged(cc_box=0.54)[:1]], rows(5))) == 1
    assert len(failed(judged(), rows(5, d_fsc_05=0.6))) == 1
    assert len(failed(judged(), [*rows(5), *rows(1, cc_mask=0.47)])) == 1
    assert len(failed(judged(), [*rows(3), *rows(2, cc_mask=0.49)])) == 0  # entries "0" and "1" gain on the mean
