"""A run in lines on stderr: for people where it is no terminal, and as JSON for machines."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING

from samu_batch.progress import duration

if TYPE_CHECKING:
    from samu_batch.events import MapEvent
    from samu_batch.progress import RunProgress, Snapshot
    from samu_batch.task import MapReport

HEARTBEAT_SECONDS = 60.0
LONGEST_ID = 24


class Lines:
    """A line for each finished map, and a heartbeat; as JSON the heartbeat only, for each map has its receipt."""

    def __init__(self, progress: RunProgress, *, quiet: bool, as_json: bool) -> None:
        self._progress = progress
        self._quiet = quiet
        self._as_json = as_json
        self._stop = threading.Event()

    def __enter__(self) -> Lines:
        if not self._quiet:
            threading.Thread(target=self._beat, name="samu-heartbeat", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._as_json and not self._quiet:
            self._say_all()

    def show(self, report: MapReport) -> None:
        """Say that a map finished."""
        if (self._quiet and report.done) or (self._as_json and not self._quiet):
            return
        now = self._progress.snapshot()
        left = f"; about {duration(now.seconds_left)} left" if now.seconds_left else ""
        _say(outcome(report, now, left=left))

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            self._say_all()

    def _say_all(self) -> None:
        now = self._progress.snapshot()
        _say(_event(now) if self._as_json else heartbeat(now))


def outcome(report: MapReport, now: Snapshot, *, left: str = "") -> str:
    """Return the line of a finished map, and those of what is to be known of it."""
    seconds = sum(report.seconds.values())
    cubes = f", {report.cubes - (report.cubes_skipped or 0)} of {report.cubes} cubes" if report.cubes else ""
    what = f"done in {seconds:.1f} s{cubes}" if report.done else f"{report.kind}: {report.message}"
    notes = [f"  note: {sentence}" for sentence in (*report.warnings, *report.guesses)]
    return "\n".join([f"[{now.finished}/{now.maps}] {report.id} {what}{left}", *notes])


def heartbeat(now: Snapshot) -> str:
    """Return one line that tells how far a run is."""
    words = [f"{now.finished} of {now.maps} maps finished", *failures(now), f"{duration(now.elapsed)} so far"]
    if now.cubes_per_second is not None:
        words.append(f"{number(now.cubes_per_second)} cubes/s")
    if now.seconds_left:
        words.append(f"about {duration(now.seconds_left)} left")
    workers = [f"; {name}: {', '.join(map(state, events))}" for name, events in now.workers.items() if events]
    return f"[{', '.join(words)}{''.join(workers)}]"


def failures(now: Snapshot) -> list[str]:
    """Return how many maps failed, by kind; nothing where none did."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in now.failed.items())
    return [f"{sum(now.failed.values())} failed ({kinds})"] if now.failed else []


def state(event: MapEvent) -> str:
    """Return what is done with a map in few words."""
    name = event.id if len(event.id) <= LONGEST_ID else f"{event.id[:12]}…{event.id[13 - LONGEST_ID :]}"
    if event.stage == "enhance" and event.done:
        return f"enhance {name} {event.done}/{event.total} cubes"
    if event.stage == "fetch" and event.done:
        whole = f"/{event.total / 1e6:.0f}" if event.total else ""
        return f"fetch {name} {event.done / 1e6:.0f}{whole} MB"
    return f"{event.stage} {name}"


def number(value: float) -> str:
    """Return three digits of a rate."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _event(now: Snapshot) -> str:
    values = {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(now).items()}
    return json.dumps({"event": "progress"} | values)
