"""The header of an enhanced map: its input's, or that of the model's grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from samu_batch.mrc import MapHeader, Shape

LABELS = 10


class Statistics(Protocol):
    """What a header says of its voxels; :class:`samu_batch._rust.Survey` is one."""

    minimum: float
    maximum: float
    mean: float
    rms: float


def export_header(
    like: MapHeader,
    survey: Statistics,
    *,
    label: str,
    grid: Literal["input", "model"],
    shape: Shape | None = None,
    spacing: float | None = None,
) -> bytes:
    """Return the 1024 bytes before the voxels of an exported map: little-endian, mode 2, no extended header.

    Parameters
    ----------
    like, survey
        Header of the input; statistics of the voxels to be written.
    label
        Appended to the input's labels, in place of the last one where there are ten already.
    grid
        ``"input"``: cell, sampling, n*start, ORIGIN and axis order of the input. ``"model"``: X Y Z order, n*start
        0, and ORIGIN where viewers put the first voxel of the input.
    shape, spacing
        Of the model's grid: ZYX voxels, angstrom per voxel.
    """
    words = np.zeros((), dtype=HEADER_DTYPE.newbyteorder("<"))
    if grid == "input":
        _on_input_grid(words, like)
    elif shape is not None and spacing is not None:
        _on_model_grid(words, like, shape=shape, spacing=spacing)
    else:
        raise ValueError("the model's grid needs shape and spacing")
    words["mode"] = 2
    words["cellb"] = (90, 90, 90)
    words["nversion"] = 20141
    words["map"] = b"MAP "
    words["machst"] = (0x44, 0x44, 0, 0)
    words["dmin"], words["dmax"], words["dmean"], words["rms"] = (
        survey.minimum,
        survey.maximum,
        survey.mean,
        survey.rms,
    )
    _set_labels(words, [*like.labels[: LABELS - 1], label])
    return words.tobytes()


def _on_input_grid(words: np.ndarray, like: MapHeader) -> None:
    _set(words, ("nz", "ny", "nx"), like.file_shape)
    _set(words, ("nzstart", "nystart", "nxstart"), [like.nstart[axis] for axis in like.axes])
    _set(words, ("mx", "my", "mz"), like.sampling)
    _set(words, ("maps", "mapr", "mapc"), [3 - axis for axis in like.axes])
    words["cella"] = like.cell
    words["origin"] = like.origin[::-1]
    # 0 would mean images, and above 400 a stack; the output is one volume.
    words["ispg"] = like.space_group if 1 <= like.space_group <= 230 else 1


def _on_model_grid(words: np.ndarray, like: MapHeader, *, shape: Shape, spacing: float) -> None:
    _set(words, ("nz", "ny", "nx"), shape)
    _set(words, ("mz", "my", "mx"), shape)
    _set(words, ("mapc", "mapr", "maps"), (1, 2, 3))
    words["cella"] = tuple(n * spacing for n in reversed(shape))
    words["origin"] = like.placement()[::-1]
    words["ispg"] = 1


def _set(words: np.ndarray, keys: Sequence[str], values: Sequence[int]) -> None:
    for key, value in zip(keys, values, strict=True):
        words[key] = value


def _set_labels(words: np.ndarray, labels: Sequence[str]) -> None:
    words["nlabl"] = len(labels)
    for number, label in enumerate(labels):
        words["label"][number] = label.encode("latin-1", "replace")[:80].ljust(80)
