"""The encoder of ESM-IF1 runs on backbones read here: real architecture, random weights, the published format."""

import argparse
import hashlib
import json
import pickle
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

torch = pytest.importorskip("torch")
gemmi = pytest.importorskip("gemmi")

from samu_training import esm_if1

HYPERPARAMETERS = {
    "arch": "vt_medium_with_invariant_gvp",
    "dropout": 0.1,
    "attention_dropout": 0.1,
    **{
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in {"layers": 8, "embed_dim": 512, "ffn_embed_dim": 2048, "attention_heads": 8}.items()
    },
    "gvp_top_k_neighbors": 30,
    "gvp_node_hidden_dim_scalar": 1024,
    "gvp_node_hidden_dim_vector": 256,
    "gvp_edge_hidden_dim_scalar": 32,
    "gvp_edge_hidden_dim_vector": 1,
    "gvp_num_encoder_layers": 4,
    "gvp_dropout": 0.1,
}


def helix(length):
    """(length, 3, 3): N, CA, C of an alpha helix along z, in angstrom."""
    radius, angle, height = np.array([[1.55, 2.28, 1.67], [-0.49, 0.0, 0.46], [-0.87, 0.0, 1.11]])
    turn = np.deg2rad(100) * np.arange(length)[:, None] + angle
    rise = 1.5 * np.arange(length)[:, None] + height
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), rise], axis=-1).astype(np.float32)


def write_structure(path, chains):
    """Write chains of (residue name, {atom: position}) as a PDB or mmCIF file."""
    structure = gemmi.Structure()
    model = gemmi.Model(1) if gemmi.__version__ >= "0.7.1" else gemmi.Model("1")
    for name, residues in chains.items():
        chain = gemmi.Chain(name)
        for number, (kind, atoms) in enumerate(residues, start=1):
            residue = gemmi.Residue()
            residue.name, residue.seqid = kind, gemmi.SeqId(str(number))
            for atom_name, position in atoms.items():
                atom = gemmi.Atom()
                atom.name, atom.element = atom_name, gemmi.Element(atom_name[0])
                atom.pos = gemmi.Position(*map(float, position))
                residue.add_atom(atom)
            chain.add_residue(residue)
        model.add_chain(chain)
    structure.add_model(model)
    if path.suffix == ".cif":
        structure.make_mmcif_document().write_file(str(path))
    else:
        structure.write_pdb(str(path))


def residues_of(backbone, kind="ALA"):
    return [(kind, dict(zip(("N", "CA", "C"), atoms, strict=True))) for atoms in backbone]


@pytest.mark.parametrize("suffix", [".pdb", ".cif"])
def test_only_standard_residues_with_their_whole_backbone_are_read(tmp_path, suffix):
    backbone = helix(6)
    residues = residues_of(backbone)
    residues[1] = ("UNK", residues[1][1])
    residues[2] = ("ALA", {"N": backbone[2, 0], "CA": backbone[2, 1]})
    residues[4] = ("MSE", residues[4][1])
    ligand = [("HEM", {"N": (0, 0, 0), "CA": (1, 0, 0), "C": (2, 0, 0)})]
    path = tmp_path / f"structure{suffix}"
    write_structure(path, {"A": residues, "B": ligand, "C": residues_of(backbone[:2] + 20, "TRP")})
    first, second = esm_if1.read_backbones(path)
    assert first.dtype == np.float32
    np.testing.assert_allclose(first, backbone[[0, 3, 5]], atol=2e-3)
    np.testing.assert_allclose(second, backbone[:2] + 20, atol=2e-3)


