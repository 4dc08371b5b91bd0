"""Engines: what runs a model on cubes. They arrive by entry point and satisfy the protocol by shape."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Protocol

from samu_batch.errors import EngineError
from samu_batch.golden import TOLERANCE
from samu_batch.machine import gpus
from samu_batch.model import IDENTITY, ModelSpec
from samu_batch.probe import probe

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from importlib.metadata import EntryPoint

    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger("samu_batch")

GROUP = "samu_batch.engines"
ON_GPUS = ("tensorrt", "torch-cuda")
AUTO_ORDER = (*ON_GPUS, "openvino", "onnxruntime")
FIRST_START_SECONDS = 1800.0
"""How long an engine on a GPU may take in the process where ``auto`` tries it: it may have to compile the model."""


def installed_engines() -> list[str]:
    """Return the names of the engines that entry points offer: the order of ``auto`` first, then alphabetical."""
    names = {point.name for point in entry_points(group=GROUP)}
    return [*(name for name in AUTO_ORDER if name in names), *sorted(names - set(AUTO_ORDER))]


class Engine(Protocol):
    """Runs a model on batches of cubes, float32 ``(N, 1, D, H, W)``, ZYX, in the model's units."""

    spec: ModelSpec

    @property
    def batch(self) -> int:
        """Cubes that it likes at once."""
        ...

    def stream(self, batches: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Yield the enhanced cubes of each batch, in order; copies and compute may overlap."""
        ...

    def run(self, cubes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the enhanced cubes of one batch."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return what really runs, for the receipt."""
        ...

    def close(self) -> None:
        """Free the device."""
        ...


def load_engine(
    model: str | ModelSpec, *, engine: str = "auto", device: str | None = None, threads: int | None = None
) -> Engine:
    """Load the engine that runs ``model``.

    Parameters
    ----------
    model
        Name or path of a sidecar, or its spec.
    engine
        A name fails with the reason if that engine cannot run here; ``auto`` takes the first that can, and says so. It
        tries those for GPUs in a process of their own first.
    device, threads
        ``cpu`` or ``cuda``, and CPU threads (None: the engine's own choice).

    Raises
    ------
    EngineError
        There is no such model or engine, it cannot run here, or it answers the model's golden cube otherwise than the
        sidecar says.
    """
    spec = model if isinstance(model, ModelSpec) else ModelSpec.load(IDENTITY if engine == IDENTITY else model)
    if engine == "auto" and spec.weights is None:
        engine = IDENTITY
    if engine != "auto":
        return _load(engine, spec, device, threads)
    refused = {}
    for name in AUTO_ORDER:
        if device == "cpu" and name in ON_GPUS:
            continue
        try:
            if name in ON_GPUS:
                _try_apart(name, spec, threads)
            chosen = _load(name, spec, device, threads)
        except EngineError as error:
            refused[name] = str(error)
            continue
        for other, reason in refused.items():
            log.info("engine %s is not used: %s", other, reason)
        return _SecondChoice(chosen, refused) if refused else chosen
    raise EngineError("no engine can run here: " + "; ".join(f"{name}: {reason}" for name, reason in refused.items()))


def _try_apart(name: str, spec: ModelSpec, threads: int | None) -> None:
    """Try an engine whose libraries, where they do not fit the driver, end the process or never come back."""
    _point(name, spec)
    if not gpus():
        raise EngineError(f"{name} cannot run here: no NVIDIA driver lists a GPU")
    found = probe(name, str(spec.path), threads=threads, patience=FIRST_START_SECONDS)
    if not found["usable"]:
        raise EngineError(found["reason"])


class _SecondChoice:
    """The engine that ``auto`` took; it tells receipts of those that it passed over."""

    def __init__(self, engine: Engine, refused: dict[str, str]) -> None:
        self.spec = engine.spec
        self.stream, self.run, self.close = engine.stream, engine.run, engine.close
        self._engine = engine
        self._refused = refused

    @property
    def batch(self) -> int:
        return self._engine.batch

    def describe(self) -> dict[str, Any]:
        return self._engine.describe() | {"passed_over": self._refused}


def prepare_engine(model: str | ModelSpec, *, engine: str, batch: int | None = None) -> dict[str, Any]:
    """Let an engine do beforehand what takes long at its first start: compile the model for the GPU that is here.

    Parameters
    ----------
    model, engine
        The model, and an engine that compiles.
    batch
        Cubes at once; None leaves the number to the engine.

    Raises
    ------
    EngineError
        There is no such model or engine, it has nothing to prepare, or it cannot run here.
    """
    spec = model if isinstance(model, ModelSpec) else ModelSpec.load(model)
    point = _point(engine, spec)
    with _reasons(engine):
        spec.check_weights()
        prepare = getattr(point.load(), "prepare", None)
        if prepare is None:
            raise ValueError("it compiles nothing")
        facts: dict[str, Any] = prepare(spec, batch=batch)
    return facts


def _load(name: str, spec: ModelSpec, device: str | None, threads: int | None) -> Engine:
    point = _point(name, spec)
    with _reasons(name):
        spec.check_weights()
        engine: Engine = point.load()(spec, device=device, threads=threads)
        with _closing_on_error(engine):
            if spec.golden is not None and name != IDENTITY:
                tolerance = getattr(engine, "tolerance", TOLERANCE)
                spec.golden.check(engine.run, cube=spec.cube, tolerance=tolerance)
    return engine


def _point(name: str, spec: ModelSpec) -> EntryPoint:
    """Return where an engine is, if there is one that could have something to do with the model."""
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        raise EngineError(f"there is no engine {name!r} here; there are {', '.join(sorted(found))}")
    if spec.weights is None and name != IDENTITY:
        raise EngineError(f"{name} has nothing to run: the model {spec.name} is no network")
    return found[name]


@contextmanager
def _reasons(name: str) -> Iterator[None]:
    """Turn what an engine raises into an EngineError that says why it cannot run."""
    try:
        yield
    except ImportError as error:
        raise EngineError(f"{name} is not installed: {error}") from error
    except (RuntimeError, ValueError, OSError, MemoryError) as error:
        raise EngineError(f"{name} cannot run here: {error}") from error


@contextmanager
def _closing_on_error(engine: Engine) -> Iterator[None]:
    """Free the device of an engine that is not used: the one that is used instead may need it."""
    try:
        yield
    except BaseException:
        engine.close()
        raise
