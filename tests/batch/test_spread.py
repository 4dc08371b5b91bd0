"""One huge map over the workers of a cluster: the bytes of one worker, also when one of them is lost."""

import dataclasses
import os
import textwrap

import numpy as np
import pytest

from samu_batch.batch import run_batch
from samu_batch.entries import Entry
from samu_batch.executors.dask import DaskExecutor
from samu_batch.executors.serial import SerialExecutor
from samu_batch.run_directory import RunDirectory
from samu_batch.task import MapOptions

TIMES = {"started", "finished", "seconds", "peak_memory"}
CUBES = 27


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """An engine that notes which process did how many cubes, and dies once: with the map's own worker, or a helper."""
    (tmp_path / "engine_of_a_test.py").write_text(
        textwrap.dedent(
            f"""
            import os, pathlib, signal, sys, traceback
            from samu_engines.identity import IdentityEngine

            class Noting(IdentityEngine):
                def stream(self, batches):
                    for cubes in batches:
                        with open({str(tmp_path / "log")!r}, "a") as log:
                            log.write(f"{{os.getpid()}} {{len(cubes)}}\\n")
                        yield cubes
                        if os.environ.get("DIES") == role():
                            try:
                                pathlib.Path({str(tmp_path / "died")!r}).touch(exist_ok=False)
                            except FileExistsError:
                                continue
                            os.kill(os.getpid(), signal.SIGKILL)

            def role():
                stacks = map(traceback.walk_stack, sys._current_frames().values())
                names = {{frame.f_code.co_name for stack in stacks for frame, _ in stack}}
                return "owner" if "over_workers" in names else "helper"
            """
        )
    )
    info = tmp_path / "engine_of_a_test-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: engine-of-a-test\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[samu_batch.engines]\nnoting = engine_of_a_test:Noting\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(tmp_path)

    def cubes_by_process():
        done = {}
        for line in (tmp_path / "log").read_text().splitlines():
            process, cubes = map(int, line.split())
            done[process] = done.get(process, 0) + cubes
        (tmp_path / "log").unlink()
        return done

    return cubes_by_process


@pytest.fixture
def task_of(make_model, make_map, tmp_path):
    model, _ = make_model(tmp_path / "model")  # cubes of 16 voxels, cores of 10
    voxels = np.random.default_rng(0).random((24, 25, 23), dtype=np.float32)
    voxels[:8] = 0  # some cubes are skipped
    path = make_map(tmp_path / "huge.map", voxels, cella=(28, 28, 28))

    def task(run):
        options = MapOptions(model=str(model), engine="noting", scratch=tmp_path / "scratch")
        return RunDirectory(tmp_path / run).task(Entry("huge", str(path), "file"), options)

    return task


def facts(report):
    return {name: value for name, value in dataclasses.asdict(report).items() if name not in TIMES}


def test_a_map_over_two_workers_has_the_bytes_of_one(engine, task_of, tmp_path, monkeypatch):
    alone = task_of("alone")
    [expected] = run_batch([alone], SerialExecutor())
    assert expected.done, expected.message
    assert expected.cubes_skipped < expected.cubes == CUBES
    assert list(engine().values()) == [expected.cubes - expected.cubes_skipped]
    for run in ("spread", "helper", "owner"):
        monkeypatch.setenv("DIES", run)
        task = task_of(run)
        [report] = run_batch([task], DaskExecutor(["cpu", "cpu"], threads=1, spread_above=CUBES - 1))
        assert facts(report) == facts(expected)
        assert task.output.read_bytes() == alone.output.read_bytes()
        assert not list((tmp_path / "scratch").iterdir())
        shares = engine()
        if run == "spread":
            assert len(shares) == 2
            assert min(shares.values()) > 0.3 * sum(shares.values())
            assert sum(shares.values()) == expected.cubes - expected.cubes_skipped
        else:
            (tmp_path / "died").unlink()
