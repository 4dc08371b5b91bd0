"""What the archive says of an entry: from its header in XML (data model 3), or the same as JSON from EMDB's REST API.

The API's JSON is the XML with attributes and elements alike as members, repeated elements as lists, and the text of an
element that has attributes under ``valueOf_``; so both are read as one tree.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from samu_batch.errors import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from samu_batch.emdb import EmdbId
    from samu_batch.map_columns import Shape, Triple

TEXT = "valueOf_"
RELEASED = "REL"
_ITEM_BYTES = re.compile(r"\((\d) BYTES?\)")


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What is known of an entry; None or "" where the archive does not say.

    Attributes
    ----------
    status
        ``REL`` when it is released.
    released, updated
        Dates of the map's release and of the last revision, as 2024-01-31.
    method
        As EMDB writes it: ``singleParticle``, ``helical``, ``subtomogramAveraging`` ...
    resolution, contour
        In angstrom, as its authors gave it; the primary contour level in units of the map.
    box, spacing
        ZYX voxels, and angstrom per voxel.
    unpacked, download
        Bytes of the map, and of its compressed file.
    """

    id: str
    status: str = ""
    released: str = ""
    updated: str = ""
    method: str = ""
    resolution: float | None = None
    contour: float | None = None
    box: Shape | None = None
    spacing: Triple | None = None
    unpacked: int | None = None
    download: int | None = None


def read_xml(raw: bytes, emdb_id: EmdbId) -> Metadata:
    """Read a header file, ``emd-1234.xml``.

    Raises
    ------
    UnreadableError
        It is not XML, not of data model 3, of another entry, or holds words where numbers belong.
    """
    try:
        root = ElementTree.fromstring(raw)
        if root.tag != "emd":
            raise UnreadableError(f"not a header of EMDB's data model 3: its root is <{root.tag}>")
        tree = _tree(root)
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise UnreadableError(f"not XML: {error}") from error
    return _metadata(tree, emdb_id)


def read_json(raw: bytes, emdb_id: EmdbId) -> Metadata:
    """Read an answer of the REST API's ``/entry/EMD-1234`` (raises as :func:`read_xml`)."""
    try:
        tree = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"not JSON: {error}") from error
    return _metadata(tree, emdb_id)


def _tree(element: ElementTree.Element) -> Any:
    text = (element.text or "").strip()
    if not len(element) and not element.attrib:
        return text
    node: dict[str, Any] = {TEXT: text, **element.attrib}
    for child in element:
        node.setdefault(child.tag, []).append(_tree(child))
    return node


def _metadata(tree: Any, emdb_id: EmdbId) -> Metadata:
    said = _word(tree, "emdb_id")
    if said != str(emdb_id):
        raise UnreadableError(f"the header of {said or 'no entry'}, where that of {emdb_id} was expected")
    box, spacing = _box(tree), _spacing(tree)
    return Metadata(
        id=said,
        status=_word(tree, "admin", "current_status", "code"),
        released=_date(tree, "map_release"),
        updated=_date(tree, "update"),
        method=_word(tree, *_DETERMINATION, "method"),
        resolution=_positive(tree, *_DETERMINATION, "*", "final_reconstruction", "resolution"),
        contour=_contour(tree),
        box=box,
        spacing=spacing,
        unpacked=_unpacked(tree, box),
    )


_DETERMINATION = ("structure_determination_list", "structure_determination")


def _box(tree: Any) -> Shape | None:
    """Return ZYX voxels: the file's columns, rows and sections, each along the axis that it says."""
    sizes = [_positive(tree, "map", "dimensions", name) for name in ("col", "row", "sec")]
    axes = [_word(tree, "map", "axis_order", name).upper() for name in ("fast", "medium", "slow")]
    if None in sizes:
        return None
    if any(axes) and sorted(axes) != ["X", "Y", "Z"]:
        raise UnreadableError(f"an axis order of {' '.join(axes)}")
    along = dict(zip(axes if any(axes) else "XYZ", sizes, strict=True))
    return int(along["Z"] or 0), int(along["Y"] or 0), int(along["X"] or 0)


def _spacing(tree: Any) -> Triple | None:
    """Return ZYX angstrom per voxel: cell by grid intervals as in the map's header, for pixel_spacing is rounded."""
    spacing = []
    for edge, axis in (("c", "z"), ("b", "y"), ("a", "x")):
        length, intervals = _number(tree, "map", "cell", edge), _number(tree, "map", "spacing", axis)
        rounded = _number(tree, "map", "pixel_spacing", axis)
        spacing.append(length / intervals if length and intervals else rounded or 0.0)
    z, y, x = spacing
    return (z, y, x) if min(spacing) > 0 else None


def _unpacked(tree: Any, box: Shape | None) -> int | None:
    """Return bytes of the map: its voxels behind a header of 1024."""
    words = _word(tree, "map", "data_type").upper()
    item = _ITEM_BYTES.search(words) or _ITEM_BYTES.search("(1 BYTE)" if words.endswith("SIGNED BYTE") else "")
    if box and item:
        return 1024 + int(item[1]) * math.prod(box)
    size = _number(tree, "map", "size_kbytes")
    return int(size * 1000) if size else None  # 42593 for 42593024 bytes, in the archive


def _contour(tree: Any) -> float | None:
    contours = list(_values(tree, "map", "contour_list", "contour"))
    primary = [contour for contour in contours if _word(contour, "primary").lower() in ("true", "1")]
    return _number([*primary, *contours], "level")


def _date(tree: Any, name: str) -> str:
    text = _word(tree, "admin", "key_dates", name)[:10]  # XML allows a time zone behind it
    try:
        return date.fromisoformat(text).isoformat() if text else ""
    except ValueError as error:
        raise UnreadableError(f"{name} {text!r} is not a date") from error


def _positive(tree: Any, *path: str) -> float | None:
    value = _number(tree, *path)
    if value is not None and value <= 0:
        raise UnreadableError(f"{path[-1]} is {value:g}")
    return value


def _number(tree: Any, *path: str) -> float | None:
    text = _word(tree, *path)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UnreadableError(f"{path[-1]} {text[:40]!r} is not a number")
    return value


def _word(tree: Any, *path: str) -> str:
    """Return the first text at ``path``; "" where there is none."""
    for value in _values(tree, *path):
        text = value.get(TEXT) if isinstance(value, dict) else value
        if text not in (None, ""):
            return str(text).strip()
    return ""


def _values(tree: Any, *path: str) -> Iterator[Any]:
    """Iterate over what lies at ``path``, where ``*`` stands for any name and a list for each of its items."""
    if isinstance(tree, list):
        for item in tree:
            yield from _values(item, *path)
    elif not path:
        yield tree
    elif isinstance(tree, dict):
        for name in tree if path[0] == "*" else path[:1]:
            if name in tree:
                yield from _values(tree[name], *path[1:])
