"""What maps are called: the suffixes of their files, and their ids, which are folder names in a RUN."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

MAP_SUFFIXES = (".map", ".mrc", ".ccp4")
LENGTH = 100
OWN_NAMES = frozenset({"run.json", "failed.txt", "report.html", "report.jsonl"})
"""Files of a RUN itself."""

_VALID = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._+-]{{0,{LENGTH - 1}}}")
_INVALID_RUN = re.compile(r"[^A-Za-z0-9._+-]+")
_HEX = 8


def map_suffix(path: Path) -> str:
    """Return a map's suffix in lower case, without ``.gz``: ``.map``, ``.mrc`` or ``.ccp4``; ``.mrc`` for any other."""
    name = path.name.lower().removesuffix(".gz")
    return next((suffix for suffix in MAP_SUFFIXES if name.endswith(suffix)), ".mrc")


def name_of(source: str) -> str:
    """Return what a map is called after its path or URL: the file's name without ``.gz`` and the map's suffix.

    >>> name_of("/data/run 7/foo.mrc.gz")
    'foo'
    """
    url = urlsplit(source)
    name = PurePath(unquote(url.path) if url.scheme in ("http", "https") else source).name
    for suffixes in ((".gz",), MAP_SUFFIXES):
        suffix = next((suffix for suffix in suffixes if name.lower().endswith(suffix)), "")
        name = name[: len(name) - len(suffix)]
    return name


def assign_ids(named: Sequence[tuple[str, str]]) -> list[str]:
    """Make a folder name of each ``(name, source)``, all different, also where upper and lower case are one.

    A name that is no folder name, or is one of a RUN's own files, is cleaned and gets 8 hexadecimal digits of the
    SHA-256 of its source; so do both of two sources that would share an id.

    >>> assign_ids([("EMD-1234", "EMD-1234"), ("my map", "/a/my map.mrc")])
    ['EMD-1234', 'my_map-b9fe288b']
    """
    digits = [0 if _VALID.fullmatch(name) and name.lower() not in OWN_NAMES else _HEX for name, _ in named]
    while True:
        ids = [_with_hash(name, source, n) for (name, source), n in zip(named, digits, strict=True)]
        counts = Counter(map_id.casefold() for map_id in ids)
        clashes = [number for number, map_id in enumerate(ids) if counts[map_id.casefold()] > 1]
        if not clashes:
            return ids
        for number in clashes:
            digits[number] += _HEX


def id_apart(name: str, source: str, taken: Collection[str]) -> str:
    """Return ``name``, or if ids in ``taken`` (case-folded) include it, one with the hash of its source.

    >>> id_apart("a", "/b/a.mrc", {"a"})
    'a-4e1863ff'
    """
    digits = 0
    while (map_id := _with_hash(name, source, digits)).casefold() in taken:
        digits += _HEX
    return map_id


def _with_hash(name: str, source: str, digits: int) -> str:
    if not digits:
        return name
    cleaned = _INVALID_RUN.sub("_", name).lstrip("._+-") or "map"
    digest = hashlib.sha256(source.encode(errors="surrogateescape")).hexdigest()
    return f"{cleaned[: LENGTH - digits - 1]}-{digest[:digits]}"
