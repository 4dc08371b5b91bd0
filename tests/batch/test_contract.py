"""The command line as scripts rely on it: what it prints, names, keeps and refuses, in real processes."""

import json
import os
import pty
import subprocess
import sys

import mrcfile
import numpy as np
import pytest

IDENTITY = ["--engine", "identity"]


@pytest.fixture
def here(tmp_path, make_map):
    """A folder with a map, another of the same name elsewhere, and a list of both."""
    for folder, seed in (("", 1), ("sub", 2)):
        (tmp_path / folder).mkdir(exist_ok=True)
        make_map(tmp_path / folder / "a.mrc", np.random.default_rng(seed).random((20, 22, 24), dtype=np.float32))
    (tmp_path / "my.list.txt").write_text("a.mrc\nsub/a.mrc\n./a.mrc\n")
    return tmp_path


@pytest.fixture
def samu(here):
    def run(*arguments, **environment):
        command = [sys.executable, "-m", "samu_batch", *map(str, arguments)]
        environment = os.environ | {name: str(value) for name, value in environment.items()}
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=here, timeout=120)

    return run


@pytest.mark.parametrize(
    ("argument", "name"),
    [
        ("a.mrc", "a_enhanced"),
        ("my.list.txt", "my.list_enhanced"),
        ("sub/a.mrc", "a_enhanced"),
        ("1234", "EMD-1234_enhanced"),
    ],
)
def test_the_run_is_named_after_the_first_entry_and_printed_first(samu, argument, name):
    assert samu("enhance", argument, "-n", *IDENTITY).stdout.splitlines()[0] == name


def test_a_dry_run_writes_nothing(samu, here):
    before = sorted(here.rglob("*"))
    result = samu("enhance", "my.list.txt", "-n", *IDENTITY)
    assert result.returncode == 0
    names = [line.split("\t")[0] for line in result.stdout.splitlines()[1:]]
    assert len(names) == len(set(names)) == 2
    assert all(name.startswith("a-") for name in names)
    assert sorted(here.rglob("*")) == before
    lines = samu("enhance", "my.list.txt", "-n", "--json", *IDENTITY).stdout.splitlines()
    assert [json.loads(line)["reason"] for line in lines] == ["run (new)"] * 2


def test_results_on_stdout_progress_on_stderr(samu):
    result = samu("enhance", "a.mrc", *IDENTITY)
    assert result.stdout == "a_enhanced\n1 of 1 maps done, 0 failed\nreport: a_enhanced/report.html\n"
    assert result.stderr.startswith("[1/1] a done in ")


def test_quiet_shows_failures_only(samu):
    assert samu("enhance", "a.mrc", "-q", *IDENTITY).stderr == ""
    assert "not-found" in samu("enhance", "none.mrc", "-q", *IDENTITY).stderr


def test_verbose_explains_failures_in_full(samu):
    for executor in ("serial", "dask"):
        options = ["-o", executor, "--executor", executor, *IDENTITY]
        assert "Traceback" not in samu("enhance", "none.mrc", *options).stderr
        assert "Traceback" in samu("enhance", "none.mrc", "-v", "--retry-failed", *options).stderr


def test_json_is_a_receipt_a_line_and_nothing_else(samu):
    result = samu("enhance", "my.list.txt", "--json", *IDENTITY)
    receipts = [json.loads(line) for line in result.stdout.splitlines()]
    assert [receipt["kind"] for receipt in receipts] == ["done", "done"]


def test_a_terminal_has_a_bar(here):
    main, terminal = pty.openpty()
    command = [sys.executable, "-m", "samu_batch", "enhance", "a.mrc", *IDENTITY]
    process = subprocess.Popen(command, cwd=here, stdout=subprocess.DEVNULL, stderr=terminal)
    os.close(terminal)
    shown = b""
    while True:
        try:
            more = os.read(main, 4096)
        except OSError:  # the other end is closed
            break
        if not more:
            break
        shown += more
    os.close(main)
    assert process.wait(60) == 0
    assert "1/1 maps" in shown.decode()
    assert "100 %" in shown.decode()


