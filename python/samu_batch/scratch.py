"""The folder of one unfinished map: node-local, found again by name, and gone when the map is finished."""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samu_batch.task import MapTask

TRIES = 50
PAUSE = 0.02  # seconds; a helper notices at its next read that its volumes are gone


@contextmanager
def scratch_folder(task: MapTask) -> Iterator[Path]:
    """Give ``task`` an empty folder for its unfinished volumes.

    The name follows from the output's path, so that a run that was killed throws its own leftovers away when it is
    resumed on the same node, and two runs never share one.
    """
    folder = _folder(task)
    _remove(folder)
    try:
        # A helper that writes its last chunk may bring the folder back; what it holds bears the lost attempt's names.
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    finally:
        _remove(folder)


def discard_scratch(task: MapTask) -> None:
    """Remove what a worker of this machine that is no more left of a map."""
    _remove(_folder(task))


def _remove(folder: Path) -> None:
    """Remove a folder, also while a helper of an attempt whose worker was lost still writes a chunk into it."""
    for _ in range(TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(PAUSE)


def _folder(task: MapTask) -> Path:
    return (task.options.scratch or Path(tempfile.gettempdir())) / f"samu-batch-{task.token}"
