"""What the rewrites share: affine maps of each channel, and linear layers that take them in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from snncc.graph import Array, Graph, Node, frozen

LINEAR = ("Conv", "ConvTranspose", "Gemm")


@dataclass(frozen=True, eq=False)
class Affine:
    """y = scale · x + shift for the value x = `source`; scale and shift float64 [C]."""

    source: str
    scale: Array
    shift: Array


def channel_vector(constant: Array, shape: tuple[int, ...]) -> Array | None:
    """`constant` as [C] if, broadcast to a value of `shape` [1, C, ...], it differs between channels only."""
    if len(shape) < 2 or constant.ndim > len(shape) or constant.dtype != np.float32:
        return None
    full = (1,) * (len(shape) - constant.ndim) + constant.shape
    if full[0] != 1 or full[1] not in (1, shape[1]) or any(size != 1 for size in full[2:]):
        return None
    return np.broadcast_to(constant.reshape(-1), (shape[1],)).astype(np.float64)


def channel_constant(vector: Array, rank: int) -> Array:
    """[C] in the canonical shape to broadcast against a value of `rank`: [C, 1, ...], or [C] for rank 2."""
    return frozen(np.asarray(vector, np.float32).reshape(-1, *[1] * (rank - 2)))


def affine(graph: Graph, node: Node) -> Affine | None:
    """The map of a BatchNormalization, or of a Mul, Add, Sub or Div with a constant per channel; else None."""
    if node.op == "BatchNormalization":
        return _batchnorm(graph, node)
    if node.op not in ("Mul", "Add", "Sub", "Div"):
        return None
    left, right = node.inputs
    swapped = left in graph.weights
    source, constant = (right, graph.constant(left)) if swapped else (left, graph.constant(right))
    if constant is None or source in graph.weights or graph.types[source] != graph.types[node.output]:
        return None
    vector = channel_vector(constant, graph.shape(source))
    if vector is None:
        return None
    one, zero = np.ones_like(vector), np.zeros_like(vector)
    match node.op, swapped:
        case "Mul", _:
            return Affine(source, vector, zero)
        case "Add", _:
            return Affine(source, one, vector)
        case "Sub", False:
            return Affine(source, one, -vector)
        case "Sub", True:
            return Affine(source, -one, vector)
        case "Div", False if vector.all():
            return Affine(source, one / vector, zero)
    return None


def _batchnorm(graph: Graph, node: Node) -> Affine | None:
    parameters = [graph.constant(name) for name in node.inputs[1:5]]
    if any(p is None for p in parameters) or len(node.outputs) > 1 or len(graph.shape(node.inputs[0])) < 2:
        return None
    gamma, beta, mean, variance = (np.asarray(p, np.float64) for p in parameters)
    spread = variance + node.attrs["epsilon"]
    if (spread <= 0).any():
        return None
    scale = gamma / np.sqrt(spread)
    return Affine(node.inputs[0], scale, beta - scale * mean)


def absorb(graph: Graph, node: Node, found: Affine) -> tuple[Graph, str]:
    """Multiply `found`, the map of `node`, into the linear layer before it.

    Returns the new graph and "", or the same graph and why it cannot be done.
    """
    linear = graph.producer(found.source)
    if linear is None or linear.op not in LINEAR:
        return graph, f"what makes its input ({linear.op if linear else 'a graph input'}) has no weights"
    if graph.sole_user(found.source) is not node:
        return graph, f"the output of {linear.label} is also read elsewhere"
    weight = graph.constant(linear.inputs[1])
    bias = graph.constant(linear.inputs[2]) if len(linear.inputs) > 2 and linear.inputs[2] else np.zeros(1, np.float32)
    if weight is None or bias is None:
        return graph, f"the weights of {linear.label} are no constants"
    if linear.op == "Gemm" and (not linear.attrs["transB"] or linear.attrs["alpha"] != 1 or linear.attrs["beta"] != 1):
        return graph, f"{linear.label} is not in canonical form"
    with np.errstate(over="ignore"):
        new_weight = (weight * _per_output(linear, weight, found.scale)).astype(np.float32)
        new_bias = (bias * found.scale + found.shift).astype(np.float32)
    if not (np.isfinite(new_weight).all() and np.isfinite(new_bias).all()):
        return graph, "the product exceeds float32"
    names = [_weight_name(graph, linear, 1), _weight_name(graph, linear, 2)]
    origin = tuple(dict.fromkeys(linear.origin + node.origin))
    merged = replace(linear, inputs=(linear.inputs[0], *names), outputs=node.outputs, origin=origin)
    new = dict(zip(names, (frozen(new_weight), frozen(new_bias)), strict=True))
    return graph.replace_nodes({linear: (), node: (merged,)}, weights=new), ""


def _per_output(linear: Node, weight: Array, scale: Array) -> Array:
    """`scale` [Cout], in a shape that multiplies `weight` by output channel."""
    if linear.op != "ConvTranspose":
        return scale.reshape(-1, *[1] * (weight.ndim - 1))
    # weight [Cin, Cout / groups, *kernel]: row i belongs to group i // (Cin / groups)
    groups = int(linear.attrs["group"])
    rows = np.repeat(scale.reshape(groups, -1), weight.shape[0] // groups, axis=0)
    return rows.reshape(weight.shape[:2] + (1,) * (weight.ndim - 2))


def _weight_name(graph: Graph, linear: Node, index: int) -> str:
    """The layer's own name for the weight at input `index`, or a fresh one if others read it or it is absent."""
    name = linear.inputs[index] if index < len(linear.inputs) else ""
    if not name:
        return graph.fresh(f"{linear.inputs[1]}.bias")
    if graph.users(name) == (linear,) and linear.inputs.count(name) == 1:
        return name
    return graph.fresh(f"{name}.folded{index}")
