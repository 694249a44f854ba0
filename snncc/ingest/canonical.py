"""Rewrites that bring a freshly read Graph to the small set of forms that passes expect.

One form for each thing: a static Reshape (Flatten, Squeeze, Unsqueeze), Gemm with [out, in] weights and a bias,
GlobalAveragePool for a mean and MaxPool for a maximum over all spatial axes, Resize by constant scales, Add for Sum,
Slice for Split, Clip for Max and Min with a number, LeakyRelu or Relu where PRelu needs no more; no Identity.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

import numpy as np
import onnx

from snncc.errors import FormatError
from snncc.graph import Array, Graph, Node, Type, frozen
from snncc.ingest.fold import NEAREST_BEFORE_11
from snncc.onnx_attributes import OPSET, defaults


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


def canonicalise(graph: Graph, ops: Collection[str] | None = None) -> Graph:
    """The same function in canonical form (only operators of `ops`, if given); node origins are kept."""
    draft = Draft(graph)
    ruled = RULES.keys() if ops is None else ops
    changes = {node: RULES[node.op](node, draft) for node in graph.nodes if node.op in ruled}
    graph = graph.replace_nodes(changes, weights=draft.weights, types=draft.types)
    return _drop_identities(_drop_unread_outputs(graph))


def _drop_unread_outputs(graph: Graph) -> Graph:
    """MaxPool's indices, Dropout's mask: trailing outputs that nobody reads and the operator can do without. A Split
    goes by their number."""
    changes = {}
    for node in graph.nodes:
        kept = node.outputs
        least = max(1, onnx.defs.get_schema(node.op, OPSET, "").min_output) if node.op != "Split" else len(kept)
        while len(kept) > least and not graph.users(kept[-1]) and kept[-1] not in graph.outputs:
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
    """A chain of Adds; for Mean divided by the number of inputs."""
    kind = draft.graph.types[node.output]
    steps, total = [], node.inputs[0]
    for index, name in enumerate(node.inputs[1:], 2):
        last = index == len(node.inputs) and node.op == "Sum"
        shape = np.broadcast_shapes(*(draft.graph.shape(v) for v in node.inputs[:index]))
        made = node.output if last else draft.value(f"{node.output}.sum", shape, kind.dtype)
        steps.append(Node("Add", (total, name), (made,), {}, node.origin))
        total = made
    if node.op == "Mean":
        count = draft.weight(f"{node.output}.part", np.asarray(1 / len(node.inputs), kind.dtype))
        return [*steps, Node("Mul", (total, count), node.outputs, {}, node.origin)]
    return steps or [Node("Identity", node.inputs, node.outputs, {}, node.origin)]


def _reduce(node: Node, draft: Draft) -> list[Node]:
    """ReduceMean and ReduceMax over all spatial axes as pools, with a Reshape where these axes go."""
    axes, shape = draft.constant(node, 1), draft.graph.shape(node.inputs[0])
    rank = len(shape)
    if axes is None or rank < 3 or sorted(int(axis) % rank for axis in axes.ravel()) != list(range(2, rank)):
        return [node]
    kept = len(draft.graph.shape(node.output)) == rank  # keepdims may be any number in the file
    made = node.output if kept else draft.value(f"{node.output}.pooled", (*shape[:2], *[1] * (rank - 2)))
    pool = Node("GlobalMaxPool" if node.op == "ReduceMax" else "GlobalAveragePool", node.inputs[:1], (made,),
                {}, node.origin)  # fmt: skip
    pools = _global_max_pool(pool, draft) if node.op == "ReduceMax" else [pool]
    return pools if kept else [*pools, *_reshape(replace(node, inputs=(made,)), draft)]


def _global_max_pool(node: Node, draft: Draft) -> list[Node]:
    size = draft.graph.shape(node.inputs[0])[2:]
    attrs = {**defaults("MaxPool", len(size)), "kernel_shape": size}
    return [Node("MaxPool", node.inputs, node.outputs, dict(sorted(attrs.items())), node.origin)]


def _average_pool(node: Node, draft: Draft) -> list[Node]:
    """GlobalAveragePool where one window covers all; whether padding counts is only said where there is any."""
    size, attrs = draft.graph.shape(node.inputs[0])[2:], node.attrs
    if any(attrs["pads"]) or attrs["ceil_mode"]:
        return [node]
    if attrs["kernel_shape"] == size and set(attrs["dilations"]) <= {1}:
        return [Node("GlobalAveragePool", node.inputs, node.outputs, {}, node.origin)]
    return [replace(node, attrs={**attrs, "count_include_pad": 0})]


def _pad(node: Node, draft: Draft) -> list[Node]:
    """Amounts for every axis; a fill of 0 is not said."""
    amounts, fill, axes = (draft.constant(node, index) for index in (1, 2, 3))
    given = [name for name in node.inputs[2:] if name]
    if amounts is None or any(name not in draft.graph.weights for name in given):
        return [node]
    rank = len(draft.graph.shape(node.output))
    full: Array = np.zeros((2, rank), np.int64)
    full[:, np.arange(rank) if axes is None else axes] = amounts.reshape(2, -1)
    filled = () if fill is None or not fill.any() else (draft.weight(f"{node.output}.fill", fill.reshape(())),)
    pads = draft.weight(f"{node.output}.pads", full.reshape(-1))
    return [replace(node, inputs=(node.inputs[0], pads, *filled))]


def _slice(node: Node, draft: Draft) -> list[Node]:
    """Steps of 1: starts and ends within the axes they cut, in the order of these."""
    found = [draft.constant(node, index) for index in range(1, len(node.inputs))]
    if any(f is None for f in found) or (len(found) > 3 and (found[3] != 1).any()):  # type: ignore[union-attr]
        return [node]
    shape = draft.graph.shape(node.inputs[0])
    axes = found[2] if len(found) > 2 else np.arange(len(found[0]))  # type: ignore[arg-type]
    cuts = {}
    for axis, start, stop in zip(axes, found[0], found[1], strict=True):  # type: ignore[arg-type]
        bounds = slice(int(start), int(stop)).indices(shape[axis])[:2]
        if bounds != (0, shape[axis]):
            cuts[int(axis) % len(shape)] = bounds
    if not cuts:
        return [Node("Identity", node.inputs[:1], node.outputs, {}, node.origin)]
    columns = zip(*((*cuts[axis], axis) for axis in sorted(cuts)), strict=True)
    names = [
        draft.weight(f"{node.output}.{what}", np.asarray(column, np.int64))
        for what, column in zip(("start", "stop", "axis"), columns, strict=True)
    ]
    return [replace(node, inputs=(node.inputs[0], *names))]


def _split(node: Node, draft: Draft) -> list[Node]:
    axis = int(node.attrs["axis"]) % len(draft.graph.shape(node.inputs[0]))
    slices, start = [], 0
    for name in node.outputs:
        stop = start + draft.graph.shape(name)[axis]
        bounds = tuple(
            draft.weight(f"{name}.{what}", np.asarray([value], np.int64))
            for what, value in (("start", start), ("stop", stop), ("axis", axis))
        )
        slices.append(Node("Slice", (node.inputs[0], *bounds), (name,), {}, node.origin))
        start = stop
    return slices


def _negative(node: Node, draft: Draft) -> list[Node]:
    if draft.graph.types[node.output].dtype != "float32":
        return [node]
    minus = draft.weight(f"{node.output}.minus", np.asarray(-1, np.float32))
    return [Node("Mul", (node.inputs[0], minus), node.outputs, {}, node.origin)]


def _bound(node: Node, draft: Draft) -> list[Node]:
    """Max or Min of a value and one number."""
    values = [name for name in node.inputs if name not in draft.graph.weights]
    numbers = [draft.graph.weights[name] for name in node.inputs if name in draft.graph.weights]
    if len(values) != 1 or len(numbers) != 1 or numbers[0].size != 1 or numbers[0].dtype != np.float32:
        return [node]
    if draft.graph.shape(values[0]) != draft.graph.shape(node.output):
        return [node]
    bound = draft.weight(f"{node.output}.bound", numbers[0].reshape(()))
    inputs = (values[0], bound) if node.op == "Max" else (values[0], "", bound)
    return [Node("Clip", inputs, node.outputs, {}, node.origin)]


def _where(node: Node, draft: Draft) -> list[Node]:
    """Where(x > 0, x, 0) is a Relu."""
    test, zero = draft.graph.producer(node.inputs[0]), draft.constant(node, 2)
    if test is None or test.op not in ("Greater", "GreaterOrEqual") or test.inputs[0] != node.inputs[1]:
        return [node]
    limit = draft.constant(test, 1)
    if zero is None or zero.any() or limit is None or limit.any():
        return [node]
    if draft.graph.shape(node.inputs[1]) != draft.graph.shape(node.output):
        return [node]
    return [Node("Relu", (node.inputs[1],), node.outputs, {}, node.origin)]


def _hard_sigmoid(node: Node, draft: Draft) -> list[Node]:
    """max(0, min(1, alpha x + beta)) as Mul, Add and Clip."""
    kind = draft.graph.types[node.output]
    names = [
        draft.weight(f"{node.output}.{what}", np.asarray(value, np.float32))
        for what, value in (("alpha", node.attrs["alpha"]), ("beta", node.attrs["beta"]), ("min", 0), ("max", 1))
    ]
    scaled, moved = (draft.value(f"{node.output}.{what}", kind.shape) for what in ("scaled", "moved"))
    return [
        Node("Mul", (node.inputs[0], names[0]), (scaled,), {}, node.origin),
        Node("Add", (scaled, names[1]), (moved,), {}, node.origin),
        Node("Clip", (moved, names[2], names[3]), node.outputs, {}, node.origin),
    ]


def _leaky_relu(node: Node, draft: Draft) -> list[Node]:
    """LeakyRelu, and PRelu whose slopes are equal; slope 0 is a Relu, slope 1 nothing. Other slopes as [C, 1, ...]."""
    slope = draft.constant(node, 1) if node.op == "PRelu" else np.asarray(node.attrs["alpha"], np.float32)
    shape = draft.graph.shape(node.inputs[0])
    if slope is None or not slope.size:
        return [node]
    if (slope == slope.flat[0]).all():
        alpha = float(slope.flat[0])
        op = {0.0: "Relu", 1.0: "Identity"}.get(alpha, "LeakyRelu")
        attrs = {"alpha": alpha} if op == "LeakyRelu" else {}
        return [Node(op, node.inputs[:1], node.outputs, attrs, node.origin)]
    wanted = (*shape[1:2], *[1] * (len(shape) - 2))
    if len(shape) < 2 or slope.size != shape[1] or slope.shape == wanted or slope.shape != (1, *wanted):
        return [node]
    return [replace(node, inputs=(node.inputs[0], draft.weight(node.inputs[1], slope.reshape(wanted))))]


def _gemm(node: Node, draft: Draft) -> list[Node]:
    weight, bias, attrs = draft.constant(node, 1), draft.constant(node, 2), node.attrs
    has_bias = len(node.inputs) > 2
    if weight is None or attrs["transA"]:
        return [node]
    matrix = weight if attrs["transB"] else weight.T
    out = matrix.shape[0]
    if has_bias and (bias is None or bias.size not in (1, out) or bias.shape[-1:] not in ((), (bias.size,))):
        return [node]  # [batch, 1] is a number for each sample
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
    scales = draft.constant(node, 2)
    if node.attrs["nearest_mode"] == NEAREST_BEFORE_11:
        node = _nearest_before_11(node, scales)
    attrs = node.attrs
    if attrs["coordinate_transformation_mode"] == "tf_crop_and_resize":
        return [node]
    if attrs["keep_aspect_ratio_policy"] != "stretch" or any(a not in KNOWN_RESIZE for a in attrs):
        return [node]
    axes = attrs.get("axes") or tuple(range(len(size)))
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


def _nearest_before_11(node: Node, scales: Array | None) -> Node:
    """Along an axis that shrinks onnxruntime takes the next element, along others the one before."""
    if scales is None or scales.min() < 1 < scales.max():
        raise FormatError("a nearest resize before opset 11 that shrinks one axis and grows another", node=node.label,
                          remedy="export with opset_version=20")  # fmt: skip
    return replace(node, attrs={**node.attrs, "nearest_mode": "ceil" if scales.min() < 1 else "floor"})


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
    "Mean": _sum,
    "ReduceMean": _reduce,
    "ReduceMax": _reduce,
    "GlobalMaxPool": _global_max_pool,
    "AveragePool": _average_pool,
    "Pad": _pad,
    "Slice": _slice,
    "Split": _split,
    "Neg": _negative,
    "Max": _bound,
    "Min": _bound,
    "Where": _where,
    "HardSigmoid": _hard_sigmoid,
    "PRelu": _leaky_relu,
    "LeakyRelu": _leaky_relu,
    "Gemm": _gemm,
    "Resize": _resize,
}
