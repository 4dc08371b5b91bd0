"""Enhanced maps open with the input's geometry in the programs that users have."""

import importlib.util
import shutil
import subprocess
import sys
import textwrap

import mrcfile
import numpy as np
import pytest

from samu_batch.engine import load_engine
from samu_batch.enhance import enhance_map
from samu_batch.entries import Entry
from samu_batch.task import MapOptions, MapTask

ORDERS = {"XYZ": (1, 2, 3), "ZXY": (3, 1, 2)}


@pytest.fixture(params=ORDERS)
def pair(request, tmp_path):
    """A smooth map with n*start and an odd cell, in two axis orders, and its identity enhancement."""
    order = ORDERS[request.param]
    sizes = {1: 48, 2: 36, 3: 42}
    shape = tuple(sizes[axis] for axis in reversed(order))
    grids = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    voxels = sum(
        np.exp(-((grids[0] - a) ** 2 + (grids[1] + a) ** 2 + (grids[2] - a / 2) ** 2) / 0.05) for a in (-0.4, 0.3)
    )
    path = tmp_path / "input.map"
    with mrcfile.new(path) as mrc:
        mrc.set_data(voxels.astype(np.float32))
        header = mrc.header
        header.mapc, header.mapr, header.maps = order
        start = {1: -7, 2: 11, 3: 23}
        header.nxstart, header.nystart, header.nzstart = (start[axis] for axis in order)
        header.mx, header.my, header.mz = (sizes[axis] for axis in (1, 2, 3))
        header.cella = tuple(sizes[axis] * 1.32 for axis in (1, 2, 3))
    output = tmp_path / "output.map"
    task = MapTask(
        entry=Entry(id="input", source=str(path), kind="file", columns={}, line=None),
        options=MapOptions(model="identity", engine="identity", scratch=tmp_path),
        output=output,
        receipt=tmp_path / "receipt.json",
    )
    report = enhance_map(task, load_engine("identity", engine="identity"))
    assert report.done, report.message
    return path, output


def in_own_process(code, *arguments):
    """Run code that must not share a process with other readers (cctbx and gemmi crash each other)."""
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def needs(module):
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")


def test_mrcfile_finds_nothing_to_complain_about(pair):
    assert mrcfile.validate(pair[1])


@needs("gemmi")
def test_gemmi_sees_the_same_density_in_the_same_place(pair):
    in_own_process(
        """
        import sys, gemmi, numpy as np
        before, after = (gemmi.read_ccp4_map(path, setup=False) for path in sys.argv[1:])
        words = [word for word in range(1, 20) if word != 4]  # all but the mode
        assert [before.header_i32(word) for word in words] == [after.header_i32(word) for word in words]
        for ccp4 in (before, after):
            ccp4.setup(0.0, gemmi.MapSetup.Full)
        rng = np.random.default_rng(0)
        for fraction in rng.random((200, 3)):
            at = gemmi.Fractional(*fraction)
            a, b = (ccp4.grid.interpolate_value(at) for ccp4 in (before, after))
            assert abs(a - b) < 0.02, (a, b)
        """,
        *pair,
    )


@needs("iotbx")
def test_cctbx_sees_the_same_grid(pair):
    in_own_process(
        """
        import sys
        from iotbx.map_manager import map_manager
        before, after = (map_manager(path) for path in sys.argv[1:])
        assert before.map_data().all() == after.map_data().all()
        assert before.map_data().origin() == after.map_data().origin()
        assert before.origin_shift_grid_units == after.origin_shift_grid_units
        assert before.unit_cell().parameters() == after.unit_cell().parameters()
        assert before.pixel_sizes() == after.pixel_sizes()
        assert before.map_map_cc(after) > 0.999
        """,
        *pair,
    )


@needs("coot_headless_api")
def test_coot_reads_the_same_density_at_the_same_cartesian_points(pair):
    in_own_process(
        """
        import sys, random
        import coot_headless_api as coot
        molecules = coot.molecules_container_t(False)
        before, after = (molecules.read_ccp4_map(path, False) for path in sys.argv[1:])
        assert before >= 0 and after >= 0
        random.seed(0)
        seen = []
        for _ in range(200):
            at = [random.uniform(low, low + 50) for low in (-7 * 1.32, 11 * 1.32, 23 * 1.32)]
            a, b = (molecules.get_density_at_position(imol, *at) for imol in (before, after))
            seen.append(a)
            assert abs(a - b) < 0.02, (at, a, b)
        assert max(seen) > 0.1
        """,
        *pair,
    )


@pytest.mark.skipif(shutil.which("relion_image_handler") is None, reason="RELION is not installed")
def test_relion_reads_size_and_pixel(pair):
    before, after = (
        subprocess.run(
            ["relion_image_handler", "--i", f"{path}:mrc", "--stats"], capture_output=True, text=True, check=True
        )
        for path in pair
    )
    sizes = [[word for word in text.stdout.split() if word.replace("x", "").isdigit()] for text in (before, after)]
    assert sizes[0] == sizes[1]
    assert "1.32" in after.stdout
