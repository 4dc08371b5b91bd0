"""A group norm in terms of other operators, for parsers that do not know it and for engines that compute it badly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper, numpy_helper

from samu_engines.graph import attributes_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx
    from numpy.typing import NDArray


class WrittenOut:
    """The nodes that replace a group norm of (N, C, D, H, W) with float32 initialisers as scale and bias.

    Attributes
    ----------
    nodes
        In order; the last one makes what the norm made.
    constants
        What they need besides the graph's own, by name.
    """

    def __init__(self, norm: onnx.NodeProto, shape: Sequence[int], constants: dict[str, onnx.TensorProto]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._norm = norm
        self._shape = shape
        given = attributes_of(norm)
        self._groups: int = given["num_groups"]
        self._epsilon: float = given.get("epsilon", 1e-5)
        self._scale, self._bias = (numpy_helper.to_array(constants[name]) for name in norm.input[1:])

    def as_instance_norm(self) -> WrittenOut:
        """Make groups the channels of an instance norm; the scales of the channels come after."""
        groups = self._groups
        flat = self._add("Reshape", self._norm.input[0], self._constant("groups", np.array([0, groups, -1])))
        ones, zeros = (np.full(groups, value, np.float32) for value in (1, 0))
        normal = self._add(
            "InstanceNormalization",
            flat,
            self._constant("ones", ones),
            self._constant("zeros", zeros),
            epsilon=self._epsilon,
        )
        along_channels = (1, self._shape[1], 1, 1, 1)
        back = self._add("Reshape", normal, self._constant("shape", np.array([0, *self._shape[1:]])))
        self._scaled(back, along_channels)
        return self._ended()

    def as_means(self) -> WrittenOut:
        """Take means of planes, then of those: a sum of 262,144 voxels, one after another, loses the deviation.

        The second mean keeps its axes where the first does not, or OpenVINO makes one of the two.
        """
        _, channels, *space = self._shape
        inside = channels // self._groups
        rows = np.array([0, self._groups, inside, space[0], int(np.prod(space[1:]))])
        voxels = self._add("Reshape", self._norm.input[0], self._constant("rows", rows))
        centred = self._add("Sub", voxels, self._mean(voxels))
        variance = self._mean(self._add("Mul", centred, centred))
        epsilon = self._constant("epsilon", np.array(self._epsilon, np.float32))
        deviation = self._add("Sqrt", self._add("Add", variance, epsilon))
        normal = self._add("Div", centred, deviation)
        scaled = self._scaled(normal, (1, self._groups, inside, 1, 1))
        self._add("Reshape", scaled, self._constant("shape", np.array([0, *self._shape[1:]])))
        return self._ended()

    def _mean(self, voxels: str) -> str:
        """(N, groups, channels, planes, voxels) to (N, groups, 1, 1, 1)."""
        last, others = self._constant("last", np.array([-1])), self._constant("others", np.array([-2, -1]))
        planes = self._add("ReduceMean", voxels, last, keepdims=0)
        return self._add("Unsqueeze", self._add("ReduceMean", planes, others, keepdims=1), last)

    def _scaled(self, normal: str, along_channels: tuple[int, ...]) -> str:
        scale = self._constant("scale", self._scale.reshape(along_channels))
        bias = self._constant("bias", self._bias.reshape(along_channels))
        return self._add("Add", self._add("Mul", normal, scale), bias)

    def _ended(self) -> WrittenOut:
        """Let the last node make what the norm made."""
        self.nodes[-1].output[:] = self._norm.output
        return self

    def _add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        made = f"{self._norm.output[0]}/{len(self.nodes)}"
        # The norm's own name tells builders that choose precisions themselves to keep this in float32.
        name = f"{self._norm.name}/{operator}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [made], name=name, **attributes))
        return made

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        name = f"{self._norm.output[0]}/{name}"
        self.constants[name] = numpy_helper.from_array(values, name)
        return name
