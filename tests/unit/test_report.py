"""Counts, rates and pages are made of receipts alone, and hold any text."""

import json
import re

import numpy as np
import pytest

from samu_batch.entries import Entry
from samu_batch.errors import SamuError
from samu_batch.model import identity_spec
from samu_batch.report import WHAT_TO_DO, batch_status, write_reports
from samu_batch.run_directory import RunDirectory
from samu_batch.task import MapOptions, MapReport

OPTIONS = MapOptions(model="identity")


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path / "run")


def fill(run, *receipts, listed=None):
    """Begin a run of the receipts' entries, or of ``listed``, and write the receipts."""
    entries = [Entry(id=name, source=f"/{name}.mrc", kind="file") for name in listed or [r["id"] for r in receipts]]
    run.begin(entries, spec=identity_spec(), options=OPTIONS, version="0")
    for values in receipts:
        task = run.task(next(entry for entry in entries if entry.id == values["id"]), OPTIONS)
        task.receipt.parent.mkdir()
        task.receipt.write_text(MapReport(entry=task.entry, **({"kind": "done"} | values)).to_json())


def at(minute):
    return f"2026-01-01T{minute // 60:02d}:{minute % 60:02d}:00.000+00:00"


def test_the_rate_is_that_of_the_time_in_work(run):
    # Two side by side for half an hour, a night's rest, one more for half an hour.
    fill(
        run,
        {"id": "a", "started": at(0), "finished": at(30)},
        {"id": "b", "started": at(10), "finished": at(30)},
        {"id": "c", "started": at(600), "finished": at(630)},
        listed=["a", "b", "c", "d", "e"],
    )
    status = batch_status(run)
    assert (status.total, status.done, status.left) == (5, 3, 2)
    assert status.rate == pytest.approx(3.0)
    assert status.hours_left == pytest.approx(2 / 3)


def test_the_time_to_finish_is_that_of_the_cubes_left(run, make_map, tmp_path):
    """The longest maps come first: what is left is shorter than its number tells."""
    entries = [Entry(id="long", source="/long.mrc", kind="file"), Entry(id="far", source="EMD-1234", kind="emdb")]
    for number in range(2):
        path = make_map(tmp_path / f"short{number}.mrc", np.ones((60, 40, 40), np.float32))
        entries.append(Entry(id=f"short{number}", source=str(path), kind="file"))
    run.begin(entries, spec=identity_spec(), options=OPTIONS, version="0")
    receipt = run.task(entries[0], OPTIONS).receipt
    receipt.parent.mkdir()
    report = MapReport(
        id="long", entry=entries[0], kind="done", started=at(0), finished=at(60), cubes=20, cubes_skipped=5
    )
    receipt.write_text(report.to_json())
    status = batch_status(run)
    assert status.left == 3
    # Two of 2 cubes each, and one of which nothing tells, as large as the mean of 20, 2 and 2.
    assert status.cubes_left == pytest.approx(2 + 2 + 8)
    assert status.hours_left == pytest.approx(12 / 20)


def test_failures_are_counted_by_kind(run):
    fill(run, {"id": "a"}, {"id": "b", "kind": "fetch"}, {"id": "c", "kind": "fetch"}, {"id": "d", "kind": "engine"})
    status = batch_status(run)
    assert status.failed == {"fetch": 2, "engine": 1}
    assert status.left == 0
    assert status.rate is None


def test_every_kind_of_failure_has_advice():
    kinds = {error.kind for error in SamuError.__subclasses__()}
    assert set(WHAT_TO_DO) == kinds


def test_the_pages_hold_any_text(run):
    nasty = "</script><script>alert(1)</script> {{ROWS}} \u2028 & 'x' \"y\""
    fill(run, {"id": "a", "kind": "internal", "message": nasty}, {"id": "b", "shape": (3, 2, 1), "cubes": 4})
    write_reports(run)
    lines = [json.loads(line) for line in (run.path / "report.jsonl").read_text().splitlines()]
    assert lines[0]["message"] == nasty
    page = (run.path / "report.html").read_text()
    assert "<script>alert" not in page
    rows = json.loads(re.search(r'<script id="rows"[^>]*>(.*)</script>', page)[1])
    assert rows[0][7] == nasty
    assert rows[1][:4] == ["b", "done", "1x2x3", 4]
    assert not re.search(r"\{\{(?!ROWS\}\})[A-Z]+\}\}", page)


def test_a_name_of_a_run_is_escaped(tmp_path):
    run = RunDirectory(tmp_path / "<b>run")
    fill(run, {"id": "a"})
    write_reports(run)
    assert "<b>run" not in (run.path / "report.html").read_text()
