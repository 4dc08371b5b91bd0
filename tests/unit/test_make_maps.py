"""The maps of the demo: protein-like, readable, and the same each time."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from samu_batch.entries import parse_entries
from samu_batch.mrc import read_header
from samu_batch.unpack import unpack_map

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def make_maps():
    spec = importlib.util.spec_from_file_location("make_maps", EXAMPLES / "make_maps.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def maps(make_maps, tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps")
    make_maps.main(folder)
    return folder


def test_the_list_names_the_maps(maps):
    entries = parse_entries([str(EXAMPLES / "emdb_list.txt")])
    assert {Path(entry.source).name for entry in entries} == {path.name for path in maps.iterdir() if path.is_file()}
    assert all(Path(entry.source).parent == EXAMPLES / "maps" for entry in entries)


def test_each_contour_encloses_its_protein(make_maps, maps, tmp_path):
    contours = {
        Path(e.source).name: float(e.columns["contour"]) for e in parse_entries([str(EXAMPLES / "emdb_list.txt")])
    }
    for example in make_maps.EXAMPLES:
        header = read_header(maps / example.name)
        path = unpack_map(header, tmp_path).path
        stored = np.memmap(path, header.dtype, mode="r", offset=header.offset, shape=header.file_shape)
        volume = np.count_nonzero(stored >= contours[example.name]) * np.prod(header.spacing)
        residues = sum(count * length for _, count, length in example.layers)
        assert volume == pytest.approx(residues * make_maps.ENCLOSED, rel=0.01), example.name
        np.testing.assert_allclose(header.spacing, example.spacing, rtol=1e-6)
        assert header.guesses == ()
        assert not header.origin_conflict or header.path.suffix != ".map"


def test_a_map_and_its_true_density_lie_on_each_other(make_maps, maps, tmp_path):
    for example in make_maps.EXAMPLES:
        centres = []
        for path in (maps / example.name, maps / "true" / f"{example.name.split('.')[0]}.mrc"):
            header = read_header(path)
            stored = np.memmap(unpack_map(header, tmp_path).path, header.dtype, "r", header.offset, header.file_shape)
            voxels = stored.transpose(np.argsort(header.axes)).astype(float)
            voxels = np.where(voxels > 0.3 * voxels.max(), voxels, 0)
            places = np.indices(voxels.shape).reshape(3, -1) * np.array(header.spacing)[:, None]
            centres.append(places @ voxels.ravel() / voxels.sum() + header.placement())
        np.testing.assert_allclose(*centres, atol=1.5, err_msg=example.name)


def test_helices_and_strands_have_their_shape(make_maps):
    rng = np.random.default_rng(0)
    rises = {}
    for kind in ("helix", "strand"):
        atoms, electrons = make_maps.element(kind, 20, rng)
        oxygens = atoms[electrons == 8]
        rises[kind] = abs(np.diff(oxygens[:, 2])).mean()
        assert len(atoms) == len(electrons)
    assert rises["helix"] == pytest.approx(1.5, abs=0.1)
    assert rises["strand"] == pytest.approx(3.3, abs=0.2)


def test_the_same_bytes_each_time(make_maps, maps, tmp_path):
    example = make_maps.EXAMPLES[1]
    (tmp_path / "true").mkdir()
    make_maps.make(example, tmp_path, np.random.default_rng([make_maps.SEED, 1]))
    assert (tmp_path / example.name).read_bytes() == (maps / example.name).read_bytes()
