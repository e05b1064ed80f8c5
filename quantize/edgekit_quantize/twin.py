"""The float network of a TFLite file as differentiable PyTorch: whatever it was exported from, it can be tuned."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from edgekit_quantize.graph import Graph, Node
from edgekit_quantize.twin_operators import OPERATORS

Edit = Callable[[str, Tensor], Tensor]


class Twin:
    """Runs a float flatbuffer in PyTorch, as far as its operators are known.

    Attributes:
        graph: What it was made from.
        constants: Name to values, of every constant tensor.
        nodes: The operators that can be run here, in order: known ones that depend on known ones only.
        unknown: Those that cannot, dependent ones among them.
        layers: Those of `nodes` that carry weights.
        ends: The last tensors that can be computed: the logits, or whatever the unknown operators take over.
    """

    def __init__(self, flatbuffer: bytes) -> None:
        self.graph = Graph(flatbuffer)
        names = self.graph.constants()
        self.constants = {name: torch.from_numpy(np.array(self.graph.constant(name))) for name in names}
        self.nodes: list[Node] = []
        self.unknown: list[Node] = []
        computed = {self.graph.input}
        for node in self.graph.nodes():
            inputs = {name for name in node.inputs if name is not None and name not in self.constants}
            known = node.operator in OPERATORS and inputs <= computed and self._keeps_batch(node)
            (self.nodes if known else self.unknown).append(node)
            if known:
                computed.update(node.outputs)
        wanted = {name for node in self.unknown for name in node.inputs} | {self.graph.output}
        self.ends = tuple(node.outputs[0] for node in self.nodes if node.outputs[0] in wanted)
        self.layers = [layer for layer in self.graph.layers() if layer.output in computed]
        self._last_use = {name: node for node in self.nodes for name in node.inputs}

    def _keeps_batch(self, node: Node) -> bool:
        """Whether the output's first axis is the batch, as the input's: the twin runs several images at once."""
        if node.operator == "SQUEEZE":
            squeezed = [int(axis) for axis in node.options.squeezeDims]
            if not squeezed or min(squeezed) <= 0:
                return False
        return len(node.outputs) == 1 and self.graph.shape(node.outputs[0])[:1] == (1,)

    def __call__(
        self, images: Tensor, constants: Mapping[str, Tensor] | None = None, edit: Edit | None = None
    ) -> dict[str, Tensor]:
        """Run the network.

        Args:
            images: (N, height, width, 3) float32, normalized.
            constants: Instead of the file's own, by name.
            edit: Called with name and values of every activation, the input first; its result is used instead.

        Returns:
            Name to values of `ends`, batch first.
        """
        constants = {**self.constants, **(constants or {})}
        edit = edit or (lambda _, values: values)
        values = {self.graph.input: edit(self.graph.input, images)}
        for node in self.nodes:
            inputs = [None if name is None else values.get(name, constants.get(name)) for name in node.inputs]
            output = node.outputs[0]
            values[output] = edit(output, OPERATORS[node.operator](node.options, inputs))
            for name in node.inputs:
                if name in values and self._last_use[name] is node and name not in self.ends:
                    del values[name]
        return {name: values[name] for name in self.ends}

    def unknown_operators(self) -> tuple[str, ...]:
        """Names of the operators on account of which `unknown` is not empty."""
        follow = {name for node in self.unknown for name in node.outputs}
        causes = [node for node in self.unknown if not follow & {*node.inputs}]
        return tuple(sorted({node.operator for node in causes}))
