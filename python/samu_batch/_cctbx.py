"""Phenix's own figures of a map and a model, from cctbx, in a process of its own.

A process of its own because gemmi imported before cctbx crashes Python. It reads one job (JSON) on standard input, and
answers with one JSON object on standard output; :mod:`samu_batch.evaluate` is its only caller there. No figure is
computed here: ``mmtbx.maps.map_model_cc`` is phenix.map_model_cc, ``mmtbx.maps.mtriage`` is phenix.mtriage.

The frame is the map's box: the first voxel at (0, 0, 0), cell as large as the box, P1. cctbx is XYZ; a job is ZYX.
"""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from typing import Any

TABLE = "electron"


@dataclass(frozen=True)
class Pair:
    """A map and a model in the frame of the map's box.

    ``map_data`` is flex.double, XYZ; ``hierarchy`` is iotbx's, without hydrogens; ``counts`` says how many atoms there
    are, how many lie outside the box, how many hydrogens were left out, and the mean B factor as deposited.
    """

    map_data: Any
    symmetry: Any
    hierarchy: Any
    counts: dict[str, Any]

    @property
    def structure(self) -> Any:
        """The model as an xray_structure that scatters electrons."""
        structure = self.hierarchy.extract_xray_structure(crystal_symmetry=self.symmetry)
        structure.scattering_type_registry(table=TABLE)
        return structure

    def with_flat_b(self, b: float) -> Pair:
        """Return the pair with one isotropic B factor (square angstrom) for all atoms."""
        from scitbx.array_family import flex

        hierarchy = self.hierarchy.deep_copy()
        atoms = hierarchy.atoms()
        atoms.set_b(flex.double(atoms.size(), b))
        atoms.set_uij(flex.sym_mat3_double(atoms.size(), (-1.0,) * 6))
        return replace(self, hierarchy=hierarchy)


def load_pair(job: dict[str, Any]) -> Pair:
    """Read the ``voxels`` (npy, ZYX) and the ``model`` of a job, and move the model by minus its ``placement``.

    Raises
    ------
    ValueError
        The model cannot be read, has no atoms, or lies outside the map.
    """
    import numpy as np
    from cctbx import crystal
    from scitbx.array_family import flex

    voxels = np.load(job["voxels"], mmap_mode="r").transpose(2, 1, 0)
    box = [n * s for n, s in zip(voxels.shape, job["spacing"][::-1], strict=True)]
    hierarchy = _read_model(job["model"])
    heavy = hierarchy.select(hierarchy.atom_selection_cache().selection("not (element H or element D)"))
    atoms = heavy.atoms()
    atoms.reset_i_seq()
    for atom in atoms:
        atom.set_charge("")  # tables of electron scattering have neutral atoms, few ions
    xyz = atoms.extract_xyz() - tuple(job["placement"][::-1])
    atoms.set_xyz(xyz)
    inside = sum(all(0 <= x <= edge for x, edge in zip(site, box, strict=True)) for site in xyz)
    counts = {
        "atoms": atoms.size(),
        "atoms_outside": atoms.size() - inside,
        "hydrogens_left_out": hierarchy.atoms_size() - atoms.size(),
        "mean_b": flex.mean(atoms.extract_b()) if atoms.size() else None,
    }
    if not atoms.size():
        raise ValueError(f"{job['model']}: no atoms but hydrogens in it")
    if inside < atoms.size() / 2:
        raise ValueError(
            f"the model lies outside the map: {atoms.size() - inside} of its {atoms.size()} atoms do, its centre is"
            f" at {_spelled(xyz.mean())} of a box of {_spelled(box)} A (X Y Z)"
        )
    return Pair(
        map_data=flex.double(np.ascontiguousarray(voxels, dtype=np.float64)),
        symmetry=crystal.symmetry(unit_cell=(*box, 90, 90, 90), space_group_symbol="P1"),
        hierarchy=heavy,
        counts=counts,
    )


def correlations(pair: Pair, *, resolution: float) -> dict[str, Any]:
    """Return phenix.map_model_cc's figures, with its chains and residues."""
    from mmtbx.maps import map_model_cc

    params = map_model_cc.master_params().extract().map_model_cc
    params.resolution, params.scattering_table = resolution, TABLE
    run = map_model_cc.map_model_cc(
        map_data=pair.map_data, pdb_hierarchy=pair.hierarchy, crystal_symmetry=pair.symmetry, params=params
    )
    run.validate()
    run.run()
    found = run.get_results()
    named = ("chain_id", "resname", "resseq", "icode", "n_atoms", "b_iso_mean", "cc")
    return {
        **{name: getattr(found, name) for name in ("cc_box", "cc_mask", "cc_volume", "cc_peaks")},
        "chains": [
            {name: _word(chain, name) for name in named if hasattr(chain, name)} for chain in found.cc_per_chain
        ],
        "residues": [{name: _word(residue, name) for name in named} for residue in found.cc_per_residue],
    }


def triage(pair: Pair, *, resolution: float) -> dict[str, Any]:
    """Return phenix.mtriage's map-model figures, with and without its mask around the model."""
    from mmtbx.maps import mtriage

    params = mtriage.master_params().extract()
    params.resolution, params.scattering_table = resolution, TABLE
    run = mtriage.mtriage(
        map_data=pair.map_data, xray_structure=pair.structure, crystal_symmetry=pair.symmetry, params=params
    )
    found = run.get_results()
    return {name: _triaged(getattr(found, name)) for name in ("masked", "unmasked")}


def _triaged(found: Any) -> dict[str, Any]:
    curve = found.fsc_curve_model
    return {
        "d_fsc_05": found.d_fsc_model_05,
        "d_model": found.d_model,
        "fsc": {"inverse_d": list(curve.d_inv), "fsc": list(curve.fsc)},
    }


def _read_model(path: str) -> Any:
    import iotbx.pdb

    try:
        hierarchy = iotbx.pdb.input(file_name=path).construct_hierarchy()
        hierarchy.atoms().set_chemical_element_simple_if_necessary()
    except Exception as error:  # iotbx has no one class for what a file can be
        raise ValueError(f"{path} cannot be read as a PDB or mmCIF model: {error}") from error
    if not hierarchy.atoms_size():
        raise ValueError(f"{path}: there are no atoms in it")
    return hierarchy


def _word(found: Any, name: str) -> Any:
    value = getattr(found, name)
    return value.strip() if isinstance(value, str) else value


def _spelled(triple: Any) -> str:
    return " ".join(f"{edge:.1f}" for edge in triple)


def _answer(job: dict[str, Any]) -> dict[str, Any]:
    try:
        pair = load_pair(job)
        pairs = {"deposited": pair, "flat": pair.with_flat_b(job["flat_b"])}
        figures = {
            name: {
                **correlations(of, resolution=job["resolution"]),
                **triage(of, resolution=job["resolution"]),
            }
            for name, of in pairs.items()
        }
    except ImportError as error:
        return {"missing": str(error)}
    except Exception as error:  # cctbx raises Sorry, AssertionError and RuntimeError for what is wrong with a pair
        return {"error": " ".join(str(error).split()) or repr(error)}
    return {**pair.counts, **figures}


def main() -> None:
    """Answer one job; what cctbx prints goes to standard error."""
    with redirect_stdout(sys.stderr):
        answer = _answer(json.load(sys.stdin))
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
