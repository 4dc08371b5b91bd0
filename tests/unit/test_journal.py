"""Any error has a stable kind, and doubts are told."""

import errno

import pytest

from samu_batch.entries import Entry
from samu_batch.errors import SamuError, StoreError, TruncatedError
from samu_batch.journal import failed_outside, kind_of
from samu_batch.run_directory import read_receipt
from samu_batch.task import MapOptions, MapTask


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TruncatedError("x"), "truncated"),
        (MemoryError(), "out-of-memory"),
        (PermissionError(errno.EACCES, "no"), "unreadable"),
        (FileNotFoundError(errno.ENOENT, "no"), "not-found"),
        (OSError(errno.ENOSPC, "full"), "store"),
        (OSError(errno.EINVAL, "a wrong call"), "internal"),
        (KeyError("x"), "internal"),
        (ZeroDivisionError(), "internal"),
    ],
)
def test_every_error_has_a_kind(error, kind):
    assert kind_of(error) == kind


def test_kinds_are_all_different_and_documented():
    kinds = [error.kind for error in SamuError.__subclasses__()]
    assert len(set(kinds)) == len(kinds)


def test_a_map_whose_worker_is_gone_gets_its_receipt(tmp_path):
    task = MapTask(
        entry=Entry(id="a", source="/a.mrc", kind="file"),
        options=MapOptions(model="identity"),
        output=tmp_path / "a" / "a.mrc",
        receipt=tmp_path / "a" / "receipt.json",
    )
    report = failed_outside(task, StoreError("the disk is gone"))
    assert read_receipt(task.receipt) == report
    assert (report.kind, report.message) == ("store", "the disk is gone")
