"""What a map will cost is told from its header, and is what it costs."""

import json
import subprocess
import sys

import numpy as np
import pytest

from samu_batch.cost import map_cost, predicted_voxels
from samu_batch.entries import Entry
from samu_batch.errors import TooLargeError
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
        return predicted_voxels(entry, spacing=1.0, options=MapOptions(**(vars(options) | values)))

    assert weight(path) == 90 * 84 * 110
    assert weight(path, max_voxels=1000) == 0  # it will be refused at once
    assert weight(tmp_path / "none.mrc") == 0
    assert weight("EMD-1234", "emdb") is None


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
