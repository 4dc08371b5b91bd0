"""The ChimeraX commands open both maps and show surfaces that enclose the same volume."""

import re

import mrcfile
import numpy as np
import pytest

from samu_batch.engine import load_engine
from samu_batch.enhance import enhance_map
from samu_batch.entries import Entry
from samu_batch.mrc import read_header
from samu_batch.task import MapOptions, MapTask
from samu_batch.view import level_enclosing, write_view
from samu_batch.volume import voxels_of


@pytest.fixture
def task(tmp_path, make_map):
    rng = np.random.default_rng(0)
    before = rng.normal(size=(20, 22, 24)).astype(np.float32)
    make_map(tmp_path / "in put.mrc", before, spacing=(1.5, 1.5, 1.5))
    folder = tmp_path / "run" / "m"
    folder.mkdir(parents=True)
    make_map(folder / "m_enhanced.mrc", np.clip(before, 0, 1) ** 2, spacing=(1.5, 1.5, 1.5))
    return MapTask(
        entry=Entry(id="m", source=str(tmp_path / "in put.mrc"), kind="file", columns={"contour": "0.8"}),
        options=MapOptions(model="identity"),
        output=folder / "m_enhanced.mrc",
        receipt=folder / "receipt.json",
        view=folder / "view.cxc",
    )


def commands(task):
    header = read_header(task.output.parents[2] / "in put.mrc")
    write_view(task, header, voxels_of(header), threads=1)
    return task.view.read_text()


def test_both_surfaces_enclose_the_same_volume(task):
    text = commands(task)
    levels = [float(level) for level in re.findall(r"level (\S+)", text)]
    assert levels[0] == 0.8
    before, after = mrcfile.read(task.entry.source), mrcfile.read(task.output)
    assert (before > levels[0]).sum() == pytest.approx((after > levels[1]).sum(), abs=1)


def test_the_input_is_found_from_the_run_wherever_both_are_moved(task):
    assert 'open "../../in put.mrc"\nopen "m_enhanced.mrc"\n' in commands(task)


def test_without_a_contour_it_is_three_sigma(task):
    task.entry.columns.clear()
    voxels = mrcfile.read(task.entry.source).astype(np.float64)
    level = float(re.search(r"volume #1 level (\S+)", commands(task))[1])
    assert level == pytest.approx(voxels.mean() + 3 * voxels.std(), rel=1e-4)


@pytest.mark.parametrize(("volume", "number"), [(0.0, -1), (1e12, 0)])
def test_a_volume_of_nothing_or_of_everything(task, volume, number):
    voxels = np.sort(mrcfile.read(task.output), axis=None)
    nonzero = voxels[voxels != 0]
    assert level_enclosing(task.output, volume, threads=1) == pytest.approx(nonzero[number])


@pytest.mark.parametrize(
    ("source", "kind", "opening"),
    [("EMD-1234", "emdb", "open 1234 from emdb"), ("https://x.org/a b.map", "url", 'open "https://x.org/a b.map"')],
)
def test_what_was_fetched_is_opened_from_where_it_came(task, source, kind, opening):
    entry = Entry(id="EMD-1234", source=source, kind=kind)
    header = read_header(task.output)
    write_view(MapTask(**(vars(task) | {"entry": entry})), header, voxels_of(header), threads=1)
    assert opening in task.view.read_text()


def test_what_a_killed_writer_left_of_any_file_of_a_map_is_gone_when_it_is_done_again(task):
    task.output.unlink()
    for path in (task.output, task.receipt, task.view):
        path.with_name(f".{path.name}.123-abcd.partial").touch()
    report = enhance_map(task, load_engine("identity"))
    assert report.done, report.message
    assert {path.name for path in task.output.parent.iterdir()} == {"m_enhanced.mrc", "receipt.json", "view.cxc"}
