"""How well a map agrees with an atomic model: the numbers that papers report, computed by phenix's own code.

cctbx (extra ``evaluate``) does the work, in a process of its own (:mod:`samu_batch._cctbx`). What is ours is the frame:
the first voxel lies where :meth:`samu_batch.mrc.MapHeader.placement` puts it, as for every other map of samu-batch.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samu_batch.errors import EmptyMapError, NonFiniteError
from samu_batch.files import reading
from samu_batch.mrc import read_header
from samu_batch.unpack import unpack_map

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from samu_batch.mrc import MapHeader

FLAT_B = 30.0
"""Square angstrom: about that of a well ordered protein, so that the reference is sharp."""

INSTALL = "evaluation needs cctbx and matplotlib: pip install 'samu-batch[evaluate]'"
CORRELATIONS = ("cc_box", "cc_mask", "cc_volume", "cc_peaks")


class EvaluationError(ValueError):
    """The map and the model cannot be compared; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Agreement of a map with a model.

    Attributes
    ----------
    map, model, resolution, flat_b
        What was compared: files, angstrom, square angstrom.
    atoms, atoms_outside, hydrogens_left_out, mean_b
        Of the model; the mean B factor as deposited, in square angstrom.
    deposited, flat
        Figures against the model with its own B factors, and with ``flat_b`` for every atom: ``cc_box``, ``cc_mask``,
        ``cc_volume``, ``cc_peaks``; ``chains`` and ``residues``, each with its ``cc``; ``masked`` and ``unmasked``,
        each with ``d_fsc_05`` and ``d_model`` in angstrom and the curve ``fsc`` over ``inverse_d`` (1/angstrom).
    """

    map: str
    model: str
    resolution: float
    flat_b: float
    atoms: int
    atoms_outside: int
    hydrogens_left_out: int
    mean_b: float
    deposited: dict[str, Any]
    flat: dict[str, Any]

    def to_json(self) -> str:
        """Return all figures as one line of JSON."""
        return json.dumps(dataclasses.asdict(self))


def evaluate_map(map_path: Path, model: Path, *, resolution: float, flat_b: float = FLAT_B) -> Evaluation:
    """Compare a map with an atomic model.

    Parameters
    ----------
    map_path, model
        An MRC/CCP4 map, and a PDB or mmCIF file; each may be gzip.
    resolution
        To which the model's map is computed, in angstrom.
    flat_b
        B factor of the second reference, in square angstrom.

    Raises
    ------
    SamuError
        The map cannot be read, is empty, or holds NaN.
    EvaluationError
        cctbx is missing; the model cannot be read or lies outside the map.
    """
    with reading(model), tempfile.TemporaryDirectory(prefix="samu-batch-") as scratch:
        job = write_job(map_path, model, Path(scratch))
        worker = [sys.executable, "-P", str(Path(__file__).with_name("_cctbx.py"))]
        answer = ask(worker, {**job, "resolution": resolution, "flat_b": flat_b})
    return Evaluation(map=str(map_path), model=str(model), resolution=resolution, flat_b=flat_b, **answer)


def write_job(map_path: Path, model: Path, scratch: Path) -> dict[str, Any]:
    """Write a map's voxels into ``scratch``; return the job for :mod:`samu_batch._cctbx` that names them (ZYX, A).

    Raises
    ------
    SamuError
        The map cannot be read, is empty, or holds NaN.
    """
    unpacked = unpack_map(read_header(map_path), scratch)
    header = unpacked.header
    voxels = _voxels(unpacked.path, header)
    if not np.isfinite(voxels).all():
        raise NonFiniteError(f"{map_path}: some voxels are NaN or infinite")
    if not voxels.any():
        raise EmptyMapError(f"{map_path}: every voxel is zero")
    np.save(scratch / "voxels.npy", voxels)
    return {
        "voxels": str(scratch / "voxels.npy"),
        "spacing": header.spacing,
        "placement": header.placement(),
        "model": str(model.absolute()),
    }


def ask(worker: list[str], job: Mapping[str, Any]) -> dict[str, Any]:
    """Run a process of cctbx on one job, and return its answer.

    Raises
    ------
    EvaluationError
        It says what is wrong, or it died.
    """
    ran = subprocess.run(worker, input=json.dumps(job), capture_output=True, text=True, check=False)
    if ran.returncode:
        last = (ran.stderr.strip().splitlines() or ["no message"])[-1]
        raise EvaluationError(f"cctbx ended with status {ran.returncode}: {last}")
    answer: dict[str, Any] = json.loads(ran.stdout)
    if "missing" in answer:
        raise EvaluationError(f"{INSTALL} ({answer['missing']})")
    if "error" in answer:
        raise EvaluationError(answer["error"])
    return answer


def write_tables(evaluation: Evaluation, folder: Path) -> None:
    """Write ``chains.csv``, ``residues.csv``, ``fsc.csv`` and ``evaluation.json`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, keys in (("chains", ["chain_id"]), ("residues", ["chain_id", "resname", "resseq", "icode"])):
        both = zip(evaluation.deposited[name], evaluation.flat[name], strict=True)
        rows = [[*(d[key] for key in keys), d["n_atoms"], d["b_iso_mean"], d["cc"], f["cc"]] for d, f in both]
        _write_csv(folder / f"{name}.csv", [*keys, "atoms", "mean_b", "cc_deposited_b", "cc_flat_b"], rows)
    masked, unmasked = (evaluation.flat[mask]["fsc"] for mask in ("masked", "unmasked"))
    rows = [list(row) for row in zip(masked["inverse_d"], masked["fsc"], unmasked["fsc"], strict=True)]
    _write_csv(folder / "fsc.csv", ["inverse_d", "fsc_masked", "fsc_unmasked"], rows)
    (folder / "evaluation.json").write_text(evaluation.to_json() + "\n")


def draw(evaluation: Evaluation, path: Path) -> None:
    """Draw the FSC with the model, and the CC of every residue, into a picture.

    Raises
    ------
    EvaluationError
        matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EvaluationError(f"{INSTALL} ({error})") from error
    figure = Figure(figsize=(9, 7), layout="constrained")
    fsc, residues = figure.subplots(2, 1)
    for mask in ("masked", "unmasked"):
        curve = evaluation.flat[mask]["fsc"]
        fsc.plot(curve["inverse_d"], curve["fsc"], label=mask)
    fsc.axhline(0.5, color="0.7", linewidth=0.8)
    fsc.set(xlabel="1 / resolution (1/Å)", ylabel="FSC with the model", ylim=(-0.2, 1.05))
    fsc.legend()
    first = 0
    for chain, ccs in _by_chain(evaluation.flat["residues"]):
        residues.plot(range(first, first + len(ccs)), ccs, linewidth=0.9, label=f"chain {chain}")
        first += len(ccs)
    residues.set(xlabel="residue, in the order of the model", ylabel=f"CC, flat B of {evaluation.flat_b:g} Å²")
    residues.legend(fontsize="small", ncols=6)
    figure.savefig(path, dpi=120)


def _by_chain(residues: Iterable[Mapping[str, Any]]) -> list[tuple[str, list[float]]]:
    chains: dict[str, list[float]] = {}
    for residue in residues:
        chains.setdefault(residue["chain_id"], []).append(residue["cc"])
    return list(chains.items())


def _voxels(path: Path, header: MapHeader) -> np.ndarray:
    """Return a map's voxels, float32 ZYX."""
    stored = np.memmap(path, dtype=header.dtype, mode="r", offset=header.offset, shape=header.file_shape)
    return np.ascontiguousarray(stored.transpose(np.argsort(header.axes)), dtype=np.float32)


def _write_csv(path: Path, names: list[str], rows: Iterable[list[Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows)
