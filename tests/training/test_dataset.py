"""A data set is built from a server of our own: one pair passes every filter, and one change stops it at each."""

import csv
import gzip
import random
from pathlib import Path

import numpy as np
import pytest

gemmi = pytest.importorskip("gemmi")
pytest.importorskip("scipy")
dataset = pytest.importorskip("samu_training.dataset", reason="samu-training is not installed")

from samu_batch.emdb import EmdbId, header_path, map_path
from samu_training.archive import model_path
from samu_training.chains import SHORTEST, identity
from samu_training.density import gaussians
from samu_training.tables import COLUMNS

KINDS = "ARG ASN ASP CYS GLN GLU HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL".split()  # noqa: SIM905
RESOLUTION, SPACING, CONTOUR = 4.5, 1.2, 0.15
SHAPE, START = (44, 46, 70), (-9, 4, 2)
HEADER = """<emd emdb_id="{id}"><structure_determination_list><structure_determination><singleparticle_processing>
<final_reconstruction><resolution>{resolution}</resolution></final_reconstruction>
</singleparticle_processing></structure_determination></structure_determination_list>
<map><contour_list>{contour}</contour_list></map></emd>"""
LEVEL = f"<contour><level>{CONTOUR}</level></contour>"
PDB_ID, EMDB_ID = "6ABC", "EMD-1234"


def add_chain(structure, name, kinds, *, at=(0.0, 0.0, 0.0)):
    """Add a chain folded into a block of about 16 A; `at` is XYZ from the block's usual corner."""
    corner = np.array(START[::-1]) * SPACING + 20 + at
    chain = gemmi.Chain(name)
    for number, kind in enumerate(kinds):
        z, rest = divmod(number, 16)
        y, x = divmod(rest, 4)
        ca = corner + 4.2 * np.array([x if y % 2 == 0 else 3 - x, y if z % 2 == 0 else 3 - y, z])
        residue = gemmi.Residue()
        residue.name, residue.seqid = kind, gemmi.SeqId(str(number + 1))
        places = {"N": (-1.2, 0.5, 0), "CA": (0, 0, 0), "C": (1.2, 0.6, 0), "O": (1.3, 1.8, 0)}
        places |= {"CB": (0, -0.8, 1.2), "CG": (0.3, -1.8, 2.0)} if kind != "GLY" else {}
        for label, place in places.items():
            atom = gemmi.Atom()
            atom.name, atom.element = label, gemmi.Element(label[0])
            atom.pos = gemmi.Position(*(ca + place))
            residue.add_atom(atom)
        chain.add_residue(residue)
    structure[0].add_chain(chain)


def protein(*, seed=0, at=(0.0, 0.0, 0.0)):
    structure = gemmi.Structure()
    structure.add_model(gemmi.Model(1))
    add_chain(structure, "A", random.Random(seed).choices(KINDS, k=64), at=at)
    return structure


def density_of(structure):
    """The structure's density at its resolution, scaled to a maximum of 1."""
    atoms = [cra.atom for cra in structure[0].all()]
    positions = np.array([[a.pos.z, a.pos.y, a.pos.x] for a in atoms], np.float32) - np.array(START) * SPACING
    numbers = np.array([a.element.atomic_number for a in atoms], np.float32)
    sigma = 0.3 * RESOLUTION
    density = gaussians(positions.astype(np.float32), numbers, shape=SHAPE, spacing=SPACING, sigma=sigma)
    return density / density.max()


@pytest.fixture
def put(server, make_map, tmp_path):
    """`put(structure, density, ...)` serves one entry."""

    def serve(structure, density, *, pdb_id=PDB_ID, emdb_id=EMDB_ID, resolution=RESOLUTION, contour=LEVEL):
        structure.setup_entities()
        entry = EmdbId.parse(emdb_id)
        model = structure.make_mmcif_document().as_string().encode()
        voxels = make_map(tmp_path / "served.map", density.astype(np.float32), spacing=(SPACING,) * 3, nstart=START)
        header = HEADER.format(id=entry, resolution=resolution, contour=contour).encode()
        server.files[f"pdb/{model_path(pdb_id)}"] = gzip.compress(model)
        server.files[f"emdb/{map_path(entry)}"] = gzip.compress(voxels.read_bytes())
        server.files[f"emdb/{header_path(entry)}"] = header

    return serve


