"""Real maps and models become the pairs that simulated ones are."""

import csv
import subprocess
import sys

import mrcfile
import numpy as np
import pytest

pytest.importorskip("torch")
gemmi = pytest.importorskip("gemmi")
pytest.importorskip("scipy")

from samu_training.atoms import read_atoms
from samu_training.crops import Crops
from samu_training.density import gaussians, target_density
from samu_training.real import at_another_sharpness, degraded, real_pair

ORIGIN = np.array([-14.0, 7.0, 21.0])  # ZYX


@pytest.fixture
def entry(tmp_path):
    """A map of 1.3 A whose first voxel lies elsewhere, and the model in it."""
    positions = np.random.default_rng(2).uniform(12, 40, (500, 3)).astype(np.float32)
    density = gaussians(positions, np.full(500, 6.0, np.float32), shape=(40, 42, 44), spacing=1.3, sigma=1.6)
    with mrcfile.new(tmp_path / "map.mrc") as mrc:
        mrc.set_data(density)
        mrc.voxel_size = 1.3
        mrc.header.origin = tuple(ORIGIN[::-1])
    return tmp_path / "map.mrc", _written(positions + ORIGIN, tmp_path / "model.pdb")


def _written(positions, path):
    structure, chain = gemmi.Structure(), gemmi.Chain("A")
    structure.add_model(gemmi.Model(1))
    for number, (z, y, x) in enumerate(positions):
        residue, atom = gemmi.Residue(), gemmi.Atom()
        residue.name, residue.seqid = "GLY", gemmi.SeqId(number + 1, " ")
        atom.name, atom.element, atom.pos = "CA", gemmi.Element("C"), gemmi.Position(x, y, z)
        residue.add_atom(atom)
        chain.add_residue(residue)
    structure[0].add_chain(chain)
    structure.write_pdb(str(path))
    return path


def test_a_real_map_lies_on_the_target_of_its_model(entry):
    source, target = real_pair(*entry).astype(np.float64)
    assert source.shape == target.shape == (52, 55, 57)
    # A PDB file holds three decimals; float16 three digits.
    positions = (read_atoms(entry[1]).positions - ORIGIN).astype(np.float32)
    expected = target_density(positions, np.full(500, 6.0, np.float32), shape=(52, 55, 57), spacing=1.0)
    np.testing.assert_allclose(target, expected / np.percentile(expected[expected > 0], 99.9), rtol=1e-3, atol=1e-5)
    # The map is the same atoms, blurred to a width of 1.6 A, on a coarser grid.
    blurred = gaussians(positions, np.full(500, 6.0, np.float32), shape=(52, 55, 57), spacing=1.0, sigma=1.6)
    assert np.corrcoef(source.ravel(), blurred.ravel())[0, 1] > 0.999


def test_a_degraded_map_shows_less_of_the_same(entry):
    """It stays in its place and on its grid, and what it holds beyond the drawn resolution is gone."""
    pair = real_pair(*entry)
    source, target = degraded(pair, 4.0, np.random.default_rng(3)).astype(np.float64)
    assert target.shape == source.shape
    assert all(n % 2 == 0 for n in source.shape)
    before, after = (np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in (pair.astype(np.float64), (source, target)))
    assert 0.2 < after < before
    correlation = np.fft.ifftn(np.fft.fftn(source) * np.fft.fftn(target).conj()).real
    assert np.unravel_index(correlation.argmax(), correlation.shape) == (0, 0, 0)


def test_a_map_at_another_sharpness_is_the_same_times_a_gaussian_of_frequency(entry, monkeypatch):
    """B = -2 d^2, d = 4 A, which doubles what lies at 3.4 A, read anew: its own percentile is 1."""
    pair = real_pair(*entry)
    pair[0, :9] = 0  # masked
    monkeypatch.setattr("samu_training.real.SHARPNESS", (-2.0, -2.0))
    source, target = at_another_sharpness(pair, 4.0, np.random.default_rng(3)).astype(np.float64)
    np.testing.assert_array_equal(target, pair[1])
    assert not source[:9].any()
    s = np.sqrt(sum(f**2 for f in np.meshgrid(*(np.fft.fftfreq(n) for n in source.shape), indexing="ij")))
    wanted = np.fft.ifftn(np.fft.fftn(pair[0].astype(np.float64)) * np.exp(8 * np.minimum(s, 0.3) ** 2)).real
    wanted[pair[0] == 0] = 0
    np.testing.assert_allclose(source, wanted / np.percentile(wanted[wanted != 0], 99.9), atol=3e-3)


def test_a_model_elsewhere_is_refused(entry, tmp_path):
    away = _written(np.full((3, 3), 500.0), tmp_path / "away.pdb")
    with pytest.raises(ValueError, match="lies outside"):
        real_pair(entry[0], away)


def test_what_was_accepted_becomes_a_folder_of_pairs(entry, tmp_path):
    with (tmp_path / "accepted.csv").open("w", newline="") as file:
        rows = [["pdb_id", "emdb_id", "resolution", "map", "model"], ["1abc", "EMD-1", "4.1", *entry]]
        csv.writer(file).writerows(rows)
    command = ["-m", "samu_training.real", tmp_path / "pairs", "--accepted", tmp_path / "accepted.csv"]
    command += ["--degraded", 1, "--resharpened", 2]
    subprocess.run([sys.executable, *map(str, command)], check=True, capture_output=True)
    written = [f"EMD-1_1abc{mark}.npy" for mark in ("", "_000", "_b_000", "_b_001")]
    assert (tmp_path / "pairs" / "structures.csv").read_text() == "".join(f"{name},model\n" for name in written)
    assert sorted(path.name for path in (tmp_path / "pairs").glob("*.npy")) == sorted(written)
    source, target = Crops(tmp_path / "pairs", edge=32).batch(np.random.default_rng(0), 2)
    assert source.any()
    assert target.any()
