"""What runs again and why: receipts decide, and what an earlier attempt left never outlives its receipt."""

import dataclasses
import json
import os

import mrcfile
import numpy as np
import pytest

from samu_batch.batch import plan_batch, run_batch
from samu_batch.enhance import enhance_map
from samu_batch.entries import Entry
from samu_batch.executors.serial import SerialExecutor
from samu_batch.model import identity_spec
from samu_batch.run_directory import RunDirectory, read_receipt
from samu_batch.task import MapOptions
from samu_engines.identity import IdentityEngine

SPEC = identity_spec()


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path / "run")


def options(tmp_path, **values):
    return MapOptions(**({"model": "identity", "engine": "identity", "scratch": tmp_path / "scratch"} | values))


def entry_of(path, **columns):
    return Entry(id=path.stem, source=str(path), kind="file", columns=columns)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "m.map"
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.random.default_rng(0).random((20, 24, 28), dtype=np.float32))
        mrc.voxel_size = 1.0
    return path


def reason(task, **wishes):
    [decision] = plan_batch([task], spec=SPEC, **({"retry_failed": False, "update": False} | wishes))
    return decision.reason


def finish(task):
    [report] = run_batch([task], SerialExecutor())
    return report


def test_reasons_of_a_map_that_is_done(run, source, tmp_path):
    task = run.task(entry_of(source), options(tmp_path))
    assert reason(task) == "run (new)"
    assert finish(task).done
    assert reason(task) == "skip (done)"
    assert reason(dataclasses.replace(task, options=options(tmp_path, grid="model"))) == "skip (done)"
    assert reason(dataclasses.replace(task, options=options(tmp_path, grid="model")), update=True) == (
        "run (options changed)"
    )
    [decision] = plan_batch([task], spec=identity_spec(core=40), retry_failed=False, update=True)
    assert decision.reason == "run (model changed)"
    os.utime(source, ns=(0, 0))
    assert reason(task) == "run (input changed)"


def test_an_output_that_is_gone_or_short_is_made_again(run, source, tmp_path):
    task = run.task(entry_of(source), options(tmp_path))
    finish(task)
    task.output.write_bytes(task.output.read_bytes()[:-1])
    assert reason(task) == "run (output missing)"
    task.output.unlink()
    assert reason(task) == "run (output missing)"


def test_a_map_whose_input_is_gone_stays_done(run, source, tmp_path):
    task = run.task(entry_of(source), options(tmp_path))
    finish(task)
    source.unlink()
    assert reason(task) == "skip (done)"


@pytest.mark.parametrize(
    ("kind", "plain"),
    [("fetch", "retry"), ("worker-lost", "retry"), ("interrupted", "retry"), ("store", "retry"),
     ("out-of-memory", "retry"), ("truncated", "skip"), ("too-large", "skip"), ("engine", "skip")],
)  # fmt: skip
def test_only_passing_failures_are_tried_again_unasked(run, source, tmp_path, kind, plain):
    task = run.task(entry_of(source), options(tmp_path))
    report = dataclasses.replace(finish(task), kind=kind, outputs=())
    task.receipt.write_text(report.to_json())
    assert reason(task) == f"{plain} ({kind})"
    assert reason(task, retry_failed=True) == f"retry ({kind})"


def test_what_another_grid_or_format_left_goes_before_the_new_is_made(run, source, tmp_path):
    first = run.task(entry_of(source), options(tmp_path, format="both"))
    assert finish(first).done
    assert first.zarr.is_dir()
    second = run.task(entry_of(source), options(tmp_path, grid="model"))
    assert finish(second).done
    left = {path.name for path in second.receipt.parent.iterdir()}
    assert left == {"m_enhanced.mrc", "receipt.json", "view.cxc"}


def test_a_failure_leaves_a_receipt_and_nothing_else(run, source, tmp_path):
    task = run.task(entry_of(source), options(tmp_path))
    finish(task)
    source.write_bytes(source.read_bytes()[:-4])
    report = finish(task)
    assert report.kind == "truncated"
    assert [path.name for path in task.receipt.parent.iterdir()] == ["receipt.json"]
    assert not list((tmp_path / "scratch").iterdir())


def test_longest_first(run, tmp_path):
    tasks = []
    for number, edge in enumerate((10, 110, 60)):
        path = tmp_path / f"m{number}.mrc"
        with mrcfile.new(path) as mrc:
            mrc.set_data(np.ones((edge,) * 3, np.float32))
            mrc.voxel_size = 1.0
        tasks.append(run.task(entry_of(path), options(tmp_path)))
    decisions = plan_batch(tasks, spec=SPEC, retry_failed=False, update=False)
    assert [decision.task.entry.id for decision in decisions] == ["m1", "m2", "m0"]
    assert [decision.cubes for decision in decisions] == [27, 8, 1]


def test_a_map_of_unknown_size_is_among_the_mean_ones(run, tmp_path):
    tasks = [run.task(Entry("EMD-1234", "EMD-1234", "emdb"), options(tmp_path, cache=tmp_path / "cache"))]
    for number, edge in enumerate((10, 110)):
        path = tmp_path / f"m{number}.mrc"
        with mrcfile.new(path) as mrc:
            mrc.set_data(np.ones((edge,) * 3, np.float32))
            mrc.voxel_size = 1.0
        tasks.append(run.task(entry_of(path), options(tmp_path)))
    decisions = plan_batch(tasks, spec=SPEC, retry_failed=False, update=False)
    assert [decision.task.entry.id for decision in decisions] == ["m1", "EMD-1234", "m0"]


