"""TorchIO's augmentation of what a network is shown: section 3.4 of CryoSAMU.

The paper names anisotropy, blur and noise; how strong and how often they are is what the authors' related networks have
(struc2mapGAN, CryoFEM).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator
    from numpy.typing import NDArray

SHARE = 0.25
"""Of the cubes that each of the three is applied to."""


def torchio_augmentation() -> Callable[[NDArray[np.float32], Generator], NDArray[np.float32]]:
    """Return what augments a cube (1, D, H, W) of normalised density; what it does depends on the generator alone.

    Raises
    ------
    ImportError
        TorchIO is not installed: ``pip install 'samu-training[torchio]'``.
    """
    import torchio

    transform = torchio.Compose(
        [
            torchio.RandomAnisotropy(downsampling=1.5, image_interpolation="bspline", p=SHARE),
            torchio.RandomBlur(std=(0, 0.5), p=SHARE),
            torchio.RandomNoise(std=0.1, p=SHARE),
        ]
    )

    def augment(cube: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
        with torch.random.fork_rng(devices=[]):  # TorchIO draws from torch's one generator, as dropout does
            torch.manual_seed(int(rng.integers(2**62)))
            augmented: NDArray[np.float32] = transform(torch.from_numpy(cube)).numpy()
        return np.clip(augmented, 0, 1)

    return augment
