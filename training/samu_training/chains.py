"""Which models a network may learn from: whole protein, and no two alike.

Source: CryoSAMU, section 3.1 (the filters on PDB structures).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gemmi

BACKBONE = frozenset("N CA C O OXT CB".split())  # noqa: SIM905
"""Atoms of a residue that was cut back to its backbone; CB is what a poly-alanine trace keeps, so alanines count so."""
WHOLE_SHARE = 0.5
"""Of a chain's residues at least this share has side chain atoms, or it is a trace of the backbone."""
SHORTEST = 30
"""Residues of a chain whose sequence is compared: shorter ones are alike by chance."""


def refuse_model(structure: gemmi.Structure) -> str | None:
    """Return why a model cannot be learnt from: not only protein, unknown residues, backbone only; None if it can.

    Sugars, ligands and water are allowed: "other macromolecules" are taken to be nucleic acids and other polymers.
    Call ``structure.setup_entities()`` first where the file is no mmCIF.
    """
    import gemmi

    peptides = (gemmi.PolymerType.PeptideL, gemmi.PolymerType.PeptideD)
    polymers = [entity for entity in structure.entities if entity.entity_type == gemmi.EntityType.Polymer]
    others = sorted({entity.polymer_type.name for entity in polymers if entity.polymer_type not in peptides})
    if others:
        return f"not only protein: a polymer of kind {', '.join(others)}"
    if not polymers:
        return "not only protein: no polymer at all"
    for chain in structure[0]:
        unknown = sum(residue.name == "UNK" for residue in chain)
        if unknown:
            return f"unknown residues: {unknown} UNK in chain {chain.name}"
        if _is_trace(chain):
            return f"backbone only: chain {chain.name}"
    return None


def _is_trace(chain: gemmi.Chain) -> bool:
    residues = [residue for residue in chain.get_polymer() if residue.name != "GLY"]
    whole = sum(any(atom.name not in BACKBONE and not atom.is_hydrogen() for atom in each) for each in residues)
    return whole < WHOLE_SHARE * len(residues)


def sequences(structure: gemmi.Structure) -> set[tuple[str, ...]]:
    """Return the different sequences (three-letter names) of the modelled chains that are long enough to compare."""
    chains = (tuple(residue.name for residue in chain.get_polymer()) for chain in structure[0])
    return {sequence for sequence in chains if len(sequence) >= SHORTEST}


def identity(a: tuple[str, ...], b: tuple[str, ...]) -> float:
    """Return the identical residues of a global alignment (BLOSUM62, affine gaps), as a share of the shorter one."""
    import gemmi

    aligned = gemmi.align_string_sequences(list(a), list(b), [], gemmi.AlignmentScoring("b"))
    return int(aligned.match_count) / min(len(a), len(b))