def test_a_run_keeps_its_model_and_options(samu, here, make_model):
    sidecar, _ = make_model(here / "model")
    assert samu("enhance", "a.mrc", "-o", "run", "--model", "model/tiny.json", "--grid", "model").returncode == 0
    settings = json.loads((here / "run" / "run.json").read_text())
    assert settings["model"]["name"] == str(sidecar)
    (here / "run" / "a" / "receipt.json").unlink()
    assert samu("enhance", "run").returncode == 0
    again = json.loads((here / "run" / "a" / "receipt.json").read_text())
    assert (again["model"]["name"], again["options"]["grid"]) == ("tiny", "model")
    refused = samu("enhance", "run", "--grid", "input")
    assert refused.returncode == 2
    assert "--grid model, now input" in refused.stderr
    other, _ = make_model(here / "other", seed=1)
    assert "made with model" in samu("enhance", "run", "--model", other, "-n").stderr


def test_a_map_of_the_same_name_is_never_taken_for_another(samu, here):
    assert samu("enhance", "a.mrc", "-o", "run", *IDENTITY).returncode == 0
    assert samu("enhance", "sub/a.mrc", "-o", "run", *IDENTITY).returncode == 0
    receipts = [json.loads(path.read_text()) for path in (here / "run").glob("*/receipt.json")]
    assert {receipt["entry"]["source"] for receipt in receipts} == {str(here / "a.mrc"), str(here / "sub" / "a.mrc")}
    for receipt in receipts:
        enhanced = here / "run" / receipt["id"] / receipt["outputs"][0]["file"]
        np.testing.assert_array_equal(mrcfile.read(enhanced), mrcfile.read(receipt["entry"]["source"]))
    reasons = samu("enhance", "my.list.txt", "-o", "run", "-n").stdout.splitlines()[1:]
    assert [reason.split("\t")[1] for reason in reasons] == ["skip (done)"] * 2


def test_an_output_never_overwrites_an_input(samu, here):
    before = (here / "a.mrc").read_bytes()
    (here / "link.mrc").symlink_to(here / "a.mrc")
    for output in ("a.mrc", "sub/../a.mrc", "link.mrc"):
        result = samu("enhance", "a.mrc", "--output", output, *IDENTITY)
        assert result.returncode == 2
        assert "is an input" in result.stderr
    assert (here / "a.mrc").read_bytes() == before


def test_another_runs_output_beside_is_left_alone(samu, here):
    (here / "out").mkdir()
    theirs = here / "out" / ".b.mrc.1234-abcd.partial"
    theirs.write_bytes(b"of a process that runs beside this one")
    assert samu("enhance", "a.mrc", "--output", "out/a.mrc", *IDENTITY).returncode == 0
    assert theirs.exists()


def test_inputs_may_be_read_only_and_are_never_changed(samu, here):
    path = here / "a.mrc"
    path.chmod(0o444)
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    assert samu("enhance", "a.mrc", *IDENTITY).returncode == 0
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


@pytest.mark.parametrize(
    "name", ["with blank.mrc", "ünï.mrc", 'quo"te.mrc', "new\nline.mrc", b"bad\xff.mrc", "#hash.mrc"]
)
def test_any_name_is_enhanced_and_its_run_resumed(samu, here, name):
    path = here / os.fsdecode(name)
    (here / "a.mrc").rename(path)
    assert samu("enhance", path, "-o", "run", *IDENTITY).returncode == 0
    [receipt] = (here / "run").glob("*/receipt.json")
    assert json.loads(receipt.read_text())["kind"] == "done"
    np.testing.assert_array_equal(mrcfile.read(next(receipt.parent.glob("*.mrc"))), mrcfile.read(path))
    result = samu("enhance", "run", "-n")
    assert result.stdout.splitlines()[1].endswith("\tskip (done)")


def test_scratch_and_temporary_folders_are_left_empty(samu, here):
    (here / "tmp").mkdir()
    for executor in ("serial", "dask"):
        options = ["-o", executor, "--executor", executor, *IDENTITY]
        assert samu("enhance", "my.list.txt", "none.mrc", *options, TMPDIR=here / "tmp").returncode == 1
        assert list((here / "tmp").iterdir()) == []


def test_more_workers_than_maps_are_not_started(samu, here):
    # One map: one process with all the threads, and no cluster.
    result = samu("enhance", "a.mrc", "--workers", "2", *IDENTITY, "-v")
    assert result.returncode == 0
    assert "distributed" not in result.stderr


def test_plan_says_too_large_and_what_is_missing(samu):
    result = samu("plan", "a.mrc", "none.mrc", "--max-voxels", "1000", *IDENTITY)
    assert result.returncode == 0
    assert "more than the limit of 1000" in result.stdout
    assert "not-found" in result.stdout
    assert samu("plan", "a.mrc", "--json", *IDENTITY).stdout.count("\n") == 1
