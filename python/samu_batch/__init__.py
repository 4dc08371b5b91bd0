"""samu-batch: enhances cryo-EM density maps with CryoSAMU's network, one map or the whole archive.

The public names load what they need when they are first used, so that ``import samu_batch`` and the command's help
are instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samu_batch.batch import run_batch as run_batch
    from samu_batch.cubes import enhance_volume as enhance_volume
    from samu_batch.emdb import EmdbId as EmdbId
    from samu_batch.engine import Engine as Engine
    from samu_batch.engine import load_engine as load_engine
    from samu_batch.enhance import enhance_map as enhance_map
    from samu_batch.entries import Entry as Entry
    from samu_batch.entries import parse_entries as parse_entries
    from samu_batch.errors import SamuError as SamuError
    from samu_batch.fetch import fetch_map as fetch_map
    from samu_batch.model import ModelSpec as ModelSpec
    from samu_batch.mrc import MapHeader as MapHeader
    from samu_batch.mrc import read_header as read_header
    from samu_batch.task import MapOptions as MapOptions
    from samu_batch.task import MapReport as MapReport
    from samu_batch.task import MapTask as MapTask
    from samu_batch.volume import Cube as Cube
    from samu_batch.volume import CubeGrid as CubeGrid
    from samu_batch.volume import Region as Region
    from samu_batch.volume import Volume as Volume
    from samu_batch.volume import export_map as export_map
    from samu_batch.volume import ingest_map as ingest_map

_HOMES = {
    "batch": ("run_batch",),
    "cubes": ("enhance_volume",),
    "emdb": ("EmdbId",),
    "engine": ("Engine", "load_engine"),
    "enhance": ("enhance_map",),
    "entries": ("Entry", "parse_entries"),
    "errors": ("SamuError",),
    "fetch": ("fetch_map",),
    "model": ("ModelSpec",),
    "mrc": ("MapHeader", "read_header"),
    "task": ("MapOptions", "MapReport", "MapTask"),
    "volume": ("Cube", "CubeGrid", "Region", "Volume", "export_map", "ingest_map"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'samu_batch' has no attribute {name!r}")
    return getattr(importlib.import_module(f"samu_batch.{_HOME_OF[name]}"), name)
