"""Every engine is tried in a process of its own: one that crashes or hangs says so and harms nothing."""

import os
import sys
import textwrap

import pytest

from samu_batch.doctor import diagnose, examine_engines
from samu_batch.probe import installed_engines, probe


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
    info = tmp_path / "bad_engines-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad-engines\nVersion: 1\n")
    points = "".join(f"{name} = bad_engines:{name}\n" for name in ("crash", "hang", "lack"))
    (info / "entry_points.txt").write_text(f"[samu_batch.engines]\n{points}")
    paths = [str(tmp_path), *(path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.syspath_prepend(tmp_path)
    return sys.path


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


def test_engines_stand_in_the_order_of_auto_with_the_absent_ones():
    names = [found["name"] for found in examine_engines("identity")]
    assert names == ["tensorrt", "torch-cuda", "openvino", "onnxruntime", "identity"]
    assert installed_engines() == ["tensorrt", "openvino", "onnxruntime", "identity"]


def test_the_doctor_tells_of_machine_models_and_engines(tmp_path, make_model):
    sidecar, _ = make_model(tmp_path)
    findings = diagnose(model=str(sidecar), scratch=tmp_path / "not" / "yet", cache=tmp_path)
    assert findings["machine"]["cores"] >= 1
    assert findings["machine"]["scratch"]["exists"] is False
    assert findings["machine"]["cache"]["exists"] is True
    usable = {found["name"]: found["usable"] for found in findings["engines"]}
    assert usable == {"tensorrt": False, "torch-cuda": False, "openvino": True, "onnxruntime": True, "identity": True}
    assert all(found["reason"] for found in findings["engines"] if not found["usable"])