def test_a_header_that_makes_a_map_too_large_fills_no_scratch(run, source, tmp_path, monkeypatch):
    def unpacked(*_):
        raise AssertionError("it was unpacked")

    monkeypatch.setattr("samu_batch.enhance.unpack_map", unpacked)
    assert finish(run.task(entry_of(source), options(tmp_path, max_voxels=1000))).kind == "too-large"


@pytest.mark.parametrize("how", ["map", "zarr", "both"])
def test_formats(run, source, tmp_path, how):
    task = run.task(entry_of(source), options(tmp_path, format=how))
    report = finish(task)
    assert report.done, report.message
    names = {path.name for path in task.receipt.parent.iterdir()}
    maps = {"m_enhanced.map", "view.cxc"} if how != "zarr" else set()
    volumes = {"m_enhanced.ome.zarr"} if how != "map" else set()
    assert names == {"receipt.json"} | maps | volumes
    assert {output["file"] for output in report.outputs} == (maps | volumes) - {"view.cxc"}


@pytest.mark.parametrize(
    ("box", "voxel", "doubted"),
    [
        ("28x24x20", "1.0x1.0x1.001", False),
        ("20x24x28", "1x1x1", True),
        ("28x24x20", "1x1x1.1", True),
        ("?", "1", False),
    ],
)
def test_a_map_that_is_not_as_its_list_says_is_doubted(run, source, tmp_path, box, voxel, doubted):
    report = finish(run.task(entry_of(source, box=box, voxel=voxel), options(tmp_path)))
    assert any("another revision, or another map" in warning for warning in report.warnings) == doubted


def test_the_receipt_tells_what_was_done(run, source, tmp_path):
    task = run.task(entry_of(source, resolution="12"), options(tmp_path))
    report = finish(task)
    assert json.loads(task.receipt.read_text())["id"] == "m"
    assert read_receipt(task.receipt).to_json() == report.to_json()
    assert (report.shape, report.spacing, report.cubes, report.cubes_skipped) == ((20, 24, 28), (1.0,) * 3, 1, 0)
    assert set(report.seconds) == {"fetch", "unpack", "survey", "ingest", "enhance", "export"}
    assert report.input["bytes"] == source.stat().st_size
    [output] = report.outputs
    assert output["bytes"] == task.output.stat().st_size
    assert any("resolution of 12 A" in warning for warning in report.warnings)
    assert report.engine == {"name": "identity", "batch": 4}
    assert report.peak_memory > 1 << 20


def test_nothing_of_an_earlier_attempt_is_there_when_a_map_begins(run, source, tmp_path):
    task = run.task(entry_of(source), options(tmp_path, format="both"))
    finish(task)

    class Looking:
        spread = None

        def map(self, process, tasks, **_):
            for each in tasks:
                # Killed here, no receipt speaks of an output that is gone.
                assert list(each.receipt.parent.iterdir()) == []
                yield process(each)

    [report] = run_batch([task], Looking())
    assert report.done


def test_a_map_short_of_memory_is_tried_once_more_after_the_others_with_half_the_batch(
    run, make_map, tmp_path, monkeypatch
):
    from samu_batch import batch

    names = ["fits", "fits_halved", "never_fits"]
    maps = [make_map(tmp_path / f"{name}.map", np.full((9, 9, 9), n, np.float32)) for n, name in enumerate(names, 1)]
    given = []

    class Engine(IdentityEngine):
        """Three maps of one voxel value each, by which it knows them."""

        def stream(self, batches):
            [cubes] = batches
            name = names[int(cubes.max()) - 1]
            given.append((name, engine.asked))
            if name == "never_fits" or (name == "fits_halved" and engine.asked is None):
                raise MemoryError("the device's memory is exhausted")
            yield cubes

    engine = Engine(SPEC, device=None, threads=None)

    def noting(task, *_, **__):
        engine.asked = task.options.batch
        return enhance_map(task, engine)

    monkeypatch.setattr(batch, "process_engine", lambda _: engine)
    monkeypatch.setattr(batch, "enhance_map", noting)
    tasks = [run.task(entry_of(path), options(tmp_path)) for path in reversed(maps)]
    kinds = {report.id: report.kind for report in run_batch(tasks, SerialExecutor())}
    assert given == [(name, None) for name in reversed(names)] + [("never_fits", 2), ("fits_halved", 2)]
    assert kinds == {"fits": "done", "fits_halved": "done", "never_fits": "out-of-memory"}
    assert {task.entry.id: read_receipt(task.receipt).kind for task in tasks} == kinds


def test_a_map_that_fails_in_the_middle_leaves_the_engine_free(run, source, tmp_path, monkeypatch):
    from samu_batch import _rust
    from samu_batch.errors import StoreError

    task = run.task(entry_of(source), options(tmp_path))
    with monkeypatch.context() as patch:

        def full(*_, **__):
            raise StoreError("No space left on device")

        patch.setattr(_rust, "write_cores", full)
        assert finish(task).kind == "store"
    assert finish(task).done
