import dataclasses
import json

import pytest

from samu_batch.entries import Entry
from samu_batch.task import MapOptions, MapReport, byte_options, task_identity

ENTRY = Entry(id="EMD-1234", source="EMD-1234", kind="emdb", columns={"contour": "0.3"}, line=4)
REPORT = MapReport(
    id="EMD-1234",
    entry=ENTRY,
    kind="done",
    shape=(10, 20, 30),
    spacing=(1.0, 1.0, 1.0),
    seconds={"enhance": 1.5},
    outputs=({"file": "a.map", "bytes": 1024, "sha256": "0" * 64},),
    warnings=("coarse",),
)


def test_receipt_round_trip():
    assert MapReport.from_json(REPORT.to_json()) == REPORT


def test_a_receipt_of_a_later_version_can_be_read():
    values = json.loads(REPORT.to_json()) | {"a_field_of_tomorrow": 1}
    assert MapReport.from_json(json.dumps(values)) == REPORT


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"id": "x"}', "null"])
def test_what_is_no_receipt_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        MapReport.from_json(text)


def test_identity_ignores_the_engine_and_sees_what_changes_bytes():
    options = MapOptions(model="samu-lite", engine="openvino", threads=2)
    other_engine = dataclasses.replace(options, engine="onnxruntime", threads=8, memory=1)
    other_grid = dataclasses.replace(options, grid="model")

    def identity(o, sha="a"):
        return task_identity(input_sha256=sha, model_sha256="m", options=byte_options(o))

    assert identity(options) == identity(other_engine)
    assert identity(options) != identity(other_grid)
    assert identity(options) != identity(options, "b")
