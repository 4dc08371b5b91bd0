"""What a user names to be enhanced: ENTRY arguments and LIST files.

They become entries, or one error that shows every bad line.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from samu_batch.map_lists import LineError, Row, read_rows
from samu_batch.map_names import assign_ids, name_of
from samu_batch.sources import Kind, absolute, is_file, is_list, named_source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

SHOWN, WIDTH = 20, 80
"""Bad lines that an error shows, and characters of each."""

RUN_JSON = "run.json"


@dataclass(frozen=True)
class Entry:
    """One map to enhance.

    Attributes
    ----------
    id
        Its folder's name in a RUN.
    source
        An absolute path, a URL, or an EMDB id such as ``EMD-1234``.
    kind
        Which of these: ``file``, ``url`` or ``emdb``.
    columns
        Further columns of its LIST, such as ``contour``, ``structure`` (an absolute path) and ``resolution``.
    line
        Its line in the LIST; None if it was an argument.
    """

    id: str
    source: str
    kind: Kind
    columns: dict[str, str] = field(default_factory=dict)
    line: int | None = None


class Problem(NamedTuple):
    """A line or an argument that cannot be read: where it stands, what it says, and why not."""

    where: str
    text: str
    reason: str


class BadListError(ValueError):
    """The list has lines that cannot be read, or no entry at all; nothing may run."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = "1 bad line" if len(problems) == 1 else f"{len(problems)} bad lines"
        lines = [f"{count}, nothing was run" if problems else "no entries: the list is empty"]
        lines += [f"{where}: {text[:WIDTH]!r}: {reason}" for where, text, reason in problems[:SHOWN]]
        if len(problems) > SHOWN:
            lines.append(f"... and {len(problems) - SHOWN} more")
        super().__init__("\n".join(lines))


def parse_entries(
    arguments: Sequence[str],
    *,
    stdin: TextIO | None = None,
    run_entries: Callable[[Path], list[Entry]] | None = None,
) -> list[Entry]:
    """Read ENTRY arguments: map files, URLs, EMDB ids, LIST files, RUN folders, ``-`` for a LIST on ``stdin``.

    Each input occurs once, as it stood first, however it is spelled. Relative paths in a LIST are relative to the LIST.

    Parameters
    ----------
    arguments
        As on the command line.
    stdin
        Read where an argument is ``-``.
    run_entries
        Gives the list of the RUN in a folder that holds ``run.json``. A LIST inside a RUN takes ids and columns from
        it.

    Raises
    ------
    BadListError
        Some lines cannot be read (all are named), or there is no entry. A map that does not exist is no bad line.
    """
    reader = _Reader(stdin, run_entries or (lambda _: []))
    for argument in arguments:
        reader.read_argument(argument)
    if reader.problems or not reader.found:
        raise BadListError(reader.problems)
    entries = list(reader.found.values())
    ids = assign_ids([(entry.id, entry.source) for entry in entries])
    return [replace(entry, id=map_id) for entry, map_id in zip(entries, ids, strict=True)]


class _Reader:
    """Collects entries by what they are, so that each counts once, and what cannot be read."""

    def __init__(self, stdin: TextIO | None, run_entries: Callable[[Path], list[Entry]]) -> None:
        self.found: dict[str, Entry] = {}
        self.problems: list[Problem] = []
        self._stdin = stdin
        self._run_entries = run_entries

    def read_argument(self, argument: str) -> None:
        path = Path(argument)
        if argument == "-" and self._stdin is not None:
            self._read_list(self._stdin.read, name="standard input", folder=Path.cwd(), known=[])
        elif is_file(path / RUN_JSON):
            for entry in self._run_entries(path):
                self._add(entry)
        elif is_list(argument):
            in_run = is_file(path.parent / RUN_JSON)
            self._read_list(
                lambda: path.read_text(encoding="utf-8-sig"),
                name=str(path),
                folder=path.absolute().parent,
                known=self._run_entries(path.parent) if in_run else [],
            )
        else:
            self._read_row(Row(None, argument), where="argument", folder=Path.cwd(), known={})

    def _read_list(self, read: Callable[[], str], *, name: str, folder: Path, known: list[Entry]) -> None:
        try:
            text = read()
        except OSError as error:
            self.problems.append(Problem("list", name, error.strerror or str(error)))
            return
        except UnicodeDecodeError as error:
            self.problems.append(Problem("list", name, f"not UTF-8 text at byte {error.start}"))
            return
        by_key = {input_key(entry): entry for entry in known}
        for row in read_rows(text):
            self._read_row(row, where=f"{name} line {row.line}", folder=folder, known=by_key)

    def _read_row(self, row: Row, *, where: str, folder: Path, known: dict[str, Entry]) -> None:
        try:
            if row.problem:
                raise LineError(row.problem)
            entry = _entry(row, folder)
        except LineError as error:
            self.problems.append(Problem(where, row.text, str(error)))
            return
        self._add(known.get(input_key(entry), entry))

    def _add(self, entry: Entry) -> None:
        self.found.setdefault(input_key(entry), entry)


def _entry(row: Row, folder: Path) -> Entry:
    """Make an entry of a line; raises :class:`LineError`."""
    source, kind = named_source(row.text, folder)
    columns = dict(row.columns)
    if "structure" in columns:
        columns["structure"] = absolute(columns["structure"], folder)
    name = row.id or (source if kind == "emdb" else name_of(source))
    return Entry(name, source, kind, columns, row.line)


def input_key(entry: Entry) -> str:
    """Return what all spellings of one input share."""
    return os.path.realpath(entry.source) if entry.kind == "file" else entry.source