@pytest.fixture
def build(server, tmp_path):
    """`build(rows, *options)` runs the command; returns its status, what it accepted and the reasons it gave."""

    def run(rows=((PDB_ID, EMDB_ID, RESOLUTION, ""),), *options):
        table, folder = tmp_path / "table.csv", tmp_path / "data"
        with table.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *rows])
        mirrors = ["--mirror", f"{server.url}/emdb", "--models-mirror", f"{server.url}/pdb"]
        status = dataset.main([str(table), str(folder), *mirrors, *options])
        texts = ((folder / f"{name}.csv").read_text() for name in ("accepted", "rejected"))
        accepted, rejected = (list(csv.DictReader(text.splitlines())) for text in texts)
        assert len(accepted) + len(rejected) == len(rows)
        return status, accepted, [row["reason"] for row in rejected]

    return run


def refused(build, *arguments):
    status, accepted, (reason,) = build(*arguments)
    assert (status, accepted) == (0, [])
    return reason


def test_a_good_pair_is_accepted_with_its_files_and_figures(put, build, server):
    put(protein(), density_of(protein()))
    status, (row,), reasons = build([(PDB_ID, EMDB_ID, RESOLUTION, "O or 0")])
    assert (status, reasons) == (0, [])
    assert [row[name] for name in COLUMNS] == [PDB_ID, EMDB_ID, "4.5", "O or 0"]
    for column, path in (("map", f"emdb/{map_path(EmdbId.parse(EMDB_ID))}"), ("model", f"pdb/{model_path(PDB_ID)}")):
        assert Path(row[column]).read_bytes() == server.files[path]
    assert float(row["inside"]) > 0.95
    assert float(row["explained"]) > 0.95
    assert float(row["correlation"]) > 0.9


def test_a_second_run_downloads_nothing(put, build, server):
    put(protein(), density_of(protein()))
    first = build()
    asked = len(server.asked)
    assert build() == first
    assert len(server.asked) == asked


def test_models_may_lie_in_a_local_mirror(put, build, server, tmp_path):
    put(protein(), density_of(protein()))
    local = tmp_path / "mirror" / model_path(PDB_ID)
    local.parent.mkdir(parents=True)
    local.write_bytes(server.files.pop(f"pdb/{model_path(PDB_ID)}"))
    _, (row,), _ = build([(PDB_ID, EMDB_ID, RESOLUTION, "")], "--models-mirror", str(tmp_path / "mirror"))
    assert row["model"] == str(local)


def test_nucleic_acid_is_refused(put, build):
    structure = protein()
    add_chain(structure, "R", ["A", "C", "G", "U"] * 4)
    put(structure, density_of(protein()))
    assert refused(build).startswith("not only protein")


def test_a_model_without_any_polymer_is_refused(put, build):
    structure = gemmi.Structure()
    structure.add_model(gemmi.Model(1))
    add_chain(structure, "A", ["HEM"])
    put(structure, density_of(protein()))
    assert refused(build).startswith("not only protein")


def test_one_unknown_residue_is_refused(put, build):
    structure = protein()
    structure[0]["A"][20].name = "UNK"
    put(structure, density_of(protein()))
    assert refused(build).startswith("unknown residues: 1 UNK")


@pytest.mark.parametrize("cut", [("CB", "CG"), ("CG",)])
def test_a_backbone_beside_a_whole_chain_is_refused(put, build, cut):
    structure = protein()
    add_chain(structure, "B", random.Random(1).choices(KINDS, k=40), at=(20.0, 0, 0))
    density = density_of(structure)
    for residue in structure[0]["B"]:
        for label in cut:
            residue.remove_atom(label, "\0")
    put(structure, density)
    assert refused(build) == "backbone only: chain B"


def test_a_model_half_outside_the_density_is_refused(put, build):
    structure = protein()
    add_chain(structure, "B", random.Random(1).choices(KINDS, k=64), at=(24.0, 0, 0))
    put(structure, density_of(protein()))
    assert refused(build) == "coverage: 0.50 of the atoms lie in density"


def test_a_model_outside_the_map_is_refused(put, build):
    put(protein(at=(500.0, 0, 0)), density_of(protein()))
    assert refused(build).startswith("coverage: 0.00 of the atoms")


def test_density_that_the_model_lacks_is_refused(put, build):
    structure = protein()
    add_chain(structure, "B", random.Random(1).choices(KINDS, k=64), at=(27.0, 0, 0))
    put(protein(), density_of(structure))
    assert "of the density is explained" in refused(build)


