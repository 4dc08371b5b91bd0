"""Maps that the tests make themselves, and the real ones where they are at hand."""

import os
from pathlib import Path

import numpy as np
import pytest
from mrcfile.dtypes import HEADER_DTYPE

MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}


def map_bytes(
    voxels,
    *,
    spacing=(1.0, 1.0, 1.0),
    axes=(0, 1, 2),
    nstart=(0, 0, 0),
    origin=(0.0, 0.0, 0.0),
    sampling=None,
    mode=2,
    order="<",
    extended=b"",
    labels=("made by a test",),
    **words,
):
    """Return the bytes of a map.

    `voxels`, `spacing`, `nstart`, `origin` and `sampling` (grid intervals of the cell, the shape by default) are ZYX;
    `axes[i]` is the ZYX axis of file dimension i (sections, rows, columns); `words` replace fields of the header.
    """
    stored = np.ascontiguousarray(np.transpose(voxels, axes)).astype(order + MODES.get(mode, "f4"))
    sampling = sampling or voxels.shape
    header = np.zeros((), dtype=HEADER_DTYPE.newbyteorder(order))
    fields = {
        **dict(zip(("nz", "ny", "nx"), stored.shape, strict=True)),
        **dict(zip(("nzstart", "nystart", "nxstart"), (nstart[axis] for axis in axes), strict=True)),
        **dict(zip(("mz", "my", "mx"), sampling, strict=True)),
        **dict(zip(("maps", "mapr", "mapc"), (3 - axis for axis in axes), strict=True)),
        "mode": mode,
        "cella": tuple(n * s for n, s in zip(sampling, spacing, strict=True))[::-1],
        "cellb": (90, 90, 90),
        "dmin": stored.min(),
        "dmax": stored.max(),
        "dmean": stored.mean(dtype=np.float64),
        "ispg": 1,
        "nsymbt": len(extended),
        "exttyp": b"CCP4" if extended else b"",
        "nversion": 20141,
        "origin": tuple(origin)[::-1],
        "map": b"MAP ",
        "machst": (0x44, 0x44, 0, 0) if order == "<" else (0x11, 0x11, 0, 0),
        "rms": stored.std(dtype=np.float64),
        "nlabl": len(labels),
    }
    for name, value in (fields | words).items():
        header[name] = value
    for number, label in enumerate(labels):
        header["label"][number] = label.encode().ljust(80)
    return header.tobytes() + extended + stored.tobytes()


@pytest.fixture(scope="session")
def make_map():
    """`make_map(path, voxels, **options of map_bytes)` writes a map and returns its path."""

    def make(path, voxels, **options):
        path = Path(path)
        path.write_bytes(map_bytes(voxels, **options))
        return path

    return make


@pytest.fixture(scope="session")
def samu_data():
    """The folder of real maps and structures, which is no part of the repository."""
    folder = os.environ.get("SAMU_DATA")
    if not folder:
        pytest.skip("SAMU_DATA does not name a folder of real maps")
    return Path(folder)
