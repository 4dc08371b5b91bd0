"""PyTorch on the CPU, in float32: the reference that every engine is measured against. Needs torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
import torch
from onnx import numpy_helper

from samu_engines.network import CONFIGS, Network

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from samu_engines.spec import Spec

UNUSED = "middle.structure."
"""Where the parameters are that act on a structural embedding: no graph takes one, so it has no such weights."""


class TorchEngine:
    """Runs the network itself, with the weights of the model's ONNX file.

    Parameters
    ----------
    spec
        What the model asks of the data, by shape; ``spec.name`` is the network's, ``spec.weights`` the ONNX file.
    device
        ``cpu`` or None: there is no other here.
    threads
        Threads of the inference, and of all of torch in this process; None leaves them as they are.
    """

    batch = 1

    def __init__(self, spec: Spec, *, device: str | None, threads: int | None) -> None:
        if spec.weights is None or spec.name not in CONFIGS:
            raise ValueError(f"{spec.name} is none of the networks known here: {', '.join(CONFIGS)}")
        if threads is not None:
            torch.set_num_threads(threads)
        self.spec = spec
        self._network = read_network(spec.weights, spec.name)

    def stream(self, batches: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Yield the enhanced cubes of each batch, in order."""
        for cubes in batches:
            yield self.run(cubes)

    def run(self, cubes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the enhanced cubes of one batch."""
        with torch.inference_mode():
            enhanced: NDArray[np.float32] = self._network(torch.from_numpy(cubes)).numpy()
        return enhanced

    def describe(self) -> dict[str, Any]:
        """Return what really runs, for the receipt."""
        threads = torch.get_num_threads()
        return {
            "name": "torch-cpu",
            "version": torch.__version__,
            "device": "CPU",
            "precision": "float32",
            "threads": threads,
        }

    def close(self) -> None:
        """Free the network."""
        del self._network


def read_network(path: Path, name: str) -> Network:
    """Return the network ``name`` of ``samu_engines.network.CONFIGS`` with the weights of an ONNX file, in float32.

    Raises
    ------
    ValueError
        The file holds the weights of another network.
    """
    network = Network(CONFIGS[name])
    network.eval()
    wanted = network.state_dict()
    weights = {key: values for key, values in read_weights(path).items() if key in wanted}
    missing = [key for key in wanted if key not in weights and not key.startswith(UNUSED)]
    if missing:
        raise ValueError(f"{path} does not hold {missing[0]} and {len(missing) - 1} more parameters of {name}")
    try:
        network.load_state_dict(wanted | weights)
    except RuntimeError as error:
        raise ValueError(f"{path} holds another network than {name}: {error}") from error
    return network


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the weights of an ONNX file, in float32, under the names of the network's parameters."""
    halves = [t for t in onnx.load(path).graph.initializer if t.data_type == onnx.TensorProto.FLOAT16]
    return {t.name: torch.from_numpy(numpy_helper.to_array(t).astype("float32")) for t in halves}
