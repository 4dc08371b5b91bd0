"""Every engine is tried in a process of its own: one that crashes or hangs says so and harms nothing."""

import os
import textwrap
from importlib.metadata import entry_points

import pytest

from samu_batch.doctor import diagnose, examine_engines
from samu_batch.engine import installed_engines, load_engine
from samu_batch.errors import EngineError
from samu_batch.probe import probe


@pytest.fixture
def bad_engines(tmp_path, monkeypatch):
    """Install three engines that crash, hang, or miss a library, for this process and its children."""
    (tmp_path / "bad_engines.py").write_text(
        textwrap.dedent(
            """
            import os, signal, time

            def crash(spec, *, device, threads):
                os.kill(os.getpid(), signal.SIGSEGV)

            def hang(spec, *, device, threads):
                time.sleep(600)

            def lack(spec, *, device, threads):
                import a_library_that_is_not_there
            """
        )
    )
    names = ("crash", "hang", "lack")
    install(tmp_path, "bad-engines", {name: f"bad_engines:{name}" for name in names}, monkeypatch)


def install(folder, package, engines, monkeypatch):
    """Let a package in `folder` offer engines, to this process and its children; it hides another one of that name."""
    info = folder / f"{package.replace('-', '_')}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    points = "".join(f"{name} = {where}\n" for name, where in engines.items())
    (info / "entry_points.txt").write_text(f"[samu_batch.engines]\n{points}")
    paths = [str(folder), *(path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.syspath_prepend(folder)


def test_an_engine_that_crashes_is_named_with_its_signal(bad_engines, tmp_path, make_model):
    sidecar, _ = make_model(tmp_path / "model")
    found = probe("crash", str(sidecar))
    assert not found["usable"]
    assert "SIGSEGV" in found["reason"]


def test_an_engine_that_hangs_is_given_up(bad_engines, tmp_path, make_model):
    sidecar, _ = make_model(tmp_path / "model")
    found = probe("hang", str(sidecar), patience=2)
    assert found == {"usable": False, "reason": "no answer within 2 s"}


def test_a_library_that_is_missing_is_named(bad_engines, tmp_path, make_model):
    sidecar, _ = make_model(tmp_path / "model")
    assert "a_library_that_is_not_there" in probe("lack", str(sidecar))["reason"]


def test_a_usable_engine_is_timed(tmp_path, make_model):
    sidecar, _ = make_model(tmp_path)
    found = probe("onnxruntime", str(sidecar), threads=1)
    assert found["usable"], found
    assert found["describe"]["threads"] == 1
    assert found["seconds_per_cube"] > 0
    assert found["memory"] > 10_000_000


def test_an_engine_whose_answer_is_not_finite_is_not_usable(tmp_path, make_model):
    sidecar, _ = make_model(tmp_path, poison=True)
    assert "finite" in probe("onnxruntime", str(sidecar))["reason"]


@pytest.mark.parametrize(("fault", "reason"), [("crash", "SIGSEGV"), ("hang", "no answer"), ("lack", "not installed")])
def test_auto_survives_an_engine_that_crashes_hangs_or_lacks_a_library(
    bad_engines, tmp_path, make_model, monkeypatch, fault, reason
):
    own = {point.name: point.value for point in entry_points(group="samu_batch.engines")}
    engines = own | {"tensorrt": f"bad_engines:{fault}", "torch-cuda": "bad_engines:lack"}
    install(tmp_path, "samu-engines", engines, monkeypatch)
    monkeypatch.setattr("samu_batch.engine.gpus", lambda: ("0",))
    monkeypatch.setattr("samu_batch.engine.FIRST_START_SECONDS", 5 if fault == "hang" else 120)
    sidecar, _ = make_model(tmp_path / "model")
    facts = load_engine(str(sidecar), threads=1).describe()
    assert facts["name"] == "openvino"
    assert reason in facts["passed_over"]["tensorrt"]
    with pytest.raises(EngineError, match="a_library_that_is_not_there"):  # by name it fails, and never falls back
        load_engine(str(sidecar), engine="torch-cuda")


def test_without_a_gpu_auto_tries_no_engine_for_gpus(tmp_path, make_model, monkeypatch):
    monkeypatch.setattr("samu_batch.engine.gpus", lambda: ())
    monkeypatch.setattr("samu_batch.engine.probe", lambda *_, **__: pytest.fail("a process was started"))
    sidecar, _ = make_model(tmp_path)
    passed_over = load_engine(str(sidecar), threads=1).describe()["passed_over"]
    assert passed_over == {
        name: f"{name} cannot run here: no NVIDIA driver lists a GPU" for name in ("tensorrt", "torch-cuda")
    }


def test_engines_stand_in_the_order_of_auto_with_the_absent_ones():
    names = [found["name"] for found in examine_engines("identity")]
    assert names == ["tensorrt", "torch-cuda", "openvino", "onnxruntime", "identity", "openvino-bf16"]
    assert installed_engines() == ["tensorrt", "torch-cuda", "openvino", "onnxruntime", "identity", "openvino-bf16"]


def test_the_doctor_tells_of_machine_models_and_engines(tmp_path, make_model):
    sidecar, _ = make_model(tmp_path)
    findings = diagnose(model=str(sidecar), scratch=tmp_path / "not" / "yet", cache=tmp_path)
    assert findings["machine"]["cores"] >= 1
    assert findings["machine"]["scratch"]["exists"] is False
    assert findings["machine"]["cache"]["exists"] is True
    usable = {found["name"]: found["usable"] for found in findings["engines"]}
    usable.pop("openvino-bf16")  # as the processor is
    assert usable == {"tensorrt": False, "torch-cuda": False, "openvino": True, "onnxruntime": True, "identity": True}
    assert all(found["reason"] for found in findings["engines"] if not found["usable"])
