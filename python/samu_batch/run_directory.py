"""The RUN directory: where everything of one run lies. The receipts are the only truth; the rest is rebuilt from them.

::

    RUN/run.json                       what was asked for
    RUN/ID/ID_enhanced.map             the enhanced map
    RUN/ID/receipt.json                what came of it
    RUN/ID/view.cxc                    opens both in ChimeraX
    RUN/failed.txt                     a LIST of what failed; absent when nothing did
    RUN/report.html, RUN/report.jsonl  all receipts
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from samu_batch.entries import Entry, input_key
from samu_batch.files import write_new, write_whole
from samu_batch.map_lists import read_rows
from samu_batch.map_names import id_apart, map_suffix
from samu_batch.sources import is_file, is_list
from samu_batch.task import MapReport, MapTask, byte_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from samu_batch.model import ModelSpec
    from samu_batch.task import MapOptions

RUN_JSON = "run.json"
RECEIPT = "receipt.json"
FAILED = "failed.txt"
SCHEMA = 1


class RunMismatchError(ValueError):
    """The RUN was made with another model or other options."""


@dataclass(frozen=True)
class RunDirectory:
    """One RUN. ``path`` need not exist before :meth:`begin`."""

    path: Path

    @classmethod
    def holding(cls, argument: str) -> RunDirectory | None:
        """Return the RUN that an ENTRY is, or lies in as a LIST does, if there is one."""
        path = Path(argument)
        for folder in (path, path.parent) if is_list(argument) else (path,):
            if is_file(folder / RUN_JSON):
                return cls(folder)
        return None

    @property
    def settings(self) -> dict[str, Any] | None:
        """What ``run.json`` holds; None where the run has not begun.

        Raises
        ------
        RunMismatchError
            It is damaged, or of a version that this one cannot read.
        """
        try:
            values = json.loads((self.path / RUN_JSON).read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise RunMismatchError(f"{self.path / RUN_JSON} cannot be read: {error}") from error
        if not isinstance(values, dict) or values.get("schema") != SCHEMA:
            raise RunMismatchError(f"{self.path / RUN_JSON} is not of a version that this samu-batch reads")
        return values

    @property
    def entries(self) -> list[Entry]:
        """The run's list."""
        return [Entry(**values) for values in (self.settings or {}).get("list", [])]

    def adopt(self, entries: Sequence[Entry]) -> list[Entry]:
        """Return ``entries`` by their ids in this run; a new one that would take another's id gets a hash."""
        known = {input_key(entry): entry.id for entry in self.entries}
        taken = {map_id.casefold() for map_id in known.values()}
        adopted = []
        for entry in entries:
            map_id = known.get(input_key(entry)) or id_apart(entry.id, entry.source, taken)
            taken.add(map_id.casefold())
            adopted.append(dataclasses.replace(entry, id=map_id))
        return adopted

    def check(self, spec: ModelSpec, options: MapOptions) -> None:
        """Refuse a model or options that change bytes and are not the run's.

        Raises
        ------
        RunMismatchError
            They differ; the message says in what.
        """
        before = self.settings
        # Where nothing was done yet there is nothing to keep, unless a job array was promised.
        if before is not None and (before["partition"] is not None or any(self.receipts())):
            _refuse_difference(self.path, before, _asked(spec, options))

    def begin(
        self,
        entries: Sequence[Entry],
        *,
        spec: ModelSpec,
        options: MapOptions,
        version: str,
        partition: dict[str, Any] | None = None,
    ) -> None:
        """Record what is asked for; entries of earlier calls stay in the list, and so does their partition.

        Of many processes that begin one run at once, one writes.

        Raises
        ------
        StoreError
            The folder cannot be written.
        """
        before = self.settings
        known = {entry.id: entry for entry in self.entries} | {entry.id: entry for entry in entries}
        values = {
            "schema": SCHEMA,
            "version": version,
            "begun": (before or {}).get("begun") or datetime.now(UTC).isoformat(timespec="seconds"),
            **_asked(spec, options),
            "partition": partition or (before or {}).get("partition"),
            "list": [dataclasses.asdict(entry) for entry in known.values()],
        }
        text = json.dumps(values, indent=1) + "\n"
        if before is None:
            if not write_new(self.path / RUN_JSON, text):
                self.begin(entries, spec=spec, options=options, version=version, partition=partition)
        elif before != values:
            write_whole(self.path / RUN_JSON, text)

    def task(self, entry: Entry, options: MapOptions) -> MapTask:
        """Return the task that enhances ``entry`` into this run."""
        # Absolute: a worker elsewhere has another present folder.
        folder = self.path.absolute() / entry.id
        return MapTask(
            entry=entry,
            options=options,
            output=folder / f"{entry.id}_enhanced{output_suffix(entry, options)}",
            receipt=folder / RECEIPT,
            view=folder / "view.cxc",
        )

    def receipt(self, entry_id: str) -> MapReport | None:
        """Return the receipt of an entry; None where there is none, or none that can be read."""
        return read_receipt(self.path / entry_id / RECEIPT)

    def receipts(self) -> Iterator[MapReport]:
        """Iterate over the receipts of the run's list, in its order."""
        for entry in self.entries:
            report = self.receipt(entry.id)
            if report is not None:
                yield report

    def write_failed(self, failed: Sequence[MapReport]) -> None:
        """Rebuild ``failed.txt`` of the receipts of what failed."""
        path = self.path / FAILED
        if not failed:
            path.unlink(missing_ok=True)
            return
        lines = [f"{_list_line(report)}  # {report.kind}: {' '.join(report.message.split())}" for report in failed]
        write_whole(path, "\n".join(lines) + "\n")


def read_receipt(path: Path) -> MapReport | None:
    """Read a receipt; None where it is missing or damaged (the map is then done again)."""
    try:
        return MapReport.from_json(path.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
        return None


def output_suffix(entry: Entry, options: MapOptions) -> str:
    """Return the suffix that makes viewers place the output on its input (``.mrc`` on the model's grid)."""
    if options.grid == "model":
        return ".mrc"
    if entry.kind == "emdb":
        return ".map"
    return map_suffix(Path(urlsplit(entry.source).path if entry.kind == "url" else entry.source))


def _list_line(report: MapReport) -> str:
    """Return the line of a LIST that means the entry of a report; a comment where no line can."""
    source = report.entry.source
    try:
        source.encode()  # a list is UTF-8
        [row] = read_rows(source)
        whole = row.text == source and not row.problem
    except ValueError:
        whole = False
    return source if whole else f"# {report.id} has a name that no list can hold; --retry-failed on the RUN tries it:"


def _asked(spec: ModelSpec, options: MapOptions) -> dict[str, Any]:
    # A model named by its path is found again from any folder; one known by name, in any installation.
    name = spec.name if spec.path is None or options.model == spec.name else str(spec.path.absolute())
    return {"model": {"name": name, "sha256": spec.sha256}, "options": byte_options(options)}


def _refuse_difference(path: Path, before: dict[str, Any], asked: dict[str, Any]) -> None:
    differences = []
    if before["model"]["sha256"] != asked["model"]["sha256"]:
        differences.append(
            f"model {before['model']['name']} ({before['model']['sha256'][:12]}), now {asked['model']['name']}"
            f" ({asked['model']['sha256'][:12]})"
        )
    differences += [
        f"--{name} {before['options'].get(name)}, now {value}"
        for name, value in asked["options"].items()
        if before["options"].get(name) != value
    ]
    if differences:
        raise RunMismatchError(
            f"{path} was made with {'; '.join(differences)}: name another RUN with -o, or redo it with --update"
        )
