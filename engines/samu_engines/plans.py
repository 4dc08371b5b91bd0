"""Compiled plans of GPU engines, kept on disk: what each was compiled from, and a folder that many processes share.

A plan's file begins with ``samu-plan 1``, then one line of JSON (the :class:`EnginePlan`, and length and sha256 of what
follows), then the plan. It is written aside and renamed. Of many processes that want one plan, one compiles it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import secrets
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger("samu_batch")

MAGIC = b"samu-plan 1\n"
SUFFIX = ".plan"


class PlanError(ValueError):
    """A file is no plan, is damaged, or is not the plan that was asked for."""


@dataclass(frozen=True, kw_only=True)
class EnginePlan:
    """All that a compiled plan depends on; two that are equal may stand for each other.

    Attributes
    ----------
    model, onnx_sha256
        The model's name, and its ONNX file.
    cube, batch
        Edge of a cube in voxels, and the most cubes at once.
    opset
        Operator set of the variant that is compiled.
    builder
        TensorRT's version.
    flags
        Names of the builder's flags, and of the network's.
    gpu, capability, driver
        Name of the GPU, its compute capability, and the CUDA version of the driver.
    """

    model: str
    onnx_sha256: str
    cube: int
    batch: int
    opset: int
    builder: str
    flags: tuple[str, ...]
    gpu: str
    capability: str
    driver: str

    @property
    def key(self) -> str:
        """Sixteen digits that no other plan has."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    def facts(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return asdict(self)

    def summary(self) -> str:
        """Return one line."""
        return f"{self.model}, {self.batch} cubes at once, {self.gpu}, TensorRT {self.builder}, driver {self.driver}"

    def difference(self, other: EnginePlan) -> str:
        """Say what differs from another, for messages; empty where nothing does."""
        mine, theirs = asdict(self), asdict(other)
        return ", ".join(f"{name} {theirs[name]} and not {mine[name]}" for name in mine if mine[name] != theirs[name])


@dataclass(frozen=True)
class PlanFolder:
    """A folder of plans."""

    path: Path

    def file_of(self, plan: EnginePlan) -> Path:
        """Return where a plan lies or would lie."""
        return self.path / f"{plan.model}-{plan.batch}-{plan.key}{SUFFIX}"

    def get(self, plan: EnginePlan, compile_plan: Callable[[], bytes]) -> tuple[bytes, str]:
        """Return the compiled plan, and how it was come by: ``cached``, ``built``, or built and why it was not kept.

        One process compiles; those that come meanwhile wait for it. A damaged file is compiled anew.
        """
        file = self.file_of(plan)
        with suppress(OSError, PlanError):
            return read_plan(file, expected=plan), "cached"
        try:
            with _alone(file):
                try:
                    return read_plan(file, expected=plan), "cached"
                except FileNotFoundError:
                    pass
                except (OSError, PlanError) as error:
                    log.warning("%s; it is compiled anew", error)
                compiled = compile_plan()
                write_plan(file, plan, compiled)
                return compiled, "built"
        except _NotKept as error:
            log.warning("the plan is not kept, and every start compiles it anew: %s", error)
            return error.compiled or compile_plan(), f"built, not kept: {error}"

    def plans(self) -> Iterator[tuple[Path, EnginePlan | None]]:
        """Yield each file with its plan, or None for one that is none or is damaged, in order of name."""
        for file in sorted(self.path.glob(f"*{SUFFIX}")):
            try:
                yield file, described_plan(file)
            except (PlanError, OSError):
                yield file, None


def default_folder() -> PlanFolder:
    """Return the folder of this user."""
    return PlanFolder(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "samu-batch" / "plans")


def described_plan(file: Path) -> EnginePlan:
    """Return what a file was compiled from, after a check that it is whole.

    Raises
    ------
    PlanError, OSError
        It is no plan or is damaged; it cannot be read.
    """
    return _read(file)[0]


def read_plan(file: Path, *, expected: EnginePlan) -> bytes:
    """Return what a compiler made, for its run time.

    Raises
    ------
    PlanError, OSError
        The file is no plan, is damaged, or was compiled from or for something else, which the message names; it cannot
        be read.
    """
    found, compiled = _read(file)
    if difference := expected.difference(found):
        raise PlanError(f"{file} is a plan for another purpose: {difference}")
    return compiled


def write_plan(file: Path, plan: EnginePlan, compiled: bytes) -> None:
    """Write a plan, whole or not at all."""
    facts = asdict(plan) | {"bytes": len(compiled), "sha256": hashlib.sha256(compiled).hexdigest()}
    try:
        write_aside(file, MAGIC + json.dumps(facts).encode() + b"\n" + compiled)
    except OSError as error:
        raise _NotKept(f"{file} cannot be written: {error.strerror}", compiled) from error


def write_aside(file: Path, content: bytes) -> None:
    """Write aside, flush, rename."""
    partial = file.with_name(f".{file.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


class _NotKept(Exception):
    """Nothing can be kept in the folder; ``compiled`` is what was to be kept, if it came so far."""

    def __init__(self, reason: str, compiled: bytes = b"") -> None:
        super().__init__(reason)
        self.compiled = compiled


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Be the only process here, until it leaves or dies."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise _NotKept(f"{file.parent} cannot be written: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another process compiles %s; this one waits for it", file.name)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(file: Path) -> tuple[EnginePlan, bytes]:
    content = file.read_bytes()
    if not content.startswith(MAGIC):
        raise PlanError(f"{file} is no plan of samu-batch")
    header, _, compiled = content.removeprefix(MAGIC).partition(b"\n")
    try:
        facts: dict[str, Any] = json.loads(header)
        length, digest = facts.pop("bytes"), facts.pop("sha256")
        plan = EnginePlan(**facts | {"flags": tuple(facts["flags"])})
    except (ValueError, KeyError, TypeError) as error:
        raise PlanError(f"{file} is damaged: its header cannot be read") from error
    if len(compiled) != length:
        raise PlanError(f"{file} is damaged: {len(compiled)} bytes, not {length}")
    if hashlib.sha256(compiled).hexdigest() != digest:
        raise PlanError(f"{file} is damaged: its checksum is wrong")
    return plan, compiled
