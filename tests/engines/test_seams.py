"""Law 6 for the shipped model: no seams. The jump across a core's face is that of the same place inside a core."""

import importlib.util
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from samu_batch.engine import load_engine
from samu_batch.enhance import enhance_map
from samu_batch.entries import Entry
from samu_batch.errors import SamuError
from samu_batch.model import ModelSpec
from samu_batch.task import MapOptions, MapTask

MODEL = "samu-lite"


@pytest.fixture(scope="module")
def engine():
    try:
        return load_engine(ModelSpec.load(MODEL))
    except SamuError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def proteins(tmp_path_factory):
    """The demo's maps on the model's grid, as (D, H, W)."""
    path = Path(__file__).parents[2] / "examples" / "make_maps.py"
    spec = importlib.util.spec_from_file_location("make_maps", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("maps")
    module.main(folder)
    identity = load_engine("identity")
    return [through(identity, path, folder) for path in sorted(folder.iterdir()) if path.is_file()]


def through(engine, path, folder):
    """Return the map at ``path`` as the engine leaves it, on the model's grid."""
    task = MapTask(
        entry=Entry(id="in", source=str(path), kind="file"),
        options=MapOptions(model=engine.spec.name, grid="model", scratch=folder, threads=2),
        output=folder / "through" / "out.mrc",
        receipt=folder / "through" / "out.json",
    )
    report = enhance_map(task, engine)
    assert report.done, report.message
    return mrcfile.read(task.output)


def enhanced(voxels, engine, folder):
    with mrcfile.new(folder / "in.mrc", overwrite=True) as mrc:
        mrc.set_data(voxels)
        mrc.voxel_size = engine.spec.spacing
    return through(engine, folder / "in.mrc", folder).astype(np.float64)


def test_the_jump_across_core_faces_is_that_inside_cores(proteins, engine, tmp_path):
    core, on_faces, inside = engine.spec.core, 0.0, 0.0

    def beginning_at(start, voxels):
        placed = enhanced(np.pad(voxels, [(first, 0) for first in start]), engine, tmp_path)
        return placed[tuple(slice(first, None) for first in start)]

    for voxels in proteins:
        middle = [n // 2 for n in voxels.shape]
        on_face = [core - half for half in middle]
        plain = beginning_at(on_face, voxels)
        # Not a whole number of the network's lattice points later, which are 16 voxels apart at most.
        shifted = beginning_at([first + core // 2 + 1 for first in on_face], voxels)
        for axis, half in enumerate(middle):
            # The same plane of the same protein, once on a face and once inside.
            jumps = [np.abs(np.diff(each, axis=axis)).take(half - 1, axis=axis) for each in (plain, shifted)]
            on_faces += jumps[0].sum()
            inside += jumps[1].sum()
    assert inside > 0
    assert on_faces / inside == pytest.approx(1, abs=0.05)
