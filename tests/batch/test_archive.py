"""Entries of the archive, from a server on this machine: fetched, enhanced, resumed offline, revised."""

import gzip
import hashlib
import json
import os
import subprocess
import sys

import mrcfile
import numpy as np
import pytest

NUMBERS = (1234, 1235, 1236)


def path_of(number):
    return f"EMD-{number}/map/emd_{number}.map.gz"


@pytest.fixture
def archive(server, tmp_path, make_map):
    """Three entries on a server, and `revise(number, seed)` that puts another map in the place of one."""

    def revise(number, seed):
        voxels = np.random.default_rng(seed).random((20 + seed, 22, 24), dtype=np.float32)
        content = make_map(tmp_path / "map", voxels).read_bytes()
        server.files[path_of(number)] = gzip.compress(content, 1, mtime=0)
        return voxels

    server.revise = revise
    for number in NUMBERS:
        revise(number, number - 1230)
    return server


@pytest.fixture
def samu(archive, tmp_path):
    def run(*arguments):
        environment = os.environ | {"SAMU_MIRRORS": archive.url, "SAMU_CACHE": str(tmp_path / "cache")}
        command = [sys.executable, "-m", "samu_batch", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, cwd=tmp_path)

    return run


ENTRIES = ["EMD-1234", "emd_1235", "1236"]
IDENTITY = ["--engine", "identity"]


def gets(archive):
    return [path for path, *_ in archive.asked if path in archive.files]


def test_what_enhance_fetched_goes_and_is_not_fetched_again(archive, samu, tmp_path):
    result = samu("enhance", *ENTRIES, *IDENTITY)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == "EMD-1234_enhanced"
    run = tmp_path / "EMD-1234_enhanced"
    content = gzip.decompress(archive.files[path_of(1234)])
    (tmp_path / "whole.map").write_bytes(content)
    enhanced = mrcfile.read(run / "EMD-1234" / "EMD-1234_enhanced.map")
    np.testing.assert_array_equal(enhanced, mrcfile.read(tmp_path / "whole.map"))
    receipt = json.loads((run / "EMD-1234" / "receipt.json").read_text())
    assert receipt["input"]["source"] == "EMD-1234"
    assert receipt["input"]["url"] == f"{archive.url}/{path_of(1234)}"
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    before = len(gets(archive))
    assert samu("enhance", "EMD-1234_enhanced", *IDENTITY).returncode == 0
    assert len(gets(archive)) == before


def test_what_a_killed_process_left_of_a_map_that_is_done_goes(archive, samu, tmp_path):
    assert samu("enhance", "EMD-1234", "-o", "run", *IDENTITY).returncode == 0
    output = tmp_path / "run" / "EMD-1234" / "EMD-1234_enhanced.map"
    token = hashlib.sha256(bytes(output)).hexdigest()[:16]
    left = tmp_path / "cache" / "passing" / token / path_of(1234)
    left.parent.mkdir(parents=True)
    left.write_bytes(b"killed before it was removed")
    assert samu("enhance", "run", *IDENTITY).returncode == 0
    assert not list((tmp_path / "cache").iterdir())


def test_what_fetch_stored_stays_and_serves_offline(archive, samu, tmp_path):
    result = samu("fetch", *ENTRIES)
    assert result.returncode == 0, result.stderr
    stored = result.stdout.splitlines()
    assert len(stored) == 3
    before = len(archive.asked)
    assert samu("enhance", *ENTRIES, "-o", "run", "--offline", *IDENTITY).returncode == 0
    assert len(archive.asked) == before
    assert all(os.path.exists(path) for path in stored)  # noqa: PTH110


def test_offline_without_the_map_is_not_found(archive, samu, tmp_path):
    result = samu("enhance", "EMD-1234", "-o", "run", "--offline", *IDENTITY)
    assert result.returncode == 1
    assert "not-found" in result.stderr
    assert not archive.asked


def test_an_entry_that_the_archive_has_not_harms_no_other(archive, samu, tmp_path):
    result = samu("enhance", "EMD-9999", *ENTRIES, "-o", "run", *IDENTITY)
    assert result.returncode == 1
    kinds = {path.parent.name: json.loads(path.read_text())["kind"] for path in tmp_path.glob("run/*/receipt.json")}
    assert kinds.pop("EMD-9999") == "not-found"
    assert set(kinds.values()) == {"done"}
    assert samu("fetch", "EMD-9999", "EMD-1234").returncode == 1


def test_update_redoes_exactly_what_the_archive_revised(archive, samu, tmp_path):
    samu("fetch", "EMD-1234")
    samu("enhance", *ENTRIES, "-o", "run", *IDENTITY)
    first = {path: path.read_bytes() for path in tmp_path.glob("run/*/receipt.json")}
    revised = {number: archive.revise(number, number - 1200) for number in (1234, 1236)}
    reasons = dict(
        line.split("\t") for line in samu("enhance", "run", "-n", "--update", *IDENTITY).stdout.splitlines()[1:]
    )
    assert reasons == {
        "EMD-1234": "run (input changed)",
        "EMD-1235": "skip (done)",
        "EMD-1236": "run (input changed)",
    }
    assert samu("enhance", "run", *IDENTITY).returncode == 0
    assert first == {path: path.read_bytes() for path in tmp_path.glob("run/*/receipt.json")}
    result = samu("enhance", "run", "--update", *IDENTITY)
    assert result.returncode == 0, result.stderr
    changed = {path.parent.name for path in first if path.read_bytes() != first[path]}
    assert changed == {"EMD-1234", "EMD-1236"}
    # The copy that `fetch` had stored was outdated as well.
    for number, voxels in revised.items():
        enhanced = mrcfile.read(tmp_path / "run" / f"EMD-{number}" / f"EMD-{number}_enhanced.map")
        np.testing.assert_array_equal(enhanced, voxels)


def test_plan_counts_what_is_fetched_and_names_what_is_not(archive, samu):
    samu("fetch", "EMD-1234")
    result = samu("plan", "EMD-1234", "EMD-1235", "--json", *IDENTITY)
    first, second = map(json.loads, result.stdout.splitlines())
    assert (first["id"], first["cubes"], first["voxels"]) == ("EMD-1234", 1, 24 * 22 * 24)
    assert second == {"id": "EMD-1235", "reason": "not fetched yet"}