def test_two_structures_of_one_name_are_refused(tmp_path):
    command = [sys.executable, "-m", "samu_training.embed", "a/1abc.pdb", "b/1ABC.cif.gz", "--weights", "w", "-o", "o"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "same name" in done.stderr


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    for package in ("esm", "torch_geometric", "biotite"):
        pytest.importorskip(package, reason=f"{package} is missing: pip install samu-training[embed]")
    esm = esm_if1._import_esm()
    torch.manual_seed(0)
    arguments = argparse.Namespace(**HYPERPARAMETERS)
    alphabet = esm.Alphabet.from_architecture(arguments.arch)
    model = esm.inverse_folding.gvp_transformer.GVPTransformerModel(arguments, alphabet)
    path = tmp_path_factory.mktemp("weights") / "random.pt"
    torch.save({"args": arguments, "model": model.state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def encoder(weights):
    return esm_if1.Encoder(weights)


def test_the_file_is_named_by_its_contents(weights, encoder):
    assert encoder.sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_a_file_that_holds_other_objects_is_refused(weights, tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"args": argparse.Namespace(**HYPERPARAMETERS), "model": {}, "more": Fraction(1, 2)}, path)
    with pytest.raises(pickle.UnpicklingError, match="Fraction"):
        esm_if1.Encoder(path)


def test_weights_that_do_not_fill_the_network_are_refused(weights, tmp_path):
    path = tmp_path / "empty.pt"
    torch.save({"args": argparse.Namespace(**HYPERPARAMETERS), "model": {}}, path)
    with pytest.raises(RuntimeError, match="Missing key"):
        esm_if1.Encoder(path)


def test_residues_become_rows_of_512_the_same_each_time(encoder):
    embedding = encoder.encode(helix(40))
    assert embedding.shape == (40, 512)
    assert embedding.dtype == np.float32
    assert np.isfinite(embedding).all()
    np.testing.assert_array_equal(embedding, encoder.encode(helix(40)))


def test_unknown_residues_leave_the_embedding_finite(encoder):
    backbone = helix(40)
    backbone[10:14] = np.nan
    embedding = encoder.encode(backbone)
    assert embedding.shape == (40, 512)
    assert np.isfinite(embedding).all()


def test_a_chain_of_one_residue_is_embedded(encoder):
    embedding = encoder.encode(helix(1))
    assert embedding.shape == (1, 512)
    assert np.isfinite(embedding).all()


@pytest.mark.parametrize("unknown", [slice(0), slice(10, 14)], ids=["whole", "gap"])
def test_rotation_and_shift_hardly_change_the_embedding_and_another_shape_does(encoder, unknown):
    rng = np.random.default_rng(1)
    # An ideal helix has equal distances: which residues are nearest would depend on rounding.
    backbone = helix(40) + rng.normal(0, 0.2, (40, 3, 3)).astype(np.float32)
    backbone[unknown] = np.nan
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    rotation *= np.linalg.det(rotation)  # no mirror
    embedding = encoder.encode(backbone)
    moved = encoder.encode((backbone @ rotation.T + 100).astype(np.float32))
    mirrored = encoder.encode(backbone * np.float32([1, 1, -1]))
    assert np.abs(moved - embedding).max() < 0.005 * embedding.std()
    assert np.abs(mirrored - embedding).max() > 0.5 * embedding.std()


def test_the_command_writes_one_array_for_each_structure_and_names_the_weights(weights, encoder, tmp_path):
    write_structure(tmp_path / "two.pdb", {"A": residues_of(helix(30)), "B": residues_of(helix(20) + 40)})
    write_structure(tmp_path / "ligand.pdb", {"A": residues_of(helix(3), "HEM")})
    output = tmp_path / "embeddings"
    (tmp_path / "text.cif").write_text("no structure")
    command = [sys.executable, "-m", "samu_training.embed", *sorted(tmp_path.iterdir())]
    command += ["--weights", weights, "-o", output]
    done = subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)
    no_residue, no_structure = done.stdout.splitlines()
    assert "ligand.pdb holds no standard residue" in no_residue
    assert "text.cif" in no_structure
    assert sorted(path.name for path in output.iterdir()) == ["embeddings.json", "two.npy"]
    embedding = np.load(output / "two.npy")
    assert embedding.shape == (800, 512)
    assert embedding.dtype == np.float16
    assert len(np.unique(embedding, axis=0)) <= 30
    record = json.loads((output / "embeddings.json").read_text())
    assert record == {"weights_sha256": encoder.sha256, "residues": {"two": 50}}
