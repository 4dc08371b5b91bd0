"""EMDB ids, and where the archive keeps a map."""

from __future__ import annotations

import re
from dataclasses import dataclass

DEFAULT_MIRRORS = (
    "https://files.wwpdb.org/pub/emdb/structures",
    "https://ftp.ebi.ac.uk/pub/databases/emdb/structures",
    "https://ftp.pdbj.org/pub/emdb/structures",
)
"""Public roots with EMDB's layout, in the order they are asked."""

# The dashes are what papers and spreadsheets make of a hyphen.
_PREFIX = re.compile(r"^emdb?[-_:\s\u2010-\u2015\u2212]*", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{4}|[1-9][0-9]{4,5}")


@dataclass(frozen=True, order=True)
class EmdbId:
    """An entry of the EM Data Bank: 1 to 999999, written with four digits at least.

    >>> str(EmdbId.parse("emd_0093"))
    'EMD-0093'
    """

    number: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= 999_999:
            raise ValueError(f"EMDB id {self.number} is not between 1 and 999999")

    @classmethod
    def parse(cls, text: str) -> EmdbId:
        """Read an id in any usual spelling: ``EMD-1234``, ``emd_1234``, ``emdb:1234``, ``1234``.

        Raises
        ------
        ValueError
            ``text`` is no EMDB id. Ids have four to six digits: ``EMD-93`` may be ``EMD-0093`` or a typing error.
        """
        digits = _PREFIX.sub("", text.strip())
        if not _NUMBER.fullmatch(digits):
            raise ValueError(f"{text.strip()!r} is not an EMDB id, which has 4 to 6 digits as in EMD-1234")
        return cls(int(digits))

    def __str__(self) -> str:
        return f"EMD-{self.number:04d}"


def map_path(emdb_id: EmdbId) -> str:
    """Return the path of an entry's primary map below a mirror's root.

    >>> map_path(EmdbId(1234))
    'EMD-1234/map/emd_1234.map.gz'
    """
    return f"{emdb_id}/map/emd_{emdb_id.number:04d}.map.gz"


def header_path(emdb_id: EmdbId) -> str:
    """Return the path of an entry's header below a mirror's root.

    >>> header_path(EmdbId(1234))
    'EMD-1234/header/emd-1234.xml'
    """
    return f"{emdb_id}/header/emd-{emdb_id.number:04d}.xml"
