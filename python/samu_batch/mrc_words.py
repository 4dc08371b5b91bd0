"""The 1024 bytes at the beginning of an MRC/CCP4 map: byte order, voxel type, and what is no volume.

What a header gets wrong is repaired only as a guess, in words appended to ``guesses``; :mod:`samu_batch.mrc` keeps a
guess only where the length of the file proves it right. Format: https://www.ccpem.ac.uk/mrc_format/mrc2014.php
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from samu_batch.errors import MapFormatError, TruncatedError, UnsupportedGeometryError

HEADER_BYTES = 1024
DTYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
OTHER_MODES = {3: "complex 16-bit integers", 4: "complex floats", 101: "4-bit integers"}
STAMPS: dict[bytes, Literal["<", ">"]] = {b"DD": "<", b"DA": "<", b"\x11\x11": ">"}
IMOD_STAMP, IMOD_SIGNED = 1146047817, 1
RIGHT_ANGLE_TOLERANCE = 0.01
"""Degrees: over 500 A it moves a voxel by less than 0.1 A."""

_LOOKS = {
    b"<!doctype": "an HTML page",
    b"<html": "an HTML page",
    b"<?xml": "an XML document",
    b"pk\x03\x04": "a ZIP archive",
    b"\x89hdf": "an HDF5 file",
    b"bzh": "a bzip2 archive",
    b"\xfd7zxz": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
}


def words_in(raw: bytes, *, name: str, guesses: list[str]) -> np.void:
    """Return the header's fields in the byte order they are written in.

    Raises
    ------
    MapFormatError, TruncatedError
        Neither byte order makes a header of it, and the error says what it looks like; a map that ends in its header.
    """
    if len(raw) < HEADER_BYTES:
        if raw[208:211] == b"MAP":
            raise TruncatedError(f"{name}: {len(raw)} bytes, shorter than the {HEADER_BYTES} of a header")
        raise MapFormatError(f"{name} is not an MRC/CCP4 map: {len(raw)} bytes, {looks_like(raw)}")
    marked = raw[208:211] == b"MAP"
    stamped = STAMPS.get(raw[212:214])
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    sane = [order for order in orders if _is_sane(_words(raw, order))]
    if not sane and not marked:
        raise MapFormatError(f"{name} is not an MRC/CCP4 map: {looks_like(raw)}")
    if stamped in sane or not sane:
        order = stamped or "<"
    else:
        order = sane[0]
        kind = "little" if order == "<" else "big"
        guesses.append(f"machine stamp {raw[212:216].hex(' ')} is wrong or unknown, read as {kind}-endian")
    if not marked:
        guesses.append(f"the word MAP is missing, found {raw[208:212]!r}")
    return _words(raw, order)


def voxel_dtype(words: np.void, *, name: str) -> tuple[str, str | None]:
    """Return the voxels' numpy type, such as ``'<f4'``, and a note where signedness was inferred.

    Mode 0 is signed, unless IMOD's flags say otherwise or the header's maximum cannot be a signed byte.

    Raises
    ------
    MapFormatError
        The mode is unknown, or none of a density map.
    """
    mode = int(words["mode"])
    if mode in OTHER_MODES:
        raise MapFormatError(f"{name}: mode {mode}, {OTHER_MODES[mode]}, is not a density map's")
    if mode not in DTYPES:
        raise MapFormatError(f"{name}: unknown mode {mode}")
    if mode != 0:
        return np.dtype(DTYPES[mode]).newbyteorder(order_of(words)).str, None
    # Words 39 and 40; https://bio3d.colorado.edu/imod/doc/mrc_format.txt
    stamp, flags = np.frombuffer(words.tobytes()[152:160], dtype=f"{order_of(words)}i4").tolist()
    if stamp == IMOD_STAMP:
        return ("|i1" if flags & IMOD_SIGNED else "|u1"), None
    if words["dmin"] >= 0 and 127 < words["dmax"] <= 255:
        return "|u1", f"bytes read as unsigned: the header's maximum is {words['dmax']:g}"
    return "|i1", None


def order_of(words: np.void) -> Literal["<", ">"]:
    """Return the byte order of a header's fields: ``'<'`` or ``'>'``."""
    return ">" if words.dtype["mode"].str[0] == ">" else "<"


def check_is_volume(words: np.void, *, name: str) -> None:
    """Refuse what has a valid header but is no single volume in a right-angled cell.

    Raises
    ------
    UnsupportedGeometryError
        A skewed cell, axes that are no order of X, Y and Z, an image, a stack of images or of volumes.
    """
    n = [int(words[key]) for key in ("nx", "ny", "nz")]
    size = f"{n[0]} x {n[1]} x {n[2]}"
    order = [int(words[key]) for key in ("mapc", "mapr", "maps")]
    if sorted(order) != [1, 2, 3]:
        raise UnsupportedGeometryError(f"{name}: axis order {order} is no order of 1, 2 and 3")
    angles = [float(words["cellb"][key]) for key in ("alpha", "beta", "gamma")]
    if any(angles) and not all(abs(angle - 90) <= RIGHT_ANGLE_TOLERANCE for angle in angles):
        raise UnsupportedGeometryError(f"{name}: cell angles {angles} are not all 90 degrees")
    if min(n) == 1:
        raise UnsupportedGeometryError(f"{name}: {size} voxels are an image, not a volume")
    m = [int(words[key]) for key in ("mx", "my", "mz")]
    space_group = int(words["ispg"])
    # Volumes with space group 0 are common; in a stack of images only the plane is sampled.
    if name.lower().endswith((".mrcs", ".mrcs.gz")) or (space_group == 0 and m == [*n[:2], 1]):
        raise UnsupportedGeometryError(f"{name}: {size} is a stack of {n[2]} images")
    if 401 <= space_group <= 630 and n[2] != m[2]:
        raise UnsupportedGeometryError(f"{name}: {size} is a stack of volumes of {m[2]} sections")


def labels_of(words: np.void) -> tuple[str, ...]:
    """Return the labels in use, without their padding."""
    count = min(max(int(words["nlabl"]), 0), 10)
    labels = (bytes(label).split(b"\0")[0].decode("latin-1").rstrip() for label in words["label"][:count])
    return tuple(label for label in labels if label)


def looks_like(raw: bytes) -> str:
    """Say what a file's beginning looks like that is no map."""
    if not raw:
        return "the file is empty"
    start = raw.lstrip()[:16].lower()
    for magic, what in _LOOKS.items():
        if start.startswith(magic):
            return f"it looks like {what}"
    text = sum(32 <= byte < 127 or byte in b"\t\r\n" for byte in raw) > 0.95 * len(raw)
    return "it looks like text" if text else f"it begins with {raw[:16].hex(' ')}"


def _words(raw: bytes, order: Literal["<", ">"]) -> np.void:
    words: np.void = np.frombuffer(raw, dtype=HEADER_DTYPE.newbyteorder(order), count=1)[0]
    return words


def _is_sane(words: np.void) -> bool:
    known = int(words["mode"]) in DTYPES | OTHER_MODES
    axes = sorted(int(words[key]) for key in ("mapc", "mapr", "maps")) == [1, 2, 3]
    return known and axes and all(int(words[key]) > 0 for key in ("nx", "ny", "nz")) and math.isfinite(words["dmean"])
