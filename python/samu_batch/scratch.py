"""The folder of one unfinished map: node-local, found again by name, and gone when the map is finished."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samu_batch.task import MapTask


@contextmanager
def scratch_folder(task: MapTask) -> Iterator[Path]:
    """Give ``task`` an empty folder for its unfinished volumes.

    The name follows from the output's path, so that a run that was killed throws its own leftovers away when it is
    resumed on the same node, and two runs never share one.
    """
    folder = _folder(task)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def discard_scratch(task: MapTask) -> None:
    """Remove what a worker of this machine that is no more left of a map."""
    shutil.rmtree(_folder(task), ignore_errors=True)


def _folder(task: MapTask) -> Path:
    return (task.options.scratch or Path(tempfile.gettempdir())) / f"samu-batch-{task.token}"
