"""The golden cube: an input that a formula makes, and what PyTorch float32 made of it, kept in the model's sidecar.

An engine that answers it otherwise does not run the model as it was trained, and is not used. The sidecar holds::

    "golden": {"gaussians": 299, "width": 4.0, "mean": ..., "rms": ..., "samples": [...]}

The input is a sum of ``gaussians`` densities of peak 1 and standard deviation ``width`` (voxels), clipped to [0, 1] as
normalised maps are; their centres are the first points of the R3 sequence (Roberts 2018), without any random generator.
``samples`` are voxels of the output, spread evenly over the cube; ``mean`` and ``rms`` are of all of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from samu_batch.errors import EngineError

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""What an engine does to a batch of cubes, (N, 1, D, H, W)."""

TOLERANCE = 3e-3
"""Of the relative rms of an engine that computes in float32. Group normalisation is what ONNX Runtime and OpenVINO get
least right (docs/parity.md)."""

GAUSSIANS, WIDTH, SAMPLES = 64, 2.0, 256
PLASTIC = 1.2207440846057596
"""The root of x^4 = x + 1: powers of its inverse are the steps of the R3 sequence."""
GOLDEN_RATIO = 0.6180339887498949


class Deviation(NamedTuple):
    """How far an output is from the expected one: relative rms and largest error of the samples, over their rms.

    ``whole`` is the larger of the differences in mean and in rms of the whole output, over its rms.
    """

    rms: float
    largest: float
    whole: float


@dataclass(frozen=True)
class Golden:
    """The recipe of an input, and what must come out of it.

    Attributes
    ----------
    gaussians, width
        Their number, and their standard deviation in voxels.
    mean, rms
        Of the whole output.
    samples
        Voxels of the output.
    """

    gaussians: int
    width: float
    mean: float
    rms: float
    samples: tuple[float, ...]

    @classmethod
    def from_sidecar(cls, values: dict[str, Any]) -> Golden:
        """Read what a sidecar says (KeyError, TypeError or ValueError if it is none)."""
        return cls(
            gaussians=int(values["gaussians"]),
            width=float(values["width"]),
            mean=float(values["mean"]),
            rms=float(values["rms"]),
            samples=tuple(float(sample) for sample in values["samples"]),
        )

    @classmethod
    def measure(cls, reference: Run, *, cube: int, gaussians: int = GAUSSIANS, width: float = WIDTH) -> Golden:
        """Let the reference answer the golden cube of edge ``cube``; ``dataclasses.asdict`` is the sidecar's form."""
        enhanced = reference(golden_input(cube, gaussians=gaussians, width=width))
        mean, rms = _mean_and_rms(enhanced)
        samples = (float(f"{sample:.7g}") for sample in _samples(enhanced, SAMPLES))
        return cls(gaussians, width, mean, rms, tuple(samples))

    def check(self, run: Run, *, cube: int, tolerance: float = TOLERANCE) -> Deviation:
        """Run the golden cube and return how far the answer is from the expected one.

        Raises
        ------
        EngineError
            It is further than ``tolerance``.
        """
        cubes = self.input(cube)
        enhanced = run(cubes)
        if enhanced.shape != cubes.shape:
            raise EngineError(f"the golden cube came back as {enhanced.shape}")
        found = self.deviation(enhanced)
        # NaN compares as false, and is refused.
        if not (found.rms <= tolerance and found.whole <= tolerance):
            raise EngineError(
                f"the golden cube came back wrong: relative rms {found.rms:.1e} and largest error {found.largest:.1e}"
                f" of its samples, {found.whole:.1e} of the whole, where {tolerance:.0e} is allowed"
            )
        return found

    def input(self, cube: int) -> NDArray[np.float32]:
        """Return what is to be answered: (1, 1, ``cube``, ``cube``, ``cube``), in [0, 1]."""
        return golden_input(cube, gaussians=self.gaussians, width=self.width)

    def deviation(self, enhanced: NDArray[np.float32]) -> Deviation:
        """Compare an output with the expected one."""
        expected = np.asarray(self.samples, dtype=np.float64)
        errors = _samples(enhanced, len(expected)) - expected
        scale = _rms(expected)
        mean, rms = _mean_and_rms(enhanced)
        whole = max(abs(mean - self.mean), abs(rms - self.rms)) / self.rms
        return Deviation(_rms(errors) / scale, float(np.abs(errors).max()) / scale, whole)


def golden_input(cube: int, *, gaussians: int = GAUSSIANS, width: float = WIDTH) -> NDArray[np.float32]:
    """Return the input: (1, 1, ``cube``, ``cube``, ``cube``), in [0, 1]."""
    steps = PLASTIC ** -np.arange(1.0, 4.0)
    centres = cube * ((0.5 + np.outer(np.arange(1, gaussians + 1), steps)) % 1)  # (gaussians, ZYX)
    profiles = np.exp(-0.5 * ((np.arange(cube) - centres[..., None]) / width) ** 2)  # (gaussians, ZYX, voxels)
    along_z, along_y, along_x = profiles.swapaxes(0, 1)
    density = np.einsum("gz,gy,gx->zyx", along_z, along_y, along_x, optimize=True)
    cubes: NDArray[np.float32] = np.clip(density, 0, 1).astype(np.float32)[None, None]
    return cubes


def _samples(enhanced: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    places = (np.arange(1, count + 1) * GOLDEN_RATIO % 1 * enhanced.size).astype(np.int64)
    return enhanced.reshape(-1)[places].astype(np.float64)


def _mean_and_rms(enhanced: NDArray[np.float32]) -> tuple[float, float]:
    return float(enhanced.mean(dtype=np.float64)), _rms(enhanced.astype(np.float64))


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
