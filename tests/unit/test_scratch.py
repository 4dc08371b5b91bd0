"""The folder of an unfinished map, also beside a helper of an attempt that was lost and still writes."""

import threading
import time
from pathlib import Path

from samu_batch.entries import Entry
from samu_batch.run_directory import RunDirectory
from samu_batch.scratch import scratch_folder
from samu_batch.task import MapOptions


def task_in(folder):
    options = MapOptions(model="any", scratch=folder / "scratch")
    return RunDirectory(folder / "run").task(Entry("1234", "1234.map", "file"), options)


def late_helper(folder, until):
    """Write chunks into a folder until a time, and make it anew where it was removed, as a store of chunks does."""
    number = 0
    while time.monotonic() < until:
        chunk = folder / "target-lost.zarr" / "c" / str(number % 97)
        try:
            chunk.parent.mkdir(parents=True, exist_ok=True)
            chunk.write_bytes(bytes(number % 7))
        except FileNotFoundError:
            continue  # removed between the two
        number += 1


def test_leftovers_are_gone_and_nothing_stays(tmp_path):
    task = task_in(tmp_path)
    with scratch_folder(task) as first:
        (first / "source.zarr").mkdir()
        (first / "source.zarr" / "chunk").touch()
        with scratch_folder(task) as again:
            assert again == first
            assert not list(again.iterdir())
    assert not list((tmp_path / "scratch").iterdir())


def test_a_helper_of_a_lost_attempt_does_no_harm(tmp_path):
    task = task_in(tmp_path)
    with scratch_folder(task) as folder:
        name = Path(folder)
    for _ in range(5):
        helper = threading.Thread(target=late_helper, args=(name, time.monotonic() + 0.1))
        helper.start()
        with scratch_folder(task) as folder:
            (folder / "source-new.zarr").mkdir()
        helper.join()
    with scratch_folder(task):
        pass
    assert not list((tmp_path / "scratch").iterdir())
