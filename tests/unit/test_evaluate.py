"""Evaluation by cctbx, which runs in a process of its own: here gemmi, imported first, may compute the maps."""

import csv
import gzip
import importlib.util
import json
import subprocess
import sys

import gemmi
import numpy as np
import pytest
from click.testing import CliRunner

from samu_batch.cli import cli
from samu_batch.errors import EmptyMapError, NonFiniteError, SamuError
from samu_batch.evaluate import CORRELATIONS, EvaluationError, evaluate_map

needs_cctbx = pytest.mark.skipif(importlib.util.find_spec("cctbx") is None, reason="cctbx (extra evaluate) is missing")

SHAPE = (44, 36, 40)  # ZYX
SPACING = (1.0, 1.1, 0.9)
B = 60.0
RESOLUTION = 2.5


def helix(*, residues=14, centre=(18.0, 19.8, 22.0), hydrogens=False, b=B):
    """Return an ideal helix along z around `centre` (XYZ): chains A and B, one after the other."""
    structure = gemmi.Structure()
    structure.add_model(gemmi.Model(1))
    for name in "AB":
        structure[0].add_chain(gemmi.Chain(name))
    # radius, turn in degrees, rise in angstrom: of an alpha helix
    backbone = {"N": (1.5, -28.0, -0.9), "CA": (2.3, 0.0, 0.0), "C": (1.6, 26.0, 1.1), "O": (2.0, 26.0, 2.3)}
    backbone |= {"CB": (3.3, -10.0, -0.4)} | ({"HA": (3.0, 15.0, -0.6), "H": (1.6, -30.0, -1.9)} if hydrogens else {})
    for number in range(residues):
        residue = gemmi.Residue()
        residue.name, residue.seqid = "ALA", gemmi.SeqId(str(number + 1))
        for name, (radius, turn, rise) in backbone.items():
            atom = gemmi.Atom()
            atom.name, atom.element, atom.b_iso = name, gemmi.Element(name[0]), b
            angle = np.radians(100 * number + turn)
            z = 1.5 * (number - residues / 2) + rise
            atom.pos = gemmi.Position(*np.add(centre, (radius * np.cos(angle), radius * np.sin(angle), z)))
            residue.add_atom(atom)
        structure[0]["A" if number < residues // 2 else "B"].add_residue(residue)
    return structure


def density(structure):
    """Return the map that electrons see of a structure in the box, ZYX."""
    calculator = gemmi.DensityCalculatorE()
    box = [n * s for n, s in zip(SHAPE[::-1], SPACING[::-1], strict=True)]
    calculator.grid.set_unit_cell(gemmi.UnitCell(*box, 90, 90, 90))
    calculator.grid.spacegroup = gemmi.SpaceGroup("P1")
    calculator.grid.set_size(*SHAPE[::-1])
    calculator.put_model_density_on_grid(structure[0])
    return np.array(calculator.grid, copy=True).transpose(2, 1, 0)


def write_model(path, structure, *, shift=(0.0, 0.0, 0.0)):
    """Write a structure moved by `shift` (XYZ), in the format that the name says."""
    moved = structure.clone()
    for site in moved[0].all():
        site.atom.pos += gemmi.Position(*shift)
    moved.setup_entities()
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    text = moved.make_mmcif_document().as_string() if plain.suffix == ".cif" else moved.make_pdb_string()
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.fixture(scope="module")
def voxels():
    return density(helix())


@pytest.fixture(scope="module")
def plain(tmp_path_factory, voxels, make_map):
    """The map, the model and their evaluation, in the simplest frame."""
    folder = tmp_path_factory.mktemp("evaluate")
    map_path = make_map(folder / "helix.mrc", voxels, spacing=SPACING)
    model = write_model(folder / "helix.pdb", helix())
    return map_path, model, evaluate_map(map_path, model, resolution=RESOLUTION)


def assert_same_figures(found, expected, *, tolerance=2e-3):
    for which in ("deposited", "flat"):
        one, other = getattr(found, which), getattr(expected, which)
        for name in CORRELATIONS:
            assert one[name] == pytest.approx(other[name], abs=tolerance), (which, name)
        for part in ("chains", "residues"):
            ccs = [[of["cc"] for of in side[part]] for side in (one, other)]
            assert ccs[0] == pytest.approx(ccs[1], abs=tolerance), (which, part)


@needs_cctbx
def test_a_map_agrees_with_the_model_it_was_computed_from(plain):
    _, _, found = plain
    assert all(found.deposited[name] > 0.97 for name in CORRELATIONS)
    assert all(residue["cc"] > 0.95 for residue in found.deposited["residues"])
    assert min(found.deposited["masked"]["fsc"]["fsc"][:5]) > 0.95
    assert [chain["chain_id"] for chain in found.deposited["chains"]] == ["A", "B"]
    assert (found.atoms, found.atoms_outside, found.mean_b) == (70, 0, pytest.approx(B))


@needs_cctbx
def test_a_flat_b_is_another_reference_and_the_same_one_where_the_model_has_it(plain):
    map_path, model, found = plain
    assert found.flat["cc_box"] < found.deposited["cc_box"] - 0.005
    same = evaluate_map(map_path, model, resolution=RESOLUTION, flat_b=B)
    assert {name: same.flat[name] for name in CORRELATIONS} == {name: same.deposited[name] for name in CORRELATIONS}


@needs_cctbx
@pytest.mark.parametrize(
    ("name", "header", "shift"),
    [
        ("whole.mrc", {"origin": (-30.0, 11.0, 45.0)}, (45.0, 11.0, -30.0)),
        ("fraction.mrc", {"origin": (-30.37, 11.21, 45.63)}, (45.63, 11.21, -30.37)),
        ("start.map", {"nstart": (-10, 20, 30)}, (27.0, 22.0, -10.0)),
        ("both.map", {"nstart": (-10, 20, 30), "origin": (5.0, 5.0, 5.0)}, (27.0, 22.0, -10.0)),
        ("axes.mrc", {"axes": (2, 0, 1), "origin": (-30.37, 11.21, 45.63)}, (45.63, 11.21, -30.37)),
    ],
)
def test_the_frame_of_the_map_changes_nothing(tmp_path, voxels, plain, make_map, name, header, shift):
    map_path = make_map(tmp_path / name, voxels, spacing=SPACING, **header)
    model = write_model(tmp_path / "moved.pdb", helix(), shift=shift)
    assert_same_figures(evaluate_map(map_path, model, resolution=RESOLUTION), plain[2])


@needs_cctbx
def test_a_model_moved_by_a_voxel_agrees_less(tmp_path, plain):
    moved = write_model(tmp_path / "moved.pdb", helix(), shift=(0.9, 0.0, 0.0))
    found = evaluate_map(plain[0], moved, resolution=RESOLUTION)
    assert found.deposited["cc_mask"] < plain[2].deposited["cc_mask"] - 0.1


@needs_cctbx
def test_hydrogens_are_left_out(tmp_path, plain):
    model = write_model(tmp_path / "hydrogens.pdb", helix(hydrogens=True))
    found = evaluate_map(plain[0], model, resolution=RESOLUTION)
    assert (found.atoms, found.hydrogens_left_out) == (70, 28)
    assert_same_figures(found, plain[2], tolerance=1e-9)


@needs_cctbx
def test_charged_atoms_count_as_neutral_ones(tmp_path, plain):
    charged = helix()
    charged[0]["A"][3]["O"][0].charge = -1
    model = write_model(tmp_path / "charged.pdb", charged)
    assert "O1-" in model.read_text()
    assert_same_figures(evaluate_map(plain[0], model, resolution=RESOLUTION), plain[2], tolerance=1e-9)


@needs_cctbx
@pytest.mark.parametrize("name", ["model.pdb.gz", "model.cif", "model.cif.gz"])
def test_models_are_read_in_either_format_and_compressed(tmp_path, plain, name):
    model = write_model(tmp_path / name, helix())
    zipped = tmp_path / "map.mrc.gz"
    zipped.write_bytes(gzip.compress(plain[0].read_bytes()))
    assert_same_figures(evaluate_map(zipped, model, resolution=RESOLUTION), plain[2])


@needs_cctbx
@pytest.mark.parametrize(
    ("text", "sentence"),
    [("no model at all\n", "no atoms|cannot be read"), ("data_x\n_cell.length_a 1\n", "atoms|read")],
)
def test_a_file_that_is_no_model_is_an_error(tmp_path, plain, text, sentence):
    model = tmp_path / "model.pdb"
    model.write_text(text)
    with pytest.raises(EvaluationError, match=sentence):
        evaluate_map(plain[0], model, resolution=RESOLUTION)


@needs_cctbx
def test_a_model_outside_the_map_is_an_error_with_numbers(tmp_path, plain):
    model = write_model(tmp_path / "far.pdb", helix(), shift=(100.0, 0.0, 0.0))
    with pytest.raises(EvaluationError, match=r"outside the map.* 70 of its 70 .*118.* 36.0 39.6 44.0 A"):
        evaluate_map(plain[0], model, resolution=RESOLUTION)


@needs_cctbx
def test_atoms_outside_are_counted(tmp_path, plain):
    model = write_model(tmp_path / "edge.pdb", helix(), shift=(0.0, 0.0, 17.0))
    result = CliRunner().invoke(cli, ["evaluate", str(plain[0]), str(model), "--resolution", "3"])
    assert result.exit_code == 0
    assert "atoms lie outside the map" in result.stderr


@pytest.mark.parametrize(("value", "error"), [(0.0, EmptyMapError), (np.nan, NonFiniteError)])
def test_a_map_without_density_is_an_error(tmp_path, make_map, value, error):
    map_path = make_map(tmp_path / "bad.mrc", np.full(SHAPE, value, np.float32))
    with pytest.raises(error):
        evaluate_map(map_path, write_model(tmp_path / "m.pdb", helix()), resolution=3)


def test_a_missing_model_is_named(tmp_path, make_map, voxels):
    with pytest.raises(SamuError, match=r"gone\.pdb"):
        evaluate_map(make_map(tmp_path / "m.mrc", voxels), tmp_path / "gone.pdb", resolution=3)


def test_without_cctbx_the_message_says_what_to_install(tmp_path, make_map, voxels, monkeypatch):
    (tmp_path / "cctbx.py").write_text("raise ImportError(\"No module named 'cctbx'\")\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    arguments = [make_map(tmp_path / "m.mrc", voxels), write_model(tmp_path / "m.pdb", helix()), "--resolution", "3"]
    result = CliRunner().invoke(cli, ["evaluate", *map(str, arguments)])
    assert result.exit_code == 1
    assert "pip install 'samu-batch[evaluate]'" in result.output


@needs_cctbx
def test_the_command_prints_json_and_leaves_tables_and_a_picture(tmp_path, plain):
    map_path, model, expected = plain
    folder = tmp_path / "figures"
    arguments = ["evaluate", str(map_path), str(model), "--resolution", str(RESOLUTION), "--json", "-o", str(folder)]
    ran = subprocess.run([sys.executable, "-m", "samu_batch", *arguments], capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == json.loads(expected.to_json())
    assert json.loads((folder / "evaluation.json").read_text()) == json.loads(ran.stdout)
    with (folder / "residues.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["cc_flat_b"]) for row in rows] == [residue["cc"] for residue in expected.flat["residues"]]
    assert [row["chain_id"] for row in rows] == ["A"] * 7 + ["B"] * 7
    assert len((folder / "chains.csv").read_text().splitlines()) == 3
    assert len((folder / "fsc.csv").read_text().splitlines()) > 5
    assert (folder / "evaluation.png").read_bytes().startswith(b"\x89PNG")
