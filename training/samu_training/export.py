"""A trained network as a model: one ONNX file with float16 weights, and the sidecar that carries the science.

``python -m samu_training.export RUN/checkpoint.pt FOLDER --name samu-lite --card card.json``
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxscript import optimizer

from samu_batch.golden import Golden
from samu_engines.graph import OPSET, check_graph
from samu_engines.network import CONFIGS, Network, NetworkConfig
from samu_training.as_read import CORE, CUBE, PERCENTILE, SPACING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class Tiling(NamedTuple):
    """How a model's cubes lie: edges of cube and core, and the padding of :class:`samu_batch.model.ModelSpec`."""

    cube: int = CUBE
    core: int = CORE
    padding: int | None = None


OF_THE_PAPER = Tiling()
TILING = {"samu-lite": Tiling(128, 80, padding=0)}
"""Of networks that need another (docs/decisions/0007-wide-margin.md, 0008-padding.md)."""
CROWD = 7000, 4.0
"""Of the golden cube of a network with a gate: voxels for each Gaussian, and its width. Of scattered blobs next to
nothing passes, and engines would be held to where the gate hesitates."""
INPUT, OUTPUT = "cubes", "enhanced"
WITHOUT_STRUCTURE = ("middle.structure.norm_voxels.", "middle.structure.norm_structure.", "middle.structure.attention.")
"""Parameters that act on a structural embedding, which no exported graph takes."""


def export_model(
    network: Network, folder: Path, *, name: str, card: Mapping[str, Any], tiling: Tiling = OF_THE_PAPER
) -> Path:
    """Write ``name.onnx`` and its sidecar ``name.json``; return the sidecar's path.

    The graph takes float32 (N, 1, cube, cube, cube), of which the central ``core`` is used, and computes in float32;
    its initialisers are float16 and carry the names of the network's parameters, so that torch and every engine read
    one file. The sidecar keeps what PyTorch makes of the golden cube with these rounded weights.

    Raises
    ------
    ValueError
        The graph breaks what engines rely on (:func:`samu_engines.graph.check_graph`).
    """
    network = copy.deepcopy(network).eval()
    rounded = {key: weights.half().float() for key, weights in network.state_dict().items()}
    network.load_state_dict(rounded)
    model = with_float16_weights(_graph_of(network, tiling.cube), names=rounded)
    onnx.checker.check_model(model, full_check=True)
    unused = {key for key in rounded if key.startswith(WITHOUT_STRUCTURE)}
    check_graph(model, parameters=rounded.keys() - unused)
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"{name}.onnx"
    weights.write_bytes(model.SerializeToString(deterministic=True))
    sidecar = weights.with_suffix(".json")
    golden = dataclasses.asdict(_golden(network, tiling.cube))
    lattice = {key: value for key, value in tiling._asdict().items() if value is not None}
    values = _sidecar(name, weights, card) | lattice | {"golden": golden}
    sidecar.write_text(json.dumps(values, indent=1) + "\n")
    return sidecar


def _graph_of(network: Network, cube: int) -> onnx.ModelProto:
    """Export with float32 weights under their parameters' names, and fold the other constants."""
    program = torch.onnx.export(
        network,
        (torch.zeros(2, 1, cube, cube, cube),),
        dynamo=True,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: torch.export.Dim("N")},),
        verbose=False,
        optimize=False,
    )
    assert program is not None
    graph = program.model.graph
    # As inputs they are unknown to the optimiser: it neither merges those that are alike nor folds them away.
    names = [name for name, _ in network.named_parameters() if name in graph.initializers]
    held = {name: graph.initializers.pop(name) for name in names}
    values = {name: weights.const_value for name, weights in held.items()}
    for weights in held.values():
        weights.const_value = None
        graph.inputs.append(weights)
    optimizer.optimize(program.model)
    del graph.inputs[1:]
    for name, weights in held.items():
        weights.const_value = values[name]
        graph.initializers[name] = weights
    proto: onnx.ModelProto = program.model_proto
    return proto


def _golden(network: Network, cube: int) -> Golden:
    voxels, width = CROWD
    crowd: dict[str, Any] = {"gaussians": max(1, cube**3 // voxels), "width": width} if network.config.gate else {}
    with torch.no_grad():
        return Golden.measure(lambda cubes: network(torch.from_numpy(cubes)).numpy(), cube=cube, **crowd)


def with_float16_weights(model: onnx.ModelProto, *, names: Collection[str]) -> onnx.ModelProto:
    """Store the initialisers among ``names`` as float16, each cast to float32 where it is used."""
    casts = []
    for tensor in list(model.graph.initializer):
        if tensor.name not in names or tensor.data_type != TensorProto.FLOAT:
            continue
        half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name)
        wide = f"{tensor.name}.float32"
        for node in model.graph.node:
            for position, name in enumerate(node.input):
                if name == tensor.name:
                    node.input[position] = wide
        casts.append(helper.make_node("Cast", [tensor.name], [wide], to=TensorProto.FLOAT))
        tensor.CopyFrom(half)
    for node in reversed(casts):
        model.graph.node.insert(0, node)
    del model.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model)


def _sidecar(name: str, weights: Path, card: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "format": 1,
        "name": name,
        "file": weights.name,
        "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "spacing": SPACING,
        "normalisation": {
            "percentile": PERCENTILE,
            "of": "non-zero voxels of the input map",
            "clip": [0.0, 1.0],
            "zero_below": 1e-6,
        },
        "card": dict(card),
    }


def main() -> None:
    """Export a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", help="of the model; by default the network's")
    parser.add_argument("--card", type=Path, help="JSON file with the model card")
    arguments = parser.parse_args()
    state = torch.load(arguments.checkpoint, weights_only=True)
    config = NetworkConfig(**state["config"])
    network = Network(config)
    network.load_state_dict(state["network"])
    [known] = [name for name, values in CONFIGS.items() if values == config] or ["network"]
    card = json.loads(arguments.card.read_text()) if arguments.card else {}
    card |= {"steps": state["step"], "minutes": round(state["spent"] / 60, 1)}
    tiling = TILING.get(known, OF_THE_PAPER)
    print(export_model(network, arguments.folder, name=arguments.name or known, card=card, tiling=tiling))


if __name__ == "__main__":
    main()
