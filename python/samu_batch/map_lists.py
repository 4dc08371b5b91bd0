"""The text of a LIST: one entry a line, comments, or a table with a header."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass, field

ENTRY_COLUMNS = ("id", "map")
NUMBERS = ("contour", "resolution")
_COMMENT = re.compile(r"(^|\s)#.*$")


class LineError(ValueError):
    """A line of a LIST cannot be read."""


@dataclass(frozen=True)
class Row:
    """One line: the text of its entry, the id and the further columns of its table; or why it cannot be read."""

    line: int | None
    text: str
    id: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    problem: str = ""


def read_rows(text: str) -> list[Row]:
    """Split the text of a LIST into rows.

    A line that begins with ``#`` is a comment, and so is what follows a ``#`` after a blank. If the first other line
    holds the words ``id`` or ``map`` it is the header of a table, separated by commas, semicolons or tabs; otherwise
    each line is one entry.
    """
    rows: list[Row] = []
    table: _Table | None = None
    first = True
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        content = _COMMENT.sub("", line).strip(" \r\n" if table else None)
        if not content.strip():
            continue
        try:
            if first and (table := _table_of(content)):
                first = False
                continue
            first = False
            rows.append(table.row(number, content) if table else Row(number, content))
        except LineError as error:
            rows.append(Row(number, line.strip(), problem=str(error)))
    return rows


@dataclass(frozen=True)
class _Table:
    """The header of a LIST that is a table."""

    separator: str
    names: tuple[str, ...]

    def row(self, number: int, line: str) -> Row:
        cells = _cells(line, self.separator)
        if len(cells) > len(self.names):
            raise LineError(f"{len(cells)} cells under a header of {len(self.names)}")
        values = {name: cell for name, cell in zip(self.names, cells, strict=False) if cell}
        given = {name: values.pop(name, "") for name in ENTRY_COLUMNS}
        if not any(given.values()):
            raise LineError(f"no {' or '.join(name for name in self.names if name in ENTRY_COLUMNS)}")
        for name in NUMBERS:
            if name in values:
                _check_number(name, values[name])
        return Row(number, given["map"] or given["id"], given["id"] if given["map"] else "", values)


def _table_of(line: str) -> _Table | None:
    """Return the table whose header ``line`` is, if it is one."""
    for separator in (",", "\t", ";"):
        names = tuple(cell.lower() for cell in _cells(line, separator))
        if set(names) & set(ENTRY_COLUMNS):
            if len(set(names)) < len(names):
                raise LineError("a column's name occurs twice")
            return _Table(separator, names)
    return None


def _cells(line: str, separator: str) -> list[str]:
    try:
        [cells] = csv.reader([line], delimiter=separator, skipinitialspace=True)
    except csv.Error as error:
        raise LineError(str(error)) from error
    return [cell.strip() for cell in cells]


def _check_number(name: str, text: str) -> None:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (name == "resolution" and value <= 0):
        raise LineError(f"{name} {text!r} is not a {'positive ' if name == 'resolution' else ''}number")
