"""Headers of enhanced maps: what mrcfile, gemmi and cctbx read in them."""

import io
import itertools
import subprocess
import sys
from types import SimpleNamespace

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samu_batch.mrc import read_header
from samu_batch.mrc_export import export_header

AXES = list(itertools.permutations((0, 1, 2)))
VOXELS = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)


def survey_of(voxels):
    return SimpleNamespace(
        minimum=voxels.min(), maximum=voxels.max(), mean=voxels.mean(dtype=float), rms=voxels.std(dtype=float)
    )


def export(path, voxels, like, **options):
    """Write ZYX voxels as a map with an exported header, in the axis order of the grid that is asked for."""
    axes = like.axes if options["grid"] == "input" else (0, 1, 2)
    header = export_header(like, survey_of(voxels), **options)
    path.write_bytes(header + np.ascontiguousarray(voxels.transpose(axes)).astype("<f4").tobytes())
    return path


def is_valid(path):
    report = io.StringIO()
    return mrcfile.validate(path, print_file=report) or pytest.fail(report.getvalue())


@settings(deadline=None)
@given(
    axes=st.sampled_from(AXES),
    spacing=st.tuples(*[st.floats(0.25, 20, width=32)] * 3),
    nstart=st.tuples(*[st.integers(-500, 500)] * 3),
    origin=st.tuples(*[st.floats(-1000, 1000, width=32)] * 3),
    sampling=st.none() | st.tuples(*[st.integers(2, 400)] * 3),
    mode=st.sampled_from([0, 1, 2, 6, 12]),
    order=st.sampled_from("<>"),
    ispg=st.sampled_from([0, 1, 19]),
)
def test_the_input_grid_keeps_every_word_of_the_geometry(tmp_path_factory, make_map, **options):
    folder = tmp_path_factory.mktemp("map")
    like = read_header(make_map(folder / "in.map", np.abs(VOXELS), extended=b"x" * 80, **options))
    out = read_header(export(folder / "out.map", VOXELS, like, label="enhanced", grid="input"))
    for name in ("shape", "spacing", "origin", "nstart", "axes", "cell", "sampling"):
        assert getattr(out, name) == getattr(like, name), name
    assert out.space_group == (options["ispg"] or 1)
    assert (out.mode, out.dtype, out.offset, out.guesses) == (2, "<f4", 1024, ())
    assert out.labels == (*like.labels, "enhanced")
    assert is_valid(folder / "out.map")


@pytest.mark.parametrize("axes", AXES)
def test_gemmi_sees_the_density_where_the_input_has_it(tmp_path, make_map, axes):
    gemmi = pytest.importorskip("gemmi")
    options = {"axes": axes, "nstart": (3, -2, 1), "spacing": (1, 2, 3), "sampling": (20, 21, 22)}
    path = make_map(tmp_path / "in.ccp4", VOXELS, **options)
    out = export(tmp_path / "out.ccp4", VOXELS, read_header(path), label="enhanced", grid="input")
    grids = []
    for each in (path, out):
        seen = gemmi.read_ccp4_map(str(each))
        seen.setup(0.0)
        grids.append(seen.grid)
    assert grids[0].unit_cell == grids[1].unit_cell
    np.testing.assert_array_equal(grids[0].array, grids[1].array)


@pytest.mark.parametrize(("suffix", "placed"), [(".map", (2.0, 6.0, 12.0)), (".mrc", (7.0, 8.0, 9.0))])
def test_the_model_grid_begins_where_the_input_does(tmp_path, make_map, suffix, placed):
    path = make_map(
        tmp_path / f"in{suffix}",
        VOXELS,
        axes=(2, 0, 1),
        spacing=(2, 3, 4),
        nstart=(1, 2, 3),
        origin=(7, 8, 9),
        ispg=19,
    )
    fine = np.random.default_rng(1).normal(size=(7, 13, 21)).astype(np.float32)
    options = {"grid": "model", "shape": fine.shape, "spacing": 1.0}
    out = export(tmp_path / "out.mrc", fine, read_header(path), label="enhanced", **options)
    header = read_header(out)
    assert header.placement() == header.origin == placed
    assert (header.shape, header.spacing, header.nstart) == (fine.shape, (1.0, 1.0, 1.0), (0, 0, 0))
    assert (header.axes, header.space_group, header.sampling) == ((0, 1, 2), 1, (21, 13, 7))
    assert is_valid(out)


def test_the_eleventh_label_takes_the_place_of_the_tenth(tmp_path, make_map):
    like = read_header(make_map(tmp_path / "in.map", VOXELS, labels=[f"label {n}" for n in range(10)]))
    out = read_header(export(tmp_path / "out.map", VOXELS, like, label="x" * 90, grid="input"))
    assert out.labels == (*like.labels[:9], "x" * 80)


def test_the_model_grid_needs_its_shape(tmp_path, make_map):
    like = read_header(make_map(tmp_path / "in.map", VOXELS))
    with pytest.raises(ValueError, match="needs shape and spacing"):
        export_header(like, survey_of(VOXELS), label="", grid="model")


def test_cctbx_reads_the_same_place_and_density(tmp_path, make_map):
    # In a process of its own: cctbx changes floating-point traps of the process that loads it.
    script = (
        "import sys\n"
        "from iotbx.map_manager import map_manager\n"
        "m = map_manager(file_name=sys.argv[1])\n"
        "print(m.map_data().all(), m.origin_shift_grid_units, m.pixel_sizes(), m.map_data()[1, 2, 3])\n"
    )
    asked = subprocess.run([sys.executable, "-c", "import iotbx"], capture_output=True, check=False)
    if asked.returncode:
        pytest.skip("cctbx-base is not installed")
    path = make_map(tmp_path / "in.map", VOXELS, axes=(1, 0, 2), nstart=(3, -2, 1), spacing=(1, 2, 3))
    out = export(tmp_path / "out.map", VOXELS, read_header(path), label="enhanced", grid="input")
    read = [
        subprocess.run([sys.executable, "-c", script, each], capture_output=True, text=True, check=True).stdout
        for each in (path, out)
    ]
    assert read[0]
    assert read[0] == read[1]
