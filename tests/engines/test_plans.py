"""A folder of compiled plans: one process compiles what many want, and what is damaged or foreign is compiled anew."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from samu_engines.plans import SUFFIX, EnginePlan, PlanError, PlanFolder, described_plan, read_plan, write_plan

PLAN = EnginePlan(
    model="samu-lite",
    onnx_sha256="8aab",
    cube=64,
    batch=8,
    opset=21,
    builder="11.4.0.106",
    flags=("STRONGLY_TYPED",),
    gpu="NVIDIA H100",
    capability="9.0",
    driver="13.1",
)


@pytest.fixture
def folder(tmp_path):
    return PlanFolder(tmp_path / "plans")


def never():
    raise AssertionError("compiled though it was there")


def test_a_plan_is_compiled_once(folder):
    assert folder.get(PLAN, lambda: b"compiled") == (b"compiled", "built")
    assert folder.get(PLAN, never) == (b"compiled", "cached")
    assert list(folder.plans()) == [(folder.file_of(PLAN), PLAN)]
    assert [path.suffix for path in folder.path.iterdir() if path.suffix != ".lock"] == [SUFFIX]


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(EnginePlan)])
def test_whatever_a_plan_depends_on_makes_it_another(folder, field):
    value = getattr(PLAN, field)
    other = dataclasses.replace(PLAN, **{field: (value + 1) if isinstance(value, int) else (*value, "x")})
    if isinstance(value, str):
        other = dataclasses.replace(PLAN, **{field: value + "x"})
    folder.get(PLAN, lambda: b"one")
    assert folder.get(other, lambda: b"other") == (b"other", "built")
    assert folder.get(PLAN, never)[0] == b"one"


def test_a_plan_of_another_version_or_gpu_is_refused_with_what_differs(folder):
    foreign = dataclasses.replace(PLAN, builder="10.3.0", capability="8.0")
    folder.get(foreign, lambda: b"foreign")
    folder.file_of(foreign).rename(folder.file_of(PLAN))
    with pytest.raises(PlanError, match=r"another purpose: builder 10\.3\.0 and not 11\.4\.0\.106, capability 8\.0"):
        read_plan(folder.file_of(PLAN), expected=PLAN)
    assert folder.get(PLAN, lambda: b"own") == (b"own", "built")


DAMAGE = {
    "cut": (lambda content: content[:-1], "damaged: 7 bytes, not 8"),
    "one bit": (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "checksum is wrong"),
    "header": (lambda content: content.replace(b'"cube"', b'"cub"'), "header cannot be read"),
    "empty": (lambda content: b"", "is no plan"),
    "a bare plan": (lambda content: b"ftrt" + content, "is no plan"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_plan_is_named_and_compiled_anew(folder, caplog, damage):
    change, message = DAMAGE[damage]
    folder.get(PLAN, lambda: b"compiled")
    file = folder.file_of(PLAN)
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(PlanError, match=message):
        described_plan(file)
    assert list(folder.plans()) == [(file, None)]
    assert folder.get(PLAN, lambda: b"again") == (b"again", "built")
    assert "compiled anew" in caplog.text
    assert message in caplog.text
    assert folder.get(PLAN, never) == (b"again", "cached")


def test_a_folder_that_cannot_be_written_costs_a_build_each_time_and_says_so(folder, caplog):
    folder.path.parent.mkdir(exist_ok=True)
    folder.path.write_text("a file where the folder should be")
    for _ in range(2):
        compiled, how = folder.get(PLAN, lambda: b"compiled")
        assert compiled == b"compiled"
        assert how.startswith("built, not kept: ")
    assert "every start compiles it anew" in caplog.text


@contextmanager
def unprivileged():
    """Be nobody for a while: root writes everywhere."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_read_only_folder_still_gives_what_it_holds(caplog):
    with tempfile.TemporaryDirectory() as place:
        folder = PlanFolder(Path(place))
        folder.get(PLAN, lambda: b"compiled")
        folder.path.chmod(0o555)
        other = dataclasses.replace(PLAN, batch=4)
        with unprivileged():
            assert folder.get(PLAN, never) == (b"compiled", "cached")
            compiled, how = folder.get(other, lambda: b"other")
        folder.path.chmod(0o755)
        assert (compiled, how) == (b"other", f"built, not kept: {place} cannot be written: Permission denied")
    assert "every start compiles it anew" in caplog.text


def test_a_full_disk_loses_no_build(folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("samu_engines.plans.write_aside", full)
    compiled, how = folder.get(PLAN, lambda: b"compiled")
    assert compiled == b"compiled"
    assert "No space left" in how


def test_what_fails_to_compile_leaves_nothing(folder):
    def fail():
        raise RuntimeError("no implementation")

    with pytest.raises(RuntimeError, match="no implementation"):
        folder.get(PLAN, fail)
    assert not list(folder.plans())


WORKER = """
import json, logging, os, sys, time
from pathlib import Path
from samu_engines.plans import EnginePlan, PlanFolder

logging.basicConfig(level="INFO", format="%(message)s")
folder, seconds = PlanFolder(Path(sys.argv[1])), float(sys.argv[2])

def compile_plan():
    print("compiles", flush=True)
    time.sleep(seconds)
    return b"compiled by %d" % os.getpid()

facts = json.loads(sys.argv[3])
compiled, how = folder.get(EnginePlan(**facts | {"flags": tuple(facts["flags"])}), compile_plan)
print(how, compiled.decode(), flush=True)
"""


@pytest.fixture
def worker(folder):
    """`worker(seconds)` starts a process that wants the plan, and would take so long to compile it."""
    started = []

    def start(seconds):
        facts = json.dumps(dataclasses.asdict(PLAN))
        command = [sys.executable, "-c", WORKER, str(folder.path), str(seconds), facts]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_of_eight_processes_that_start_at_once_one_compiles(worker):
    said = [process.communicate(timeout=120) for process in [worker(3) for _ in range(8)]]
    lines = [out.splitlines() for out, _ in said]
    assert sum("compiles" in each for each in lines) == 1
    assert Counter(each[-1].split()[0] for each in lines) == {"built": 1, "cached": 7}
    assert len({each[-1].split("by ")[1] for each in lines}) == 1
    assert any("this one waits for it" in err for _, err in said)


def test_a_builder_that_is_killed_holds_nobody_up(worker, folder):
    first = worker(600)
    assert first.stdout.readline() == "compiles\n"
    second = worker(0)
    time.sleep(0.2)
    first.send_signal(signal.SIGKILL)
    out, _ = second.communicate(timeout=60)
    assert out.splitlines()[-1].startswith("built")
    assert read_plan(folder.file_of(PLAN), expected=PLAN).startswith(b"compiled by ")


def test_a_writer_that_is_killed_leaves_the_old_file(folder, monkeypatch):
    write_plan_to = folder.file_of(PLAN)
    folder.path.mkdir()
    write_plan(write_plan_to, PLAN, b"old")

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        write_plan(write_plan_to, PLAN, b"new")
    assert read_plan(write_plan_to, expected=PLAN) == b"old"
