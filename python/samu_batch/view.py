"""``view.cxc``: opens a map and its enhancement in ChimeraX, as surfaces that enclose the same volume."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from samu_batch import _rust
from samu_batch.files import write_whole
from samu_batch.mrc import read_header
from samu_batch.volume import voxels_of

if TYPE_CHECKING:
    from pathlib import Path

    from samu_batch._rust import Voxels
    from samu_batch.mrc import MapHeader
    from samu_batch.task import MapTask

SIGMAS = 3.0
"""Contour level of a map that names none, in standard deviations above its mean."""


def write_view(task: MapTask, header: MapHeader, voxels: Voxels, *, threads: int) -> None:
    """Write the ChimeraX commands beside the enhanced map.

    Parameters
    ----------
    task
        Its entry's column ``contour`` is the surface level of the input, if it has one.
    header, voxels
        The input's.
    """
    assert task.view is not None
    level = _contour(task, voxels, threads=threads)
    enclosed = _rust.count_above(voxels, level, threads=threads) * math.prod(header.spacing)
    enhanced_level = level_enclosing(task.output, enclosed, threads=threads)
    source = task.entry.source
    shown = os.path.relpath(source, task.view.parent) if task.entry.kind == "file" else source
    opening = (
        f"open {_quoted(shown)}" if task.entry.kind != "emdb" else f"open {task.entry.id.split('-')[-1]} from emdb"
    )
    write_whole(
        task.view,
        f"# Grey: the input map. Blue: enhanced. Both surfaces enclose {enclosed:.0f} cubic angstrom.\n"
        f"{opening}\n"
        f"open {_quoted(task.output.name)}\n"
        f"volume #1 level {level:.6g} color #aaaaaa80 style surface\n"
        f"volume #2 level {enhanced_level:.6g} color cornflowerblue style surface\n"
        "view\n",
    )


def level_enclosing(path: Path, volume: float, *, threads: int) -> float:
    """Return the level at which the surface of the map at ``path`` encloses ``volume`` cubic angstrom.

    It is a percentile of the non-zero voxels, so a volume larger than theirs gives the lowest of them.
    """
    header = read_header(path)
    voxels = voxels_of(header)
    nonzero = _rust.survey(voxels, threads=threads).nonzero
    if nonzero == 0:
        return 0.0
    share = min(1.0, volume / math.prod(header.spacing) / nonzero)
    return _rust.percentile(voxels, 100 * (1 - share), threads=threads)


def _contour(task: MapTask, voxels: Voxels, *, threads: int) -> float:
    try:
        return float(task.entry.columns.get("contour", ""))
    except ValueError:
        survey = _rust.survey(voxels, threads=threads)
        return survey.mean + SIGMAS * survey.rms


def _quoted(path: str) -> str:
    return '"' + path.replace('"', '\\"') + '"'
