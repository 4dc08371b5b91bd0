"""The target density is that of TEMPy, which the paper's targets were made with."""

import importlib.util
import warnings

import numpy as np
import pytest

pytest.importorskip("scipy")

from samu_training.density import target_density

if importlib.util.find_spec("TEMPy") is None:
    # It asks for versions of gemmi and biopython that exclude those of today, and runs with these all the same.
    pytest.skip("TEMPy is missing: pip install --no-deps biotempy biopython", allow_module_level=True)


def tempy_density(path, shape):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that scipy will drop
        from TEMPy.maps.em_map import Map
        from TEMPy.protein.structure_blurrer import StructureBlurrer
        from TEMPy.protein.structure_parser import PDBParser

        structure = PDBParser.read_PDB_file("atoms", str(path), hetatm=True, water=True)
        empty = Map(np.zeros(shape), [0.0, 0.0, 0.0], np.ones(3), "empty")
        return StructureBlurrer().gaussian_blur_real_space(structure, 2.0, densMap=empty, normalise=False).fullMap


def test_the_target_is_tempys(tmp_path):
    """Up to one factor; the atoms are at voxels, where TEMPy puts them, and carbon, whose mass it takes for Z."""
    shape = (24, 20, 28)
    sites = np.random.default_rng(0).integers(5, np.array(shape) - 5, (60, 3))
    lines = [
        f"ATOM  {n:5d}  CA  ALA A{n:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00 20.00           C"
        for n, (z, y, x) in enumerate(sites, 1)
    ]
    (tmp_path / "atoms.pdb").write_text("\n".join([*lines, "END", ""]))
    expected = tempy_density(tmp_path / "atoms.pdb", shape)
    found = target_density(sites.astype(np.float32), np.full(60, 6, np.float32), shape=shape, spacing=1.0)
    factor = found.sum() / expected.sum()
    np.testing.assert_allclose(found, expected * factor, atol=2e-3 * found.max())
