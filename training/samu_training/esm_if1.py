"""ESM-IF1's encoder by fair-esm: backbones to embeddings of residues.

fair-esm 2.0.0 asks for torch_scatter, which is compiled against each torch, and for a name that biotite 1.0 removed;
:func:`_import_esm` puts what it needs in their place. Structures are read by gemmi: fair-esm's own reader does not
work with biotite 1.x.

The weights (``esm_if1_gvp4_t16_142M_UR50.pt``, 142 M parameters) come from a local file, read without unpickling
anything but tensors and an ``argparse.Namespace``. They could not be had where this was written: it was tested with
random weights of the same architecture, saved in the same format, and never with the published ones.

fair-esm sets unknown coordinates to zero, the padding at both ends of each chain among them, so its embedding depends
on where the chain lies: with random weights 30 A of shift moved the rows at the ends of a helix by half of a standard
deviation, all others by a fiftieth. Each chain is therefore moved to its own centre first, which the paper does not
mention.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

NAME = "esm_if1_gvp4_t16_142M_UR50"
BACKBONE = ("N", "CA", "C")
STANDARD = frozenset(
    "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL".split()  # noqa: SIM905
)


def read_backbones(path: Path) -> list[NDArray[np.float32]]:
    """Read the chains of a structure file's first model; of alternative positions the first.

    Returns
    -------
    list
        For each chain with any, the standard residues whose backbone is complete: (L, 3, 3), residue, then N, CA, C,
        then x, y, z in angstrom. What is left out leaves no gap, as in the paper.

    Raises
    ------
    ValueError, RuntimeError
        It is no structure that gemmi reads, or it holds no such residue.
    """
    import gemmi

    structure = gemmi.read_structure(str(path))
    structure.remove_alternative_conformations()
    backbones = []
    for chain in structure[0] if len(structure) else ():
        rows = []
        for residue in chain:
            atoms = {atom.name: atom.pos.tolist() for atom in residue if residue.name in STANDARD}
            if all(name in atoms for name in BACKBONE):
                rows.append([atoms[name] for name in BACKBONE])
        if rows:
            backbones.append(np.array(rows, np.float32))
    if not backbones:
        raise ValueError(f"{path} holds no standard residue with its whole backbone")
    return backbones


class Encoder:
    """ESM-IF1's encoder, frozen.

    Parameters
    ----------
    weights
        A checkpoint as fair-esm publishes it.
    device
        Of torch.

    Attributes
    ----------
    sha256
        Of the weights' file.

    Raises
    ------
    ImportError
        fair-esm, torch-geometric or biotite is missing.
    pickle.UnpicklingError
        The file holds more than tensors and a Namespace.
    RuntimeError
        The weights are not of this architecture.
    """

    def __init__(self, weights: Path, *, device: str = "cpu") -> None:
        esm = _import_esm()
        with weights.open("rb") as file:
            self.sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        with torch.serialization.safe_globals([argparse.Namespace]):
            checkpoint = torch.load(weights, map_location="cpu", weights_only=True)
        with warnings.catch_warnings():
            # Contact heads are of sequence models; fair-esm warns for every model without one.
            warnings.filterwarnings("ignore", "Regression weights not found")
            model, alphabet = esm.pretrained.load_model_and_alphabet_core(NAME, checkpoint)
        self._encoder = model.encoder.to(device).eval()
        self._batch = esm.inverse_folding.util.CoordBatchConverter(alphabet)
        self._device = device

    def encode(self, backbone: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed a chain.

        Parameters
        ----------
        backbone
            (L, 3, 3) as :func:`read_backbones` has it, NaN where unknown; at least one residue is known.

        Returns
        -------
        NDArray
            float32 (L, 512); the same, but for rounding, wherever the chain lies and however it is turned.
        """
        centred = (backbone - np.nanmean(backbone, axis=(0, 1), dtype=np.float64)).astype(np.float32)
        with torch.no_grad():
            coordinates, confidence, _, _, padding = self._batch([(centred, None, None)], device=self._device)
            output = self._encoder(coordinates, padding, confidence, return_all_hiddens=False)
        embedding: NDArray[np.float32] = output["encoder_out"][0][1:-1, 0].cpu().numpy()
        return embedding


def _import_esm() -> Any:
    """Import fair-esm with its inverse folding, in whose way torch_scatter and biotite 1.x stand."""
    # torch_geometric looks for torch_scatter as it is imported: it must not find the stand-in.
    geometric = importlib.import_module("torch_geometric.utils")
    if importlib.util.find_spec("torch_scatter") is None:
        sys.modules["torch_scatter"] = _stand_in_for_scatter(geometric)
    structure = importlib.import_module("biotite.structure")
    if not hasattr(structure, "filter_backbone"):
        structure.filter_backbone = structure.filter_peptide_backbone  # type: ignore[attr-defined]
    importlib.import_module("esm.inverse_folding")
    importlib.import_module("esm.pretrained")
    return importlib.import_module("esm")


def _stand_in_for_scatter(geometric: types.ModuleType) -> types.ModuleType:
    def scatter(
        source: torch.Tensor, index: torch.Tensor, dim: int = -1, dim_size: int | None = None, reduce: str = "sum"
    ) -> Any:
        return geometric.scatter(source, index, dim=dim, dim_size=dim_size, reduce=reduce)

    module = types.ModuleType("torch_scatter")
    module.__spec__ = importlib.machinery.ModuleSpec("torch_scatter", loader=None)
    module.scatter = module.scatter_add = scatter  # type: ignore[attr-defined]
    return module
