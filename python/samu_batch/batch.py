"""Many maps: which of them need work, in which order, and the function that a worker runs for each."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from samu_batch.cost import predicted_cubes
from samu_batch.enhance import enhance_map
from samu_batch.errors import TRANSIENT_KINDS, OutOfMemoryError
from samu_batch.events import MapEvent, nobody
from samu_batch.files import remove
from samu_batch.locate import revised
from samu_batch.map_names import MAP_SUFFIXES
from samu_batch.process_engine import process_engine
from samu_batch.run_directory import read_receipt
from samu_batch.task import byte_options
from samu_batch.turns import CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from samu_batch.cubes import CubeWork, Spread
    from samu_batch.events import Listener
    from samu_batch.model import ModelSpec
    from samu_batch.task import MapOptions, MapReport, MapTask


class Executor(Protocol):
    """Runs ``process`` on every task, each at least once, and yields the reports in any order."""

    spread: Spread | None
    """Takes the cubes of a huge map to all of its workers, where it has several."""

    def map(
        self,
        process: Callable[[MapTask, Listener], MapReport],
        tasks: Iterable[MapTask],
        *,
        alone: bool = False,
        progress: Listener = nobody,
    ) -> Iterator[MapReport]:
        """Yield the reports of ``tasks`` as they finish; ``alone``: each with nothing beside it.

        What ``process`` tells of a map is passed on to ``progress``, from any thread.
        """
        ...


@dataclass(frozen=True)
class Decision:
    """What will happen to one task, and why; ``cubes`` predicts its cost (None: not known before it is fetched)."""

    task: MapTask
    run: bool
    reason: str
    cubes: int | None = 0


def plan_batch(tasks: Sequence[MapTask], *, spec: ModelSpec, retry_failed: bool, update: bool) -> list[Decision]:
    """Decide for every task whether it runs, longest first; one of unknown size is in the middle, with the mean ones.

    A plain re-run trusts the receipts: a local input is compared by size and time of modification, what was fetched is
    taken as it was. With ``update`` a receipt of another model or other options is redone, and so is a map of which the
    archive has a newer revision.
    """

    def decide(task: MapTask) -> Decision:
        run, reason = _decide(task, spec=spec, retry_failed=retry_failed, update=update)
        cubes = predicted_cubes(task.entry, spec=spec, options=task.options) if run else 0
        return Decision(task, run, reason, cubes)

    # What the archive is asked takes a while for each map.
    with ThreadPoolExecutor(CONNECTIONS if update else 1, thread_name_prefix="samu-plan") as pool:
        decisions = list(pool.map(decide, tasks))
    known = [decision.cubes for decision in decisions if decision.cubes]
    mean = sum(known) / len(known) if known else 0.0
    # A long one that began last would keep one worker at work and the others waiting.
    return sorted(decisions, key=lambda decision: -(mean if decision.cubes is None else decision.cubes))


def run_batch(tasks: Iterable[MapTask], executor: Executor, *, progress: Listener = nobody) -> Iterator[MapReport]:
    """Enhance many maps, what earlier runs left of them first removed, and yield their reports as they finish.

    A map that memory was too short for is tried once more when the others are done: alone, with half the batch.
    ``progress`` is told where each map is, from any thread.
    """
    begun: dict[str, MapTask] = {}
    short: list[MapTask] = []

    def cleared(tasks: Iterable[MapTask]) -> Iterator[MapTask]:
        for task in tasks:
            clear(task)
            begun[task.entry.id] = task
            yield task

    process = partial(process_task, spread=executor.spread)
    for report in executor.map(process, cleared(tasks), progress=progress):
        task = begun.pop(report.id)
        if report.kind == OutOfMemoryError.kind:
            short.append(task)
            progress(MapEvent(report.id, "waiting"))
        else:
            yield report
    if short:
        sparing = partial(process, sparing=True)
        yield from executor.map(sparing, cleared(short), alone=True, progress=progress)


def process_task(
    task: MapTask, progress: Listener = nobody, *, spread: Spread | None = None, sparing: bool = False
) -> MapReport:
    """Enhance one map with the engine of this process: what an executor runs in its workers.

    ``spread`` takes the cubes of a huge map to others; ``sparing`` halves the batch.
    """
    engine = process_engine(task.options)
    if sparing:
        half = max(1, (task.options.batch or engine.batch) // 2)
        task = replace(task, options=replace(task.options, batch=half))
    return enhance_map(task, engine, progress=progress, spread=spread)


def process_part(work: CubeWork, part: tuple[int, int], progress: Listener = nobody) -> tuple[int, int]:
    """Do a part of a map's cubes with the engine of this process (returns as :meth:`CubeWork.do`)."""
    return work.do(process_engine(work.options), part=part, progress=progress)


def _decide(task: MapTask, *, spec: ModelSpec, retry_failed: bool, update: bool) -> tuple[bool, str]:
    receipt = read_receipt(task.receipt)
    if receipt is None:
        return True, "run (new)"
    if _input_changed(receipt) or (update and receipt.done and _revised(receipt, task.options)):
        return True, "run (input changed)"
    if not receipt.done:
        again = retry_failed or receipt.kind in TRANSIENT_KINDS
        return again, f"{'retry' if again else 'skip'} ({receipt.kind})"
    if update and receipt.model.get("sha256") != spec.sha256:
        return True, "run (model changed)"
    if update and receipt.options != byte_options(task.options):
        return True, "run (options changed)"
    if not _outputs_whole(receipt, task.receipt.parent):
        return True, "run (output missing)"
    return False, "skip (done)"


def _input_changed(receipt: MapReport) -> bool:
    """Whether a local input is no longer the file that the receipt saw."""
    if receipt.entry.kind != "file" or "mtime_ns" not in receipt.input:
        return False
    try:
        stat = Path(receipt.entry.source).stat()
    except OSError:
        # A finished map outlives its input; a failed one is tried again only on request.
        return False
    return bool((stat.st_size, stat.st_mtime_ns) != (receipt.input["bytes"], receipt.input["mtime_ns"]))


def _revised(receipt: MapReport, options: MapOptions) -> bool:
    """Whether the archive has another revision of a map than its receipt saw."""
    return receipt.entry.kind != "file" and not options.offline and revised(receipt.entry, receipt.input, options)


def clear(task: MapTask) -> None:
    """Remove receipt and outputs of an earlier attempt: first the receipt, for outputs count only with it."""
    before = read_receipt(task.receipt)
    task.receipt.unlink(missing_ok=True)
    names = {output["file"] for output in before.outputs} if before is not None else set()
    if task.view is not None:
        # A folder of a RUN is all ours: an attempt with another --grid or --format may have been killed as well.
        names |= {task.output.stem + suffix for suffix in (*MAP_SUFFIXES, ".ome.zarr")} | {task.view.name}
    for name in names:
        remove(task.receipt.parent / name)


def _outputs_whole(receipt: MapReport, folder: Path) -> bool:
    for output in receipt.outputs:
        path = folder / output["file"]
        if not path.exists() or (path.is_file() and path.stat().st_size != output["bytes"]):
            return False
    return True
