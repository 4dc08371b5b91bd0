"""The CPU engines compute what the ONNX file says, in order, and law 6 holds whatever a network makes of zeros."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from samu_batch.engine import load_engine
from samu_batch.enhance import enhance_map
from samu_batch.entries import Entry
from samu_batch.errors import EngineError
from samu_batch.task import MapOptions, MapTask

NAMES = ["openvino", "onnxruntime"]


@pytest.fixture(params=NAMES)
def name(request):
    pytest.importorskip(request.param)
    return request.param


@pytest.fixture
def cubes():
    return np.random.default_rng(1).random((5, 1, 16, 16, 16), dtype=np.float32)


def test_both_engines_compute_what_scipy_computes(tmp_path, make_model, cubes):
    sidecar, reference = make_model(tmp_path, bias=0.25)
    expected = reference(cubes)
    found = {name: load_engine(str(sidecar), engine=name).run(cubes) for name in NAMES}
    for name, enhanced in found.items():
        assert enhanced.dtype == np.float32, name
        np.testing.assert_allclose(enhanced, expected, rtol=0, atol=1e-5 * np.abs(expected).max(), err_msg=name)
    np.testing.assert_allclose(found["openvino"], found["onnxruntime"], rtol=0, atol=1e-5)


def test_bfloat16_is_near_and_only_where_the_processor_computes_in_it(tmp_path, make_model, cubes):
    openvino = pytest.importorskip("openvino")
    sidecar, _ = make_model(tmp_path, bias=0.25)
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(EngineError, match="does not compute in bfloat16"):
            load_engine(str(sidecar), engine="openvino-bf16")
        return
    engine = load_engine(str(sidecar), engine="openvino-bf16")
    assert (engine.describe()["name"], engine.describe()["precision"]) == ("openvino-bf16", "bfloat16")
    expected = load_engine(str(sidecar), engine="openvino").run(cubes)
    error = np.sqrt(np.mean((engine.run(cubes) - expected) ** 2) / np.mean(expected**2))
    assert 1e-4 < error < 2e-2  # below the first it would be float32


def test_batches_of_any_size_come_back_in_order(tmp_path, make_model, cubes, name):
    sidecar, reference = make_model(tmp_path)
    engine = load_engine(str(sidecar), engine=name)
    batches = [cubes[:2], cubes[2:3], cubes[3:]]
    streamed = list(engine.stream(iter(batches)))
    assert [len(batch) for batch in streamed] == [2, 1, 2]
    np.testing.assert_allclose(np.concatenate(streamed), reference(cubes), atol=1e-4)
    np.testing.assert_array_equal(np.concatenate(list(engine.stream(iter(batches)))), np.concatenate(streamed))


def test_a_yielded_batch_is_never_written_again(tmp_path, make_model, cubes, name):
    sidecar, _ = make_model(tmp_path)
    stream = load_engine(str(sidecar), engine=name).stream(cube[None] for cube in cubes)
    first = next(stream)
    kept = first.copy()
    list(stream)
    np.testing.assert_array_equal(first, kept)


def test_no_thread_is_bound_to_a_core(tmp_path, make_model, cubes, name):
    # Each worker's engine would choose the same ones.
    sidecar, _ = make_model(tmp_path)
    engine = load_engine(str(sidecar), engine=name, threads=1)
    found = set()
    with ThreadPoolExecutor(1) as at_work:
        running = at_work.submit(lambda: list(engine.stream(iter([cubes] * 100))))
        while not running.done():
            for task in Path("/proc/self/task").iterdir():
                with suppress(ProcessLookupError):  # it ended since
                    found.add(frozenset(os.sched_getaffinity(int(task.name))))
    assert found == {frozenset(os.sched_getaffinity(0))}


def test_the_engine_says_what_it_is(tmp_path, make_model, name):
    sidecar, _ = make_model(tmp_path)
    facts = load_engine(str(sidecar), engine=name, threads=1).describe()
    assert facts["name"] == name
    assert facts["threads"] == 1
    json.dumps(facts)


def test_weights_other_than_the_sidecars_are_refused(tmp_path, make_model, name):
    sidecar, _ = make_model(tmp_path)
    file = sidecar.with_suffix(".onnx")
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(EngineError, match="sha256"):
        load_engine(str(sidecar), engine=name)
    file.unlink()
    with pytest.raises(EngineError, match="does not exist"):
        load_engine(str(sidecar), engine=name)


def test_auto_takes_the_first_that_can(tmp_path, make_model):
    sidecar, _ = make_model(tmp_path)
    assert load_engine(str(sidecar)).describe()["name"] == "openvino"


def test_an_engine_asked_for_by_name_never_falls_back(tmp_path, make_model):
    sidecar, _ = make_model(tmp_path)
    with pytest.raises(EngineError, match="no engine 'warp'"):
        load_engine(str(sidecar), engine="warp")


def enhanced(voxels, sidecar, folder, name, **options):
    path = folder / "map.mrc"
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(voxels)
        mrc.voxel_size = 1.0
    task = MapTask(
        entry=Entry(id="map", source=str(path), kind="file"),
        options=MapOptions(model=str(sidecar), engine=name, scratch=folder, **options),
        output=folder / "out.mrc",
        receipt=folder / "out.json",
    )
    return enhance_map(task, load_engine(str(sidecar), engine=name)), task.output


def test_empty_cubes_are_never_sent_and_their_cores_are_zero(tmp_path, make_model, name):
    # This network answers zeros with about 3.
    sidecar, _ = make_model(tmp_path / "model", bias=3.0)
    voxels = np.zeros((40, 40, 40), np.float32)
    voxels[2:8, 2:8, 2:8] = np.random.default_rng(0).random((6, 6, 6))
    voxels[31:34, 31:34, 31:34] = -1  # below zero: nothing is left of it after normalisation
    report, output = enhanced(voxels, sidecar, tmp_path, name)
    assert report.done, report.message
    after = mrcfile.read(output)
    # Core 10, halo 3: the density up to voxel 8 is read by the first core and by its neighbours.
    assert (report.cubes, report.cubes_skipped) == (64, 64 - 8)
    assert np.abs(after[:20, :20, :20]).min() > 0
    after[:20, :20, :20] = 0
    assert not after.any()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("padding", [None, 2])
def test_an_enhanced_map_is_the_network_on_each_cube_with_its_halo(tmp_path, make_model, name, batch, padding):
    sidecar, reference = make_model(tmp_path / "model", padding=padding)
    voxels = np.random.default_rng(5).random((23, 31, 17), dtype=np.float32)
    report, output = enhanced(voxels, sidecar, tmp_path, name, batch=batch)
    assert report.done, report.message
    # With zeros outside the map, halo 3 and padding 2 for a network that sees 2 voxels far, cubes or the whole are one.
    normalised = np.clip(voxels / np.percentile(voxels[voxels != 0], 99.9), 0, 1)
    padded = np.pad(normalised, 3)[None, None]
    expected = reference(padded)[0, 0, 3:-3, 3:-3, 3:-3]
    np.testing.assert_allclose(mrcfile.read(output), expected, atol=1e-4)
    assert report.scale == pytest.approx(np.percentile(voxels[voxels != 0], 99.9), rel=1e-6)


def test_a_network_that_gives_nan_fails_the_map_and_leaves_no_output(tmp_path, make_model, name):
    sidecar, _ = make_model(tmp_path / "model", poison=True)
    voxels = np.random.default_rng(5).random((20, 20, 20), dtype=np.float32)
    report, output = enhanced(voxels, sidecar, tmp_path, name)
    assert report.kind == "engine"
    assert "NaN" in report.message
    assert not output.exists()


def test_two_threads_share_one_engine_and_both_maps_are_right(tmp_path, make_model, name):
    from concurrent.futures import ThreadPoolExecutor

    from samu_batch.batch import process_task

    sidecar, _ = make_model(tmp_path / "model")
    tasks, alone = [], []
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        voxels = np.random.default_rng(number).random((24, 20, 28), dtype=np.float32)
        _, output = enhanced(voxels, sidecar, folder, name)
        alone.append(mrcfile.read(output).copy())
        tasks.append(
            MapTask(
                entry=Entry(id="map", source=str(folder / "map.mrc"), kind="file"),
                options=MapOptions(model=str(sidecar), engine=name, scratch=folder),
                output=folder / "together.mrc",
                receipt=folder / "together.json",
            )
        )
    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(process_task, tasks))
    assert [report.kind for report in reports] == ["done"] * 3
    for task, expected in zip(tasks, alone, strict=True):
        np.testing.assert_array_equal(mrcfile.read(task.output), expected)
