"""All receipts of a run at a glance: counts, ``report.jsonl`` and a self-contained ``report.html``."""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import resources
from typing import TYPE_CHECKING

from samu_batch.cost import predicted_cubes
from samu_batch.errors import SamuError
from samu_batch.files import remove_partials, write_whole
from samu_batch.map_names import OWN_NAMES
from samu_batch.model import ModelSpec
from samu_batch.task import MapOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from samu_batch.entries import Entry
    from samu_batch.run_directory import RunDirectory
    from samu_batch.task import MapReport

WHAT_TO_DO = {
    "not-found": "check the id or the path; the archive may have withdrawn the entry",
    "fetch": "run the same command again; name another --mirror if it persists",
    "truncated": "copy or download the file again",
    "map-format": "open the file elsewhere: it is not an MRC or CCP4 map, or its checksum is wrong",
    "unsupported-geometry": "resample the map to an orthogonal cell first",
    "empty-map": "the map has no density above zero: check its sign and its mask",
    "non-finite": "the map holds NaN or infinity: repair it where it was made",
    "too-large": "raise --max-voxels, or name a larger --scratch",
    "store": "check free disk space and permissions, then run the same command again",
    "engine": "run samu-batch doctor",
    "out-of-memory": "lower --batch, --workers or --memory, then run the same command again",
    "worker-lost": "the worker died, most often for lack of memory: lower --workers, then run again",
    "interrupted": "run the same command again",
    "time-limit": "give the tasks a longer time limit and --retry-failed",
    "unreadable": "check the file's permissions",
    "internal": "a defect of samu-batch: please report it with the receipt",
}


@dataclass(frozen=True)
class BatchStatus:
    """Counts of a run, and its rates while it worked.

    ``rate`` is maps per hour, ``cubes_rate`` cubes per second; ``cubes_left`` are those of the maps without a receipt,
    one of unknown size counted as the mean of the others (None: nothing tells).
    """

    total: int
    done: int
    failed: dict[str, int]
    rate: float | None
    cubes_rate: float | None = None
    cubes_left: float | None = None

    @property
    def left(self) -> int:
        """Maps without a receipt."""
        return self.total - self.done - sum(self.failed.values())

    @property
    def hours_left(self) -> float | None:
        """Hours to finish at the present rate: of cubes, where they are known, for the longest maps come first."""
        if self.cubes_rate and self.cubes_left is not None:
            return self.cubes_left / self.cubes_rate / 3600
        return self.left / self.rate if self.rate else None


def batch_status(run: RunDirectory) -> BatchStatus:
    """Count the receipts of a run; works while it is going."""
    seen: dict[str, int | None] = {}

    def noted() -> Iterator[MapReport]:
        for report in run.receipts():
            seen[report.id] = report.cubes
            yield report

    entries = run.entries
    status = _counted(noted(), total=len(entries))
    waiting = [entry for entry in entries if entry.id not in seen]
    return replace(status, cubes_left=_cubes_of(waiting, run, finished=list(seen.values())))


def _cubes_of(waiting: Sequence[Entry], run: RunDirectory, *, finished: Sequence[int | None]) -> float | None:
    """Predict the cubes of maps that wait, from their files or LIST columns; one of unknown size counts as the mean."""
    settings = run.settings or {}
    try:
        spec = ModelSpec.load(settings["model"]["name"])
    except (SamuError, KeyError):
        return None  # the model is not on this machine
    options = MapOptions(model=spec.name, **settings["options"])
    predicted = [predicted_cubes(entry, spec=spec, options=options) for entry in waiting]
    known = [cubes for cubes in (*finished, *predicted) if cubes]
    if not known:
        return None
    mean = sum(known) / len(known)
    return sum(mean if cubes is None else cubes for cubes in predicted)


def write_reports(run: RunDirectory) -> list[MapReport]:
    """Rebuild ``failed.txt``, ``report.jsonl`` and ``report.html`` from the receipts; return what failed."""
    for name in OWN_NAMES:
        remove_partials(run.path / name)
    lines: list[str] = []
    rows: list[list[object]] = []
    failed: list[MapReport] = []

    def noted() -> Iterator[MapReport]:
        # One pass, and none is kept: there may be tens of thousands.
        for report in run.receipts():
            lines.append(report.to_json(indent=None))
            rows.append(_row(report))
            if not report.done:
                failed.append(report)
            yield report

    status = _counted(noted(), total=len(run.entries))
    write_whole(run.path / "report.jsonl", "".join(lines))
    write_whole(run.path / "report.html", _page(run, status, rows))
    run.write_failed(failed)
    return failed


def _counted(reports: Iterable[MapReport], *, total: int) -> BatchStatus:
    kinds: Counter[str] = Counter()
    spans: list[tuple[float, float]] = []
    cubes = 0
    for report in reports:
        kinds[report.kind] += 1
        cubes += (report.cubes or 0) if report.done else 0
        if report.started and report.finished:
            start, end = (datetime.fromisoformat(each).timestamp() for each in (report.started, report.finished))
            spans.append((start, end))
    done = kinds.pop("done", 0)
    busy = _busy(spans)
    return BatchStatus(
        total=total,
        done=done,
        failed=dict(kinds.most_common()),
        rate=len(spans) / busy * 3600 if busy else None,
        cubes_rate=cubes / busy if busy else None,
    )


def _busy(spans: list[tuple[float, float]]) -> float:
    """Return the seconds in which any map was in work: a night between two runs does not count."""
    busy, until = 0.0, 0.0
    for start, end in sorted(spans):
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return busy


def _page(run: RunDirectory, status: BatchStatus, rows: list[list[object]]) -> str:
    settings = run.settings or {}
    failures = "".join(
        f'<tr><td class="short"><button>{html.escape(kind)}</button><td class="number">{count}'
        f"<td>{html.escape(WHAT_TO_DO.get(kind, ''))}</tr>"
        for kind, count in status.failed.items()
    )
    template = resources.files("samu_batch").joinpath("report.html").read_text()
    values = {
        "NAME": html.escape(run.path.absolute().name),
        "VERSION": html.escape(str(settings.get("version", "-"))),
        "MODEL": html.escape(str(settings.get("model", {}).get("name", "-"))),
        "BEGUN": html.escape(str(settings.get("begun", "-"))),
        "DONE": str(status.done),
        "FAILED": str(sum(status.failed.values())),
        "LEFT": str(status.left),
        "RATE": f"{status.rate:.{0 if status.rate >= 100 else 1}f}" if status.rate else "-",
        "FAILURES": failures or "<tr><td colspan=3>none</td></tr>",
        # Drawn as the reader scrolls: ten thousand stay usable.
        "ROWS": json.dumps(rows).replace("<", "\\u003c"),
    }
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda slot: values[slot[1]], template)


def _row(report: MapReport) -> list[object]:
    engine = report.engine.get("name", "")
    seconds = round(sum(report.seconds.values()), 1)
    remark = report.message or "; ".join((*report.warnings, *report.guesses))
    shape = "x".join(map(str, reversed(report.shape))) if report.shape else ""
    end = round(datetime.fromisoformat(report.finished).timestamp(), 1) if report.finished else 0
    stage = max(report.seconds, key=report.seconds.__getitem__, default="")
    cubes = (report.cubes or 0, report.cubes_skipped or 0)
    return [report.id, report.kind, shape, *cubes, seconds, engine, remark, end, stage]
