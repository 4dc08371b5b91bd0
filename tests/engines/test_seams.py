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


BESIDE = np.array([-4, -3, -2, -1, 1, 2, 3, 4])


def jumps_at(voxels, axis, at):
    """Return the jump between planes ``at - 1`` and ``at``, and the mean of the jumps beside it."""
    jumps = np.abs(np.diff(voxels, axis=axis)).sum(axis=tuple({0, 1, 2} - {axis}))
    return jumps[at - 1], jumps[at - 1 + BESIDE].mean()


def test_the_jump_across_core_faces_is_that_inside_cores(proteins, engine, tmp_path):
    on_faces, inside = [], []
    for voxels in proteins:
        middle = [n // 2 for n in voxels.shape]
        # It fits one cube as it lies; in a box just too large for one, faces cut it in two along each axis.
        assert len(engine.spec.grid(voxels.shape)) == 1
        box = (engine.spec.cube + 2,) * 3
        [first, *_] = engine.spec.grid(box)
        start = [face - half for face, half in zip(first.write.stop, middle, strict=True)]
        around = [(s, n - s - inner) for s, n, inner in zip(start, box, voxels.shape, strict=True)]
        cut = enhanced(np.pad(voxels, around), engine, tmp_path)
        whole = enhanced(voxels, engine, tmp_path)
        placed = cut[tuple(slice(s, s + n) for s, n in zip(start, voxels.shape, strict=True))]
        # The same planes of the same protein, once on a face and once inside.
        on_faces += [jumps_at(placed, axis, half) for axis, half in enumerate(middle)]
        inside += [jumps_at(whole, axis, half) for axis, half in enumerate(middle)]
    on_faces, inside = np.array(on_faces), np.array(inside)
    assert on_faces[:, 0].sum() / inside[:, 0].sum() == pytest.approx(1, abs=0.05)
    # A gate that sees less of a protein passes less of it, evenly: what is left of the jump is the seam.
    steps = [(there[:, 0] / there[:, 1]).mean() for there in (on_faces, inside)]
    assert steps[0] / steps[1] == pytest.approx(1, abs=0.05)
