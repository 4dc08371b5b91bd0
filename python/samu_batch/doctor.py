"""What this machine can run, and why not the rest: facts only, which the command line prints."""

from __future__ import annotations

import platform
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from samu_batch.engine import AUTO_ORDER, installed_engines
from samu_batch.errors import SamuError
from samu_batch.locate import default_cache
from samu_batch.machine import cores, gpus, memory_bytes
from samu_batch.model import ModelSpec, model_names
from samu_batch.probe import probe


def diagnose(*, model: str, scratch: Path | None = None, cache: Path | None = None) -> dict[str, Any]:
    """Look at this machine and try every engine on one cube.

    Parameters
    ----------
    model
        Name or path of the model that the engines are tried with.
    scratch, cache
        Folders to look at instead of the default ones.

    Returns
    -------
    dict
        ``versions``, ``machine`` (bytes), ``models`` and ``engines``; ready for JSON.
    """
    models = examine_models()
    return {
        "versions": {
            "samu-batch": version("samu-batch"),
            "samu-engines": version("samu-engines"),
            "python": platform.python_version(),
            "system": platform.platform(),
        },
        "machine": {
            "cores": cores(),
            "memory": memory_bytes(),
            "gpus": list(gpus()),
            "scratch": _folder(scratch or Path(tempfile.gettempdir())),
            "cache": _folder(cache or default_cache()),
        },
        "models": models,
        "engines": examine_engines(model),
    }


def examine_models() -> list[dict[str, Any]]:
    """Return every installed model by name, with the reason where it cannot be used."""
    found = []
    for name, path in model_names().items():
        try:
            spec = ModelSpec.load(path)
            spec.check_weights()
        except SamuError as error:
            found.append({"name": name, "usable": False, "reason": str(error)})
            continue
        found.append({"name": name, "usable": True, "path": str(path), "sha256": spec.sha256, "spacing": spec.spacing})
    return found


def examine_engines(model: str) -> list[dict[str, Any]]:
    """Try every engine that is installed, or that ``--engine auto`` would like, in its order of choice.

    Where ``model`` cannot be used the engines are only imported.
    """
    try:
        spec = ModelSpec.load(model)
        spec.check_weights()
        tried = model if spec.weights is not None else None
    except SamuError:
        tried = None
    installed = installed_engines()
    names = dict.fromkeys([*AUTO_ORDER, *installed])
    return [{"name": name} | (probe(name, tried) if name in installed else _absent()) for name in names]


def _absent() -> dict[str, Any]:
    return {"usable": False, "reason": "not part of this installation"}


def _folder(path: Path) -> dict[str, Any]:
    """Return the space where ``path`` is or would be made."""
    present = next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())
    return {"path": str(path), "free": shutil.disk_usage(present).free, "exists": path.is_dir()}
