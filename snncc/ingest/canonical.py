"""Rewrites that bring a freshly read Graph to the small set of forms that passes expect.

One form for each thing: a static Reshape (Flatten, Squeeze, Unsqueeze), Gemm with [out, in] weights and a bias,
GlobalAveragePool for a mean over all spatial axes, Resize by constant scales, Add for Sum; no Identity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from snncc.graph import Array, Graph, Node, Type, frozen
from snncc.onnx_attributes import defaults


@dataclass
class Draft:
    """A graph being rewritten, and the weights and types that rules have added."""

    graph: Graph
    weights: dict[str, Array] = field(default_factory=dict)
    types: dict[str, Type] = field(default_factory=dict)

    def _fresh(self, stem: str) -> str:
        taken = {*self.weights, *self.types}
        name = self.graph.fresh(stem)
        while name in taken:
            name = self.graph.fresh(f"{name}_")
        return name

    def weight(self, stem: str, value: Array) -> str:
        name = self._fresh(stem)
        self.weights[name] = frozen(value)
        return name

    def value(self, stem: str, shape: tuple[int, ...], dtype: str = "float32") -> str:
        name = self._fresh(stem)
        self.types[name] = Type(shape, dtype)
        return name

    def constant(self, node: Node, index: int) -> Array | None:
        """The constant at input `index`, if it is there and constant."""
        return self.graph.constant(node.inputs[index]) if index < len(node.inputs) else None


def canonicalise(graph: Graph) -> Graph:
    """The same function in canonical form; node origins are kept."""
    draft = Draft(graph)
    changes = {node: RULES[node.op](node, draft) for node in graph.nodes if node.op in RULES}
    graph = graph.replace_nodes(changes, weights=draft.weights, types=draft.types)
    return _drop_identities(_drop_unread_outputs(graph))


def _drop_unread_outputs(graph: Graph) -> Graph:
    """MaxPool's indices, Dropout's mask: trailing outputs that nobody reads. A Split goes by their number."""
    changes = {}
    for node in graph.nodes:
        kept = node.outputs
        while node.op != "Split" and len(kept) > 1 and not graph.users(kept[-1]) and kept[-1] not in graph.outputs:
            kept = kept[:-1]
        if kept != node.outputs:
            changes[node] = [replace(node, outputs=kept)]
    return graph.replace_nodes(changes)


def _drop_identities(graph: Graph) -> Graph:
    for name in [node.output for node in graph.nodes]:
        node = graph.producer(name)
        if node is not None and _is_identity(graph, node):
            graph = graph.bypass(node)
    return graph


def _is_identity(graph: Graph, node: Node) -> bool:
    if len(node.outputs) > 1:
        return False
    if node.op in ("Cast", "CastLike"):
        return graph.types[node.output].dtype == graph.types[node.inputs[0]].dtype
    return node.op in ("Identity", "Dropout")


def _reshape(node: Node, draft: Draft) -> list[Node]:
    shape = draft.weight(f"{node.output}.shape", np.asarray(draft.graph.shape(node.output), np.int64))
    return [Node("Reshape", (node.inputs[0], shape), node.outputs, defaults("Reshape", 0), node.origin)]


def _sum(node: Node, draft: Draft) -> list[Node]:
    if len(node.inputs) == 1:
        return [Node("Identity", node.inputs, node.outputs, {}, node.origin)]
    if len(node.inputs) > 2:
        return [node]
    return [Node("Add", node.inputs, node.outputs, {}, node.origin)]


def _reduce_mean(node: Node, draft: Draft) -> list[Node]:
    axes, shape = draft.constant(node, 1), draft.graph.shape(node.inputs[0])
    rank = len(shape)
    if axes is None or rank < 3 or sorted(int(axis) % rank for axis in axes) != list(range(2, rank)):
        return [node]
    if node.attrs["keepdims"]:
        return [Node("GlobalAveragePool", node.inputs[:1], node.outputs, {}, node.origin)]
    mean = draft.value(f"{node.output}.mean", (*shape[:2], *[1] * (rank - 2)))
    pool = Node("GlobalAveragePool", node.inputs[:1], (mean,), {}, node.origin)
    return [pool, *_reshape(replace(node, inputs=(mean,)), draft)]


def _gemm(node: Node, draft: Draft) -> list[Node]:
    weight, bias, attrs = draft.constant(node, 1), draft.constant(node, 2), node.attrs
    has_bias = len(node.inputs) > 2
    if weight is None or attrs["transA"]:
        return [node]
    matrix = weight if attrs["transB"] else weight.T
    out = matrix.shape[0]
    if has_bias and (bias is None or bias.size not in (1, out)):
        return [node]
    vector: Array = np.zeros(out, np.float32)
    if bias is not None:
        vector = np.float32(attrs["beta"]) * np.broadcast_to(bias.reshape(-1), (out,))
    w = node.inputs[1]
    if attrs["alpha"] != 1 or not attrs["transB"]:
        w = draft.weight(f"{w}.T", np.float32(attrs["alpha"]) * matrix)
    b = node.inputs[2] if bias is not None and attrs["beta"] == 1 and bias.shape == (out,) else ""
    b = b or draft.weight(f"{node.output}.bias", vector)
    return [replace(node, inputs=(node.inputs[0], w, b), attrs={**defaults("Gemm", 0), "transB": 1})]


def _resize(node: Node, draft: Draft) -> list[Node]:
    """By constant scales over all axes; nearest by whole numbers always asymmetric and floor."""
    size, out = draft.graph.shape(node.inputs[0]), draft.graph.shape(node.output)
    attrs = node.attrs
    if attrs["coordinate_transformation_mode"] == "tf_crop_and_resize":
        return [node]
    if attrs["keep_aspect_ratio_policy"] != "stretch" or any(a not in KNOWN_RESIZE for a in attrs):
        return [node]
    scales, axes = draft.constant(node, 2), attrs.get("axes") or tuple(range(len(size)))
    full: Array = np.ones(len(size), np.float32)
    if scales is not None and scales.size:
        full[list(axes)] = scales
    elif draft.constant(node, 3) is not None:
        full = np.asarray(out, np.float32) / np.asarray(size, np.float32)
    else:
        return [node]
    for exact in (np.float32, np.float64):  # onnxruntime and onnx multiply differently
        if tuple(np.floor(np.asarray(size, exact) * full.astype(exact))) != out:
            return [node]  # the scale, rounded to float32, gives another size
    kept = {key: value for key, value in attrs.items() if key != "axes"}
    if attrs["mode"] == "nearest" and (full == np.floor(full)).all() and _repeats(node):
        kept |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    scale = draft.weight(f"{node.output}.scales", full)
    return [replace(node, inputs=(node.inputs[0], "", scale), attrs=dict(sorted(kept.items())))]


KNOWN_RESIZE = {
    "antialias", "axes", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside",
    "extrapolation_value", "keep_aspect_ratio_policy", "mode", "nearest_mode",
}  # fmt: skip


def _repeats(node: Node) -> bool:
    """Whether nearest resizing by a whole number repeats each element: the centres of its copies lie within ±1/2."""
    coordinates, rounding = node.attrs["coordinate_transformation_mode"], node.attrs["nearest_mode"]
    centred = coordinates in ("half_pixel", "half_pixel_symmetric") and rounding.startswith("round")
    return bool(centred or (coordinates == "asymmetric" and rounding == "floor"))


RULES: dict[str, Callable[[Node, Draft], list[Node]]] = {
    "Flatten": _reshape,
    "Reshape": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Sum": _sum,
    "ReduceMean": _reduce_mean,
    "Gemm": _gemm,
    "Resize": _resize,
}
