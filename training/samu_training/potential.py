"""Electron potential of a structure in ice, for the test set: gemmi's, not the Gaussians that are trained on.

Form factors are those of International Tables, volume C, table 4.3.2.2; gemmi also marks the solvent. Frozen, as
:mod:`samu_training.reconstruct` is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import fft
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from pathlib import Path

    import gemmi
    from numpy.random import Generator
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Spectrum = NDArray[np.complex128]

FINE = 1.0
"""Angstrom: the potential is computed on a grid at least as fine, and cut in Fourier space to the map's."""
MICELLE_REACH = 3.0, 17.0
"""Angstrom from the protein between which detergent lies."""


def read_sites(path: Path, *, mean_b: float) -> Floats:
    """Return the heavy atoms of a structure's first model, as :func:`samu_training.atoms.read_atoms` does.

    Returns
    -------
    NDArray
        (N, 5): ZYX in angstrom, atomic number, B factor in square angstrom. B factors vary as those deposited do, or as
        the inverse weighted contact number (Lin et al. 2008, Proteins 72, 929) where none are.
    """
    import gemmi

    structure = gemmi.read_structure(str(path))
    structure.remove_hydrogens()
    structure.remove_waters()
    structure.remove_alternative_conformations()
    structure.remove_empty_chains()
    atoms = [cra.atom for cra in structure[0].all() if cra.residue.name != "DUM"]
    positions = np.array([atom.pos.tolist()[::-1] for atom in atoms])
    b = np.array([atom.b_iso for atom in atoms])
    if b.std() < 0.1 * b.mean() or b.mean() < 1:
        tree = cKDTree(positions)
        near = tree.sparse_distance_matrix(tree, 15.0).tocsr()
        near.data = 1 / np.maximum(near.data, 1) ** 2  # each atom counts itself alike
        b = 1 / near.sum(axis=1).A1
    shares = np.clip(b / b.mean(), 0.4, 2.5)
    numbers = [atom.element.atomic_number for atom in atoms]
    return np.column_stack([positions, numbers, mean_b * shares / shares.mean()])


def detergent(positions: Floats, rng: Generator, *, b: float) -> Floats:
    """Return sites of carbon around a molecule: as dense as lipid tails in a belt 22 A high, as heads at its rims."""
    low, high = positions.min(axis=0) - 17, positions.max(axis=0) + 17
    axis = np.linalg.svd(positions - positions.mean(axis=0), full_matrices=False)[2][rng.integers(3)]
    places = rng.uniform(low, high, (int(0.055 * np.prod(high - low)), 3))
    distance, _ = cKDTree(positions).query(places)
    height = np.abs((places - positions.mean(axis=0)) @ axis)
    belt = (distance > MICELLE_REACH[0]) & (distance < MICELLE_REACH[1]) & (height < 16)
    places = places[belt & ((height > 11) | (rng.random(len(places)) < 0.55))]
    rest = np.tile([6.0, b], (len(places), 1))
    return np.hstack([places, rest])


def electron_potential(
    sites: Floats, *, shape: tuple[int, int, int], spacing: float, ice: float, ice_b: float
) -> Spectrum:
    """Return the transform of atoms in ice.

    Parameters
    ----------
    sites
        As :func:`read_sites` gives them, in angstrom from the first voxel.
    shape, spacing
        Of the map: even numbers of voxels ZYX, angstrom.
    ice, ice_b
        Potential of the ice over the mean of the atoms where they are; how blurred its border with them is.

    Returns
    -------
    NDArray
        That of a real (D, H, W) in scipy's order, without what the grid cannot hold; zero far from the atoms.
    """
    import gemmi

    finer = int(np.ceil(spacing / FINE))
    fine = tuple(n * finer for n in shape)
    structure = _structure(sites, [n * spacing for n in shape])
    calculator = gemmi.DensityCalculatorE()
    calculator.grid.unit_cell, calculator.grid.spacegroup = structure.cell, gemmi.SpaceGroup("P 1")
    calculator.grid.set_size(*fine)
    calculator.cutoff = 1e-4
    calculator.put_model_density_on_grid(structure[0])
    atoms = calculator.grid.array.astype(np.float64)
    solvent = gemmi.FloatGrid(*fine)
    solvent.set_unit_cell(structure.cell)
    gemmi.SolventMasker(gemmi.AtomicRadiiSet.Cctbx).put_mask_on_float_grid(solvent, structure[0])
    displaced = 1 - solvent.array.astype(np.float64)
    level = ice * atoms.sum() / displaced.sum()
    blur = np.exp(-0.25 * ice_b * frequencies(fine, spacing / finer) ** 2)
    return _cropped(fft.rfftn(atoms) - level * fft.rfftn(displaced) * blur, fine, shape)


def _structure(sites: Floats, edges: list[float]) -> gemmi.Structure:
    """ZYX is handed to gemmi as its XYZ, so that its arrays are ZYX."""
    import gemmi

    structure = gemmi.Structure()
    structure.cell, structure.spacegroup_hm = gemmi.UnitCell(edges[0], edges[1], edges[2], 90, 90, 90), "P 1"
    structure.add_model(gemmi.Model(1))
    structure[0].add_chain(gemmi.Chain("A"))
    residue = gemmi.Residue()
    for z, y, x, number, b in sites:
        atom = gemmi.Atom()
        atom.pos, atom.element, atom.b_iso = gemmi.Position(z, y, x), gemmi.Element(int(number)), b
        residue.add_atom(atom)
    structure[0][0].add_residue(residue)
    return structure


def _cropped(spectrum: Spectrum, fine: tuple[int, ...], shape: tuple[int, ...]) -> Spectrum:
    """Keep the frequencies that a coarser grid can hold; its first voxel stays where it is."""
    for axis in (0, 1):
        half = shape[axis] // 2
        spectrum = np.delete(spectrum, np.s_[half : fine[axis] - half], axis=axis)
    cropped: Spectrum = spectrum[:, :, : shape[2] // 2 + 1] * (np.prod(shape) / np.prod(fine))
    return cropped


def frequencies(shape: tuple[int, ...], spacing: float) -> Floats:
    """Return 1/angstrom of each coefficient of a real transform."""
    z, y, x = np.ix_(fft.fftfreq(shape[0], spacing), fft.fftfreq(shape[1], spacing), fft.rfftfreq(shape[2], spacing))
    frequency: Floats = np.sqrt(z**2 + y**2 + x**2)
    return frequency
