"""A run over many maps, as a user starts it: the same test for every executor."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest

GOOD = 6


@pytest.fixture
def maps(tmp_path):
    """Six good maps of different shapes, four bad ones, and a LIST of them all."""
    folder = tmp_path / "maps"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(GOOD):
        voxels = rng.normal(size=(40 + 7 * number, 55, 61)).astype(np.float32)
        with mrcfile.new(folder / f"good{number}.mrc") as mrc:
            mrc.set_data(voxels)
            mrc.voxel_size = 1.0
    with mrcfile.new(folder / "empty.mrc") as mrc:
        mrc.set_data(np.zeros((30, 30, 30), np.float32))
        mrc.voxel_size = 1.0
    voxels = rng.normal(size=(30, 30, 30)).astype(np.float32)
    with mrcfile.new(folder / "nan.mrc") as mrc:
        mrc.set_data(voxels)
        mrc.voxel_size = 1.0
        mrc.data[3, 4, 5] = np.nan
    (folder / "truncated.mrc").write_bytes((folder / "good0.mrc").read_bytes()[:-1000])
    (folder / "page.mrc").write_text("<html>not a map</html>" * 100)
    names = [*sorted(path.name for path in folder.iterdir()), "missing.mrc"]
    (folder / "list.txt").write_text("# all of them\n" + "\n".join(names) + "\n")
    return folder


KINDS = {
    "empty": "empty-map",
    "nan": "non-finite",
    "truncated": "truncated",
    "page": "map-format",
    "missing": "not-found",
}


def samu(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "samu_batch", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=300,
    )


@pytest.mark.parametrize(
    "executor", [["--executor", "serial"], ["--executor", "dask", "--workers", "2"]], ids=["serial", "dask"]
)
def test_bad_maps_never_harm_good_ones(maps, tmp_path, executor):
    run = tmp_path / "run"
    result = samu("enhance", maps / "list.txt", "-o", run, "--engine", "identity", *executor)
    assert result.returncode == 1, result.stderr
    kinds = {path.parent.name: json.loads(path.read_text())["kind"] for path in run.glob("*/receipt.json")}
    assert kinds == KINDS | {f"good{n}": "done" for n in range(GOOD)}
    for number in range(GOOD):
        enhanced = mrcfile.read(run / f"good{number}" / f"good{number}_enhanced.mrc")
        np.testing.assert_array_equal(enhanced, mrcfile.read(maps / f"good{number}.mrc"))
    failed = [line.split("#")[1].split(":")[0].strip() for line in (run / "failed.txt").read_text().splitlines()]
    assert sorted(failed) == sorted(KINDS.values())
    assert expected_files() == files_of(run)


def expected_files():
    good = {f"good{n}/{name}" for n in range(GOOD) for name in (f"good{n}_enhanced.mrc", "receipt.json", "view.cxc")}
    return good | {f"{n}/receipt.json" for n in KINDS} | {"run.json", "failed.txt", "report.html", "report.jsonl"}


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_second_run_does_only_what_is_left(maps, tmp_path):
    run = tmp_path / "run"
    arguments = ["enhance", maps / "list.txt", "-o", run, "--engine", "identity", "--executor", "serial"]
    samu(*arguments)
    before = {path: path.stat().st_mtime_ns for path in run.glob("*/receipt.json")}
    reasons = dict(line.split("\t") for line in samu(*arguments, "--dry-run").stdout.splitlines()[1:])
    assert reasons["good0"] == "skip (done)"
    assert reasons["nan"] == "skip (non-finite)"
    (maps / "truncated.mrc").write_bytes((maps / "good0.mrc").read_bytes())
    result = samu(*arguments)
    assert result.returncode == 1
    changed = {path.parent.name for path, when in before.items() if path.stat().st_mtime_ns != when}
    assert changed == {"truncated"}
    assert json.loads((run / "truncated/receipt.json").read_text())["kind"] == "done"
    assert "truncated" not in (run / "failed.txt").read_text()


def test_another_option_is_refused_unless_updated(maps, tmp_path):
    run = tmp_path / "run"
    arguments = ["enhance", maps / "good0.mrc", "-o", run, "--engine", "identity"]
    assert samu(*arguments).returncode == 0
    refused = samu(*arguments, "--grid", "model")
    assert refused.returncode == 2
    assert "--grid input, now model" in refused.stderr
    updated = samu(*arguments, "--grid", "model", "--update")
    assert updated.returncode == 0, updated.stderr
    assert json.loads((run / "good0/receipt.json").read_text())["options"]["grid"] == "model"


def test_one_output_without_a_run(maps, tmp_path):
    output = tmp_path / "out" / "enhanced.mrc"
    result = samu("enhance", maps / "good1.mrc", "--output", output, "--engine", "identity")
    assert result.returncode == 0, result.stderr
    assert files_of(output.parent) == {"enhanced.mrc", "enhanced.mrc.json"}
    np.testing.assert_array_equal(mrcfile.read(output), mrcfile.read(maps / "good1.mrc"))


def test_failures_within_the_allowance_are_success(maps, tmp_path):
    arguments = ["enhance", maps / "list.txt", "-o", tmp_path / "run", "--engine", "identity", "--executor", "serial"]
    assert samu(*arguments, "--max-failures", "50%").returncode == 0
    assert samu(*arguments, "--max-failures", "4").returncode == 1


def test_failed_list_is_a_list_of_its_own_run(maps, tmp_path):
    run = tmp_path / "run"
    samu("enhance", maps / "list.txt", "-o", run, "--engine", "identity", "--executor", "serial")
    (maps / "page.mrc").write_bytes((maps / "good0.mrc").read_bytes())
    result = samu("enhance", run / "failed.txt", "--engine", "identity", "--retry-failed", "--executor", "serial")
    assert result.stdout.splitlines()[0] == str(run)
    assert json.loads((run / "page/receipt.json").read_text())["kind"] == "done"
    assert json.loads((run / "run.json").read_text())["list"].__len__() == GOOD + len(KINDS)


def test_status_and_report_tell_the_same(maps, tmp_path):
    run = tmp_path / "run"
    samu("enhance", maps / "list.txt", "-o", run, "--engine", "identity", "--executor", "serial")
    status = json.loads(samu("status", run, "--json").stdout)
    assert (status["done"], sum(status["failed"].values()), status["left"]) == (GOOD, len(KINDS), 0)
    (run / "failed.txt").unlink()
    samu("report", run)
    assert len((run / "failed.txt").read_text().splitlines()) == len(KINDS)
    assert len((run / "report.jsonl").read_text().splitlines()) == GOOD + len(KINDS)
