"""What a word names: a map file, a URL, an EMDB id, or a LIST."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from samu_batch.emdb import EmdbId
from samu_batch.map_lists import LineError
from samu_batch.map_names import MAP_SUFFIXES

log = logging.getLogger("samu_batch")

LIST_SUFFIXES = (".txt", ".csv", ".tsv", ".list", ".lst")
PATH_SUFFIXES = (*MAP_SUFFIXES, ".mrcs", *(suffix + ".gz" for suffix in (*MAP_SUFFIXES, ".mrcs")))
Kind = Literal["file", "url", "emdb"]


def named_source(text: str, folder: Path) -> tuple[str, Kind]:
    """Return what one entry's text names: an absolute path, a URL or an EMDB id, and which of these it is.

    What has a separator or a map's suffix is a path, relative to ``folder``; anything else must be an id. A bare number
    that is also a file's name is the file.

    Raises
    ------
    LineError
        It names none of them.
    """
    if "\0" in text:
        raise LineError("a path cannot hold a NUL character")
    if "://" in text:
        if not _is_url(text):
            raise LineError("not an https or http URL")
        return text, "url"
    if _is_path(text):
        if text.lower().endswith(LIST_SUFFIXES):
            raise LineError("a list, where a map is expected")
        if _is_folder(folder / text):
            raise LineError("a folder, which is neither a map nor a RUN (it holds no run.json)")
        return absolute(text, folder), "file"
    if text.isdecimal() and is_file(folder / text):
        log.warning("%s is read as the file of that name; write EMD-%s for the EMDB entry", text, text)
        return absolute(text, folder), "file"
    try:
        return str(EmdbId.parse(text)), "emdb"
    except ValueError as error:
        raise LineError(_why_nothing(text, folder, error)) from error


def _why_nothing(text: str, folder: Path, error: ValueError) -> str:
    if _is_folder(folder / text):
        return "a folder, which is neither a map nor a RUN (it holds no run.json)"
    if is_file(folder / text):
        return f"neither an EMDB id nor a map's name; for the file of that name write ./{text}"
    if any(separator in text for separator in ",;\t"):
        return "several cells; a table begins with a header that names its columns, with 'id' or 'map' among them"
    return f"{error}, nor the path of a map"


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:  # brackets or a port that are none
        return False


def _is_path(text: str) -> bool:
    return "/" in text or os.sep in text or text.lower().endswith(PATH_SUFFIXES)


def is_list(argument: str) -> bool:
    """Whether an argument names a LIST: by its suffix, or as a file of text that is neither a map nor an id."""
    if "://" in argument or argument.lower().endswith(PATH_SUFFIXES):
        return False
    if argument.lower().endswith(LIST_SUFFIXES):
        return True
    try:
        EmdbId.parse(argument)
    except ValueError:
        return Path(argument).is_fifo() or (is_file(Path(argument)) and b"\0" not in _first_bytes(Path(argument)))
    return False


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(1024)
    except OSError:
        return b""


def is_file(path: Path) -> bool:
    """Whether ``path`` is a file; a name too long for one is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def absolute(text: str, folder: Path) -> str:
    """Return the path that ``text`` is, seen from ``folder``."""
    # Not resolve(): the names of symbolic links stay, and "~nobody" is left as it is.
    return os.path.abspath(folder / os.path.expanduser(text))  # noqa: PTH100, PTH111
