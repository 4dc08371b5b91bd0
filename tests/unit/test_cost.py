"""What a map will cost is told from its header, and is what it costs."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from samu_batch.cost import entry_cost, map_cost, predicted_cubes
from samu_batch.entries import Entry
from samu_batch.errors import TooLargeError
from samu_batch.map_columns import extent_of
from samu_batch.model import identity_spec
from samu_batch.task import MapOptions

SPEC = identity_spec()


@pytest.fixture
def path(tmp_path, make_map):
    return make_map(
        tmp_path / "m.mrc", np.random.default_rng(0).random((60, 70, 110), dtype=np.float32), spacing=(1.5, 1.2, 1.0)
    )


def test_shape_cubes_and_output(path):
    cost = map_cost(path, spec=SPEC, options=MapOptions(model="identity"))
    assert cost.shape == (90, 84, 110)
    assert cost.cubes == 2 * 2 * 3
    assert cost.voxels == 90 * 84 * 110
    assert cost.output == path.stat().st_size
    on_model_grid = map_cost(path, spec=SPEC, options=MapOptions(model="identity", grid="model"))
    assert on_model_grid.output == 1024 + 4 * cost.voxels


def test_what_does_not_fit_the_budget_goes_to_scratch(path):
    stored = 2 * 4 * 100 * 100 * 150
    inside = map_cost(path, spec=SPEC, options=MapOptions(model="identity", memory=2 * stored))
    outside = map_cost(path, spec=SPEC, options=MapOptions(model="identity", memory=stored))
    assert (inside.scratch, outside.scratch) == (0, stored)
    assert outside.memory < inside.memory


def test_too_large_is_told_before_anything_runs(path):
    with pytest.raises(TooLargeError, match="more than the limit of 1000"):
        map_cost(path, spec=SPEC, options=MapOptions(model="identity", max_voxels=1000))


def test_the_weight_of_a_map(path, tmp_path):
    options = MapOptions(model="identity", cache=tmp_path / "cache")

    def weight(source, kind="file", **values):
        entry = Entry(id="m", source=str(source), kind=kind)
        return predicted_cubes(entry, spec=SPEC, options=MapOptions(**(vars(options) | values)))

    assert weight(path) == 2 * 2 * 3
    assert weight(path, max_voxels=1000) == 0  # it will be refused at once
    assert weight(tmp_path / "none.mrc") == 0
    assert weight("EMD-1234", "emdb") is None


def test_columns_tell_the_cost_of_a_map_that_is_not_here(path, tmp_path):
    options = MapOptions(model="identity", cache=tmp_path / "cache")
    columns = {"box": "110x70x60", "voxel": "1x1.2x1.5", "unpacked": "1000", "download": "70"}

    def cost(columns, source="EMD-1234", kind="emdb", **values):
        entry = Entry(id="m", source=str(source), kind=kind, columns=columns)
        return entry_cost(entry, spec=SPEC, options=MapOptions(**(vars(options) | values)))

    here = map_cost(path, spec=SPEC, options=options)
    assert cost(columns) == replace(here, scratch=1000, download=70)
    assert cost({"box": "110X70X60", "voxel": "1x1.2x1.5"}).scratch == 1024 + 4 * 110 * 70 * 60
    assert cost({"box": "9x9x9", "voxel": "1x1x1"}, path, "file") == here  # the map itself is right
    with pytest.raises(TooLargeError):
        cost(columns, max_voxels=1000)
    entry = Entry(id="m", source="EMD-1234", kind="emdb", columns=columns)
    assert predicted_cubes(entry, spec=SPEC, options=options) == here.cubes


@pytest.mark.parametrize(
    "columns",
    [
        {}, {"box": "256x256x256"}, {"box": "256", "voxel": "1"}, {"box": "large", "voxel": "1x1x1"},
        {"box": "0x1x1", "voxel": "1x1x1"}, {"box": "1x1x1", "voxel": "1x1xnan"}, {"box": "1x1x1", "voxel": "1x1x-1"},
    ],
)  # fmt: skip
def test_columns_that_mean_something_else_tell_nothing(columns):
    assert extent_of(columns) is None


@pytest.mark.parametrize("memory", ["0.25", "1"])
def test_the_memory_foretold_is_not_exceeded(tmp_path, make_map, memory):
    voxels = np.random.default_rng(0).random((200, 200, 200), dtype=np.float32)
    path = make_map(tmp_path / "m.mrc", voxels, spacing=(1.2, 1.2, 1.2))
    command = [sys.executable, "-m", "samu_batch"]
    options = ["--engine", "identity", "--memory", memory, "--scratch", tmp_path]
    planned = subprocess.run([*command, "plan", path, "--json", *options], capture_output=True, check=True)
    cost = json.loads(planned.stdout)
    output = tmp_path / "out.mrc"
    subprocess.run([*command, "enhance", path, "--output", output, *options], check=True, capture_output=True)
    receipt = json.loads(output.with_name("out.mrc.json").read_text())
    assert receipt["peak_memory"] <= cost["memory"]
    assert (receipt["cubes"], tuple(receipt["shape"])) == (cost["cubes"], tuple(cost["shape"]))
    assert output.stat().st_size == cost["output"]
