"""Enhanced maps open with the input's geometry in the programs that users have."""

import importlib.util
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import mrcfile
import numpy as np
import pytest

from samu_batch.engine import load_engine
from samu_batch.enhance import enhance_map
from samu_batch.entries import Entry
from samu_batch.task import MapOptions, MapTask

CASES = {
    # axis order, suffix, where the place is kept, spacing in A
    "XYZ-nstart-1.32": ((1, 2, 3), ".map", "nstart", 1.32),
    "ZXY-nstart-1.32": ((3, 1, 2), ".map", "nstart", 1.32),
    "YXZ-origin-1.32": ((2, 1, 3), ".mrc", "origin", 1.32),
    "XZY-nstart-1": ((1, 3, 2), ".ccp4", "nstart", 1.0),
}
SIZES = {1: 48, 2: 36, 3: 42}
START = {1: -7, 2: 11, 3: 23}


class Pair(NamedTuple):
    """A map, its identity enhancement, its first voxel in A (X Y Z), its spacing, and how far densities may differ."""

    before: Path
    after: Path
    first: tuple[float, ...]
    spacing: float
    tolerance: float

    @property
    def words(self):
        """Paths, and numbers as an own process reads them."""
        return [self.before, self.after, self.spacing, self.tolerance, *self.first]


@pytest.fixture(params=CASES)
def pair(request, tmp_path):
    order, suffix, place, spacing = CASES[request.param]
    shape = tuple(SIZES[axis] for axis in reversed(order))
    grids = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    voxels = sum(
        np.exp(-((grids[0] - a) ** 2 + (grids[1] + a) ** 2 + (grids[2] - a / 2) ** 2) / 0.05) for a in (-0.4, 0.3)
    )
    path = tmp_path / f"input{suffix}"
    with mrcfile.new(path) as mrc:
        mrc.set_data(voxels.astype(np.float32))
        header = mrc.header
        header.mapc, header.mapr, header.maps = order
        if place == "nstart":
            header.nxstart, header.nystart, header.nzstart = (START[axis] for axis in order)
        else:
            header.origin = tuple(START[axis] * spacing for axis in (1, 2, 3))
        header.mx, header.my, header.mz = (SIZES[axis] for axis in (1, 2, 3))
        header.cella = tuple(SIZES[axis] * spacing for axis in (1, 2, 3))
    output = tmp_path / f"output{suffix}"
    task = MapTask(
        entry=Entry(id="input", source=str(path), kind="file"),
        options=MapOptions(model="identity", engine="identity", scratch=tmp_path),
        output=output,
        receipt=tmp_path / "receipt.json",
    )
    report = enhance_map(task, load_engine("identity", engine="identity"))
    assert report.done, report.message
    first = tuple(START[axis] * spacing for axis in (1, 2, 3))
    return Pair(path, output, first, spacing, 1e-6 if spacing == 1 else 0.02)


def in_own_process(code, *arguments):
    """Run code that must not share a process with other readers (cctbx and gemmi crash each other)."""
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def needs(module):
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")


def test_mrcfile_finds_nothing_to_complain_about(pair):
    assert mrcfile.validate(pair.after)


@needs("gemmi")
def test_gemmi_sees_the_same_density_in_the_same_place(pair):
    in_own_process(
        """
        import sys, gemmi, numpy as np
        before, after = (gemmi.read_ccp4_map(path, setup=False) for path in sys.argv[1:3])
        words = [word for word in range(1, 20) if word != 4]  # all but the mode
        assert [before.header_i32(word) for word in words] == [after.header_i32(word) for word in words]
        for ccp4 in (before, after):
            ccp4.setup(0.0, gemmi.MapSetup.Full)
        rng = np.random.default_rng(0)
        for fraction in rng.random((200, 3)):
            at = gemmi.Fractional(*fraction)
            a, b = (ccp4.grid.interpolate_value(at) for ccp4 in (before, after))
            assert abs(a - b) <= float(sys.argv[4]), (a, b)
        """,
        *pair.words,
    )


@needs("iotbx")
def test_cctbx_sees_the_same_grid(pair):
    in_own_process(
        """
        import sys
        from iotbx.map_manager import map_manager
        before, after = (map_manager(path) for path in sys.argv[1:3])
        assert before.map_data().all() == after.map_data().all()
        assert before.map_data().origin() == after.map_data().origin()
        assert before.origin_shift_grid_units == after.origin_shift_grid_units
        assert before.unit_cell().parameters() == after.unit_cell().parameters()
        assert before.pixel_sizes() == after.pixel_sizes()
        assert before.external_origin == after.external_origin
        assert before.map_map_cc(after) > 0.999
        """,
        *pair.words,
    )


@needs("coot_headless_api")
def test_coot_reads_the_same_density_at_the_same_cartesian_points(pair):
    in_own_process(
        """
        import sys, random
        import coot_headless_api as coot
        molecules = coot.molecules_container_t(False)
        before, after = (molecules.read_ccp4_map(path, False) for path in sys.argv[1:3])
        spacing, tolerance, *first = map(float, sys.argv[3:])
        assert before >= 0 and after >= 0
        random.seed(0)
        seen = []
        for _ in range(200):
            at = [random.uniform(low, low + 36 * spacing) for low in first]
            a, b = (molecules.get_density_at_position(imol, *at) for imol in (before, after))
            seen.append(a)
            assert abs(a - b) <= tolerance, (at, a, b)
        assert max(seen) > 0.1
        """,
        *pair.words,
    )


@pytest.mark.skipif(shutil.which("relion_image_handler") is None, reason="RELION is not installed")
def test_relion_reads_size_and_pixel(pair):
    told = []
    for path in (pair.before, pair.after):
        command = ["relion_image_handler", "--i", f"{path}:mrc", "--stats"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        told.append(re.search(r"\(x,y,z,n\)= *([\d x]+)", text)[1].split(" x "))
        assert float(re.search(r"angpix *= *([\d.]+)", text)[1]) == pytest.approx(pair.spacing, abs=1e-4), text
    assert told[0] == told[1]
    assert [int(n) for n in told[0][:3]] == list(mrcfile.read(pair.before).shape[::-1])
