"""The teacher's activations as what a population must compute."""

from __future__ import annotations

import numpy as np

from snncc.graph import Graph, Node
from snncc.neurons import LeakyRectifier, Neuron, Rectifier
from snncc.passes.graph.clip_to_relu import bounds

ACTIVATIONS = ("Relu", "Clip", "LeakyRelu", "PRelu")
DEFAULT_SLOPE = 0.01  # of ONNX's LeakyRelu


def ideal_of(graph: Graph, node: Node) -> Neuron | str:
    """Relu, Clip from 0 (ReLU6), LeakyRelu or PRelu with constants; else why it has no spiking counterpart."""
    channels = graph.shape(node.output)[1]
    match node.op:
        case "Relu":
            return Rectifier()
        case "Clip":
            found = bounds(graph, node)
            if found is None:
                return "a Clip with a computed bound"
            if found[0] != 0:
                return "a Clip that does not start at 0"
            return Rectifier(found[1]) if found[1] > 0 else "a Clip to nothing"
        case "LeakyRelu":
            slope = np.full(channels, float(node.attrs.get("alpha", DEFAULT_SLOPE)))
        case _:
            constant = graph.constant(node.inputs[1])
            if constant is None:
                return "a PRelu with a computed slope"
            rank = len(graph.shape(node.output))
            per_channel = constant.reshape((1,) * (rank - constant.ndim) + constant.shape)
            if per_channel.size not in (1, channels) or per_channel.shape[1] != per_channel.size:
                return "a PRelu whose slope is not one a channel"
            slope = np.broadcast_to(per_channel.reshape(-1).astype(np.float64), (channels,)).copy()
    if not np.all((slope > 0) & (slope <= 1)):
        return "a leaky ReLU whose slope is not above 0 and at most 1"
    return LeakyRectifier(slope)


def part_of(ideal: Neuron, start: int, stop: int) -> Neuron:
    """The same for some of its channels."""
    return LeakyRectifier(ideal.slope[start:stop]) if isinstance(ideal, LeakyRectifier) else ideal
