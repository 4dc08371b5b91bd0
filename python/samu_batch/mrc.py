"""Headers of MRC/CCP4 maps: where the voxels lie, in the file and in space.

Everything is ZYX, as numpy indexes a volume, and angstrom; only ``cell`` and ``sampling`` are XYZ, as in the file. The
format: Cheng et al. 2015, J. Struct. Biol. 192, 146 (MRC2014).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from samu_batch import gz
from samu_batch.errors import MapFormatError, TruncatedError
from samu_batch.files import reading, sha256_of
from samu_batch.mrc_words import HEADER_BYTES, byte_order, cell_words, labels_of, looks_like, stored_as, words_in
from samu_batch.mrc_words import refuse_what_is_no_volume as refuse_what_is_no_volume

if TYPE_CHECKING:
    from pathlib import Path

Shape = tuple[int, int, int]
Triple = tuple[float, float, float]

MAP_SUFFIXES = (".map", ".mrc", ".ccp4")