def test_a_map_that_covers_but_does_not_correlate_is_refused(put, build):
    """As where a heavy cluster outshines the protein around it."""
    density = density_of(protein())
    centre = np.argwhere(density > CONTOUR).mean(axis=0)
    distance = np.linalg.norm(np.moveaxis(np.indices(SHAPE), 0, -1) - centre, axis=-1) * SPACING
    density += 40 * np.exp(-0.5 * (distance / 2) ** 2)
    put(protein(), density)
    assert refused(build).startswith("correlation: ")


def test_the_least_correlation_is_an_option(put, build):
    put(protein(), density_of(protein()))
    assert refused(build, [(PDB_ID, EMDB_ID, RESOLUTION, "")], "--correlation", "0.9999").startswith("correlation")


def test_of_two_pairs_alike_the_first_is_kept(put, build):
    rows = []
    for number, seed in enumerate((0, 1, 0)):
        ids = {"pdb_id": f"6AB{number}", "emdb_id": f"EMD-123{number}"}
        put(protein(seed=seed), density_of(protein(seed=seed)), **ids)
        rows.append((*ids.values(), RESOLUTION, ""))
    _, accepted, reasons = build(rows)
    assert [row["pdb_id"] for row in accepted] == ["6AB0", "6AB1"]
    assert reasons == ["sequence identity: 100 % with 6AB0 / EMD-1230"]


def test_a_resolution_other_than_the_table_s_tells_a_misread_id(put, build):
    put(protein(), density_of(protein()), resolution=3.1)
    assert refused(build) == "resolution: 4.5 A in the table, 3.1 A in the archive"


def test_a_lost_resolution_is_the_archive_s(put, build):
    put(protein(), density_of(protein()))
    _, (row,), _ = build([(PDB_ID, EMDB_ID, "", "resolution lost")])
    assert row["resolution"] == "4.5"


@pytest.mark.parametrize("ids", [("", EMDB_ID), (PDB_ID, "")])
def test_a_lost_id_is_refused(build, ids):
    assert refused(build, [(*ids, RESOLUTION, "lost")]) == "an id is lost"


def test_no_contour_level_is_refused(put, build):
    put(protein(), density_of(protein()), contour="")
    assert "no contour level" in refused(build)


def test_a_map_beyond_the_limit_is_refused(put, build):
    put(protein(), density_of(protein()))
    assert refused(build, [(PDB_ID, EMDB_ID, RESOLUTION, "")], "--max-voxels", "1000").startswith("too-large")


def test_an_entry_that_the_archive_lacks_is_refused(build):
    assert refused(build).startswith("not-found")


def test_a_failure_of_the_server_is_told_by_the_status(put, build, server):
    put(protein(), density_of(protein()))
    server.manner = lambda path, number: (403, {}) if path.endswith(".map.gz") else {}
    status, accepted, (reason,) = build()
    assert (status, accepted) == (1, [])
    assert reason.startswith("fetch")


def test_a_broken_model_is_refused_and_the_next_goes_on(put, build, server):
    put(protein(), density_of(protein()))
    server.files[f"pdb/{model_path('6ABD')}"] = gzip.compress(b"no structure")
    _, accepted, (reason,) = build([("6ABD", "EMD-1235", RESOLUTION, ""), (PDB_ID, EMDB_ID, RESOLUTION, "")])
    assert len(accepted) == 1
    assert reason.startswith("model cannot be read")


def test_identity_is_counted_on_the_shorter_chain():
    rng = random.Random(3)
    long = tuple(rng.choices(KINDS, k=200))
    unlike = tuple(rng.choices(KINDS, k=200))
    assert identity(long, long[40:120]) == 1
    assert identity(long[40:120], long) == 1
    changed = tuple("GLY" if place % 4 == 0 else kind for place, kind in enumerate(long))
    assert identity(long, changed) == pytest.approx(0.75, abs=0.02)
    assert identity(long, unlike) < dataset.MOST_IDENTICAL


def test_short_peptides_are_alike_by_chance_and_not_compared(put, build):
    rows = []
    for number in range(2):
        structure = protein(seed=number)
        add_chain(structure, "P", ["LEU", "LYS"] * (SHORTEST // 2 - 1), at=(18.0, 0, 0))
        ids = {"pdb_id": f"6AB{number}", "emdb_id": f"EMD-123{number}"}
        put(structure, density_of(structure), **ids)
        rows.append((*ids.values(), RESOLUTION, ""))
    assert len(build(rows)[1]) == 2
