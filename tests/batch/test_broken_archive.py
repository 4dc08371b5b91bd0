"""Law 8 on a small archive: every good map is done, every broken one comes to its kind, and nothing else is left."""

import gzip
import json
import os
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import mrcfile
import numpy as np

from samu_batch.turns import CONNECTIONS

MAPS, EVERY = 212, 4
ARCHIVE = Path(__file__).parents[1] / "fake_archive.py"


@contextmanager
def archive(*options):
    command = [sys.executable, ARCHIVE, *options]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.kill()


def test_every_map_comes_to_what_it_must_and_nothing_is_left(tmp_path):
    places = {name: tmp_path / name for name in ("run", "cache", "scratch", "tmp")}
    places["tmp"].mkdir()
    with archive("--maps", MAPS, "--every", EVERY) as told:
        expected = dict.fromkeys(told["good"], "done") | {entry: kind for entry, (_, kind) in told["odd"].items()}
        listed = tmp_path / "list.txt"
        listed.write_text("".join(f"{entry}\n" for entry in sorted(expected)))
        command = [sys.executable, "-m", "samu_batch", "enhance", listed, "-o", places["run"], "--mirror", told["url"]]
        command += ["--engine", "identity", "--devices", "cpu", "--workers", 2, "--threads", 1]
        command += ["--cache", places["cache"], "--scratch", places["scratch"]]
        environment = os.environ | {"TMPDIR": str(places["tmp"])}
        ran = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, timeout=600)
        assert ran.returncode == 1, ran.stderr
        state = json.load(urllib.request.urlopen(f"{told['url']}/state", timeout=10))
        for entry in [*told["good"][::20], *(entry for entry, (_, kind) in told["odd"].items() if kind == "done")]:
            assert_same_map(places["run"], entry, told)
    kinds = {path.parent.name: json.loads(path.read_text())["kind"] for path in places["run"].glob("*/receipt.json")}
    ways = {entry: way for entry, (way, _) in told["odd"].items()}
    wrong = {ways.get(entry, entry): kinds.get(entry) for entry, kind in expected.items() if kinds.get(entry) != kind}
    assert not wrong
    assert state["most at once"] <= CONNECTIONS
    for name in ("cache", "scratch", "tmp"):
        assert not list(places[name].rglob("*")), name
    for entry, kind in expected.items():
        outputs = {f"{entry}_enhanced.map", "view.cxc"} if kind == "done" else set()
        assert {path.name for path in (places["run"] / entry).iterdir()} == {"receipt.json", *outputs}
    own = {path.name for path in places["run"].iterdir() if path.is_file()}
    assert own == {"run.json", "failed.txt", "report.html", "report.jsonl"}


def assert_same_map(run, entry, told):
    """What the server gives in the end, the identity engine gave back."""
    way = told["odd"].get(entry, ["good"])[0]
    place = f"{told['url']}/{entry}/map/emd_{entry[4:]}.map.gz"
    with urllib.request.urlopen(place, timeout=10) as answer:
        content = gzip.decompress(answer.read())
    shape = mrcfile.open(run / entry / f"{entry}_enhanced.map").data.shape
    voxels = np.frombuffer(content, "<f4", count=int(np.prod(shape)), offset=1024).reshape(shape)
    np.testing.assert_array_equal(mrcfile.read(run / entry / f"{entry}_enhanced.map"), voxels, err_msg=way)
