"""Resize, padding and pooling as one matrix [out, in] per spatial axis, with onnxruntime's own conventions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from snncc.graph import Array, Graph, Node
from snncc.synapses import Pool, Resample, Synapse
from snncc.synapses.resample import MAX_TAPS
from snncc.synapses.routing import Route, Take, Upsample

BUDGET = 1 << 16  # product of all denominators: weights and thresholds of 20 bits still tell 1 / BUDGET well
FINE = 1 << 10  # denominator of one axis
NEAR = 1e-4  # float32 coordinates are no better


def _positions(graph: Graph, node: Node) -> list[tuple[Array, np.float32]] | None:
    """(where each output lies among the inputs: float32 [out], scale) per spatial axis of a Resize by constants; None
    where it is something else. Formulas are those of the ONNX specification, in float32 as in onnxruntime."""
    pre, post, attrs = graph.shape(node.inputs[0]), graph.shape(node.output), node.attrs
    found = [graph.constant(v) if v else None for v in (*node.inputs[2:], "", "")[:2]]
    axes = attrs.get("axes") or range(len(pre))
    scales = np.asarray(post, np.float32) / np.asarray(pre, np.float32)
    if found[0] is not None and found[0].size:
        scales[list(axes)] = found[0]
    elif found[1] is None:
        return None
    if pre[:2] != post[:2] or attrs["antialias"] or attrs["keep_aspect_ratio_policy"] != "stretch":
        return None
    if pre == post:  # onnxruntime copies, whatever the scales say
        return [(np.arange(n, dtype=np.float32), np.float32(1)) for n in pre[2:]]
    mode = attrs["coordinate_transformation_mode"]
    out = []
    for size, outputs, scale in zip(pre[2:], post[2:], scales[2:], strict=True):
        at = _coordinates(mode, size, outputs, scale)
        if at is None:
            return None
        out.append((at, scale))
    return out


def _coordinates(mode: str, size: int, outputs: int, scale: np.float32) -> Array | None:
    x, half = np.arange(outputs, dtype=np.float32), np.float32(0.5)
    if mode == "asymmetric":
        return np.asarray(x / scale)
    if mode == "align_corners":
        return np.asarray(x * np.float32(size - 1) / np.float32(max(outputs - 1, 1)))
    if mode == "pytorch_half_pixel" and outputs == 1:
        return np.zeros(1, np.float32)
    if mode == "half_pixel_symmetric":
        offset = np.float32(size) / 2 * (1 - np.float32(outputs) / (scale * np.float32(size)))
        return np.asarray(offset + (x + half) / scale - half)
    return (x + half) / scale - half if mode in ("half_pixel", "pytorch_half_pixel") else None


def nearest_indices(graph: Graph, node: Node) -> list[Array] | None:
    """Which input each output of a nearest Resize is. None, too, where float32 rounding inside onnxruntime decides."""
    found, attrs = _positions(graph, node), node.attrs
    if attrs["mode"] != "nearest" or found is None:
        return None
    coordinates, out = attrs["coordinate_transformation_mode"], []
    for (at, scale), size in zip(found, graph.shape(node.inputs[0])[2:], strict=True):
        part = at - np.floor(at)
        tie = attrs["nearest_mode"].startswith("round") and np.any(np.abs(part - 0.5) < NEAR)
        exact = coordinates == "align_corners" or float(scale) * 4096 % 1 == 0
        if coordinates == "half_pixel_symmetric" or (tie and not exact):
            return None
        up = {"ceil": part > 0, "round_prefer_floor": part > 0.5, "round_prefer_ceil": part >= 0.5}
        near = np.floor(at) + up.get(attrs["nearest_mode"], 0)  # 0: floor
        out.append(np.clip(near, 0, size - 1).astype(np.int64))
    return out


def resize_matrices(graph: Graph, node: Node) -> list[Array] | None:
    """Of a linear or cubic Resize; neighbours beyond the border are clamped."""
    found, attrs = _positions(graph, node), node.attrs
    sizes = graph.shape(node.inputs[0])[2:]
    if attrs["mode"] == "nearest" or found is None or _too_large(sizes, graph.shape(node.output)[2:]):
        return None
    return [_interpolation(at, size, attrs) for (at, _), size in zip(found, sizes, strict=True)]


def _too_large(sizes: Sequence[int], outputs: Sequence[int]) -> bool:
    return max(n * m for n, m in zip(sizes, outputs, strict=True)) > MAX_TAPS


def _interpolation(at: Array, size: int, attrs: Mapping[str, Any]) -> Array:
    if attrs["mode"] == "linear":
        at = np.clip(at, 0, size - 1)
    low = np.floor(at)
    t, a = (at - low).astype(np.float64), attrs["cubic_coeff_a"]
    parts = {0: 1 - t, 1: t}
    if attrs["mode"] == "cubic":  # Keys, 1981
        near, far = np.array([a + 2, -a - 3, 0, 1]), a * np.array([1, -5, 8, -4])
        parts = {k: np.polyval(far if k in (-1, 2) else near, np.abs(t - k)) for k in (-1, 0, 1, 2)}
    matrix = np.zeros((len(at), size))
    for step, part in parts.items():
        i = low.astype(np.int64) + step
        inside = ((i >= 0) & (i < size)) | (not attrs["exclude_outside"])
        np.add.at(matrix, (np.arange(len(at)), np.clip(i, 0, size - 1)), part * inside)
    return np.asarray(matrix / matrix.sum(1, keepdims=True))


def pad_amounts(graph: Graph, node: Node) -> Array | None:
    """int64 [2, spatial axes], before and after; None unless they are constant, not negative, and of these alone."""
    rank, given = len(graph.shape(node.inputs[0])), (*node.inputs, "", "")
    amounts, axes = graph.constant(given[1]), graph.constant(given[3])
    if amounts is None or (given[3] and axes is None):
        return None
    full: Array = np.zeros((2, rank), np.int64)
    full[:, np.arange(rank) if axes is None else axes] = amounts.reshape(2, -1)
    return None if full[:, :2].any() or full.min() < 0 else full[:, 2:]


def pad_indices(graph: Graph, node: Node) -> list[Array] | None:
    """Which input each output of a Pad by reflection, repetition of the edge or wrapping is."""
    mode, amounts = node.attrs["mode"], pad_amounts(graph, node)
    if mode not in ("reflect", "edge", "wrap") or amounts is None:
        return None
    sizes = graph.shape(node.inputs[0])[2:]
    return [np.pad(np.arange(n), ab, mode=mode) for n, ab in zip(sizes, amounts.T, strict=True)]


def local_sum(graph: Graph, node: Node, shape: tuple[int, ...]) -> tuple[Synapse, float] | str:
    """AveragePool, GlobalAveragePool or Resize on `shape` with the error of its entries, or why there is none."""
    rank = len(shape) - 1
    if node.op == "GlobalAveragePool":
        ones, nothing = (1,) * rank, (0,) * 2 * rank
        return Pool(np.full(shape[0], 1 / prod(shape[1:])), shape[1:], ones, nothing, ones), 0.0
    if node.op == "Resize":
        matrices = resize_matrices(graph, node)
        return _checked(matrices, shape[0]) or "a resize that is no fixed sum of neighbours"
    attrs, pads = node.attrs, tuple(node.attrs["pads"])
    kernel, stride, dilation = (tuple(attrs[key]) for key in ("kernel_shape", "strides", "dilations"))
    pool = Pool(np.full(shape[0], 1 / prod(kernel)), kernel, stride, pads, dilation)
    whole = attrs["count_include_pad"] or not any(pads)
    if whole and pool.shape(shape)[1:] == graph.shape(node.output)[2:]:
        return pool, 0.0
    matrices = pool_matrices(graph, node)
    return _checked(matrices, shape[0]) or "average pooling with an empty window, or of too many positions"


def _checked(matrices: list[Array] | None, channels: int) -> tuple[Synapse, float] | str | None:
    if matrices is None:
        return None
    found = resample(matrices, channels)
    try:
        found[0].kernel_weights(len(matrices))
    except ValueError as fault:
        return f"a sum over neighbours with {fault}"
    return found


def pool_matrices(graph: Graph, node: Node) -> list[Array] | None:
    """Of an AveragePool: means over what lies inside (count_include_pad=0) or up to the end of the padding (1); None if
    a window is empty or begins behind the input, where onnx and onnxruntime disagree about the size."""
    pre, post, attrs = graph.shape(node.inputs[0])[2:], graph.shape(node.output)[2:], node.attrs
    geometry = (attrs[key] for key in ("kernel_shape", "strides", "dilations"))
    out, pads = [], attrs["pads"]
    if _too_large(pre, post):
        return None
    for n, outputs, k, stride, dilation, before, after in zip(
        pre, post, *geometry, pads[: len(pre)], pads[len(pre) :], strict=True
    ):
        at = np.arange(outputs)[:, None] * stride + np.arange(k) * dilation - before
        inside = (at >= 0) & (at < n)
        counted = (at < n + after if attrs["count_include_pad"] else inside).sum(1, keepdims=True)
        if not counted.all() or at[-1, 0] >= n:
            return None
        matrix = np.zeros((outputs, n))
        np.add.at(matrix, (np.nonzero(inside)[0], at[inside]), 1)
        out.append(matrix / counted)
    return out


def chosen(indices: Sequence[Array], shape: tuple[int, ...]) -> Route:
    """The choice of `indices` along the axes of `shape`, as an Upsample where it is one."""
    factors = tuple(len(index) // n for index, n in zip(indices, shape, strict=True))
    repeats = (np.repeat(np.arange(n), f) for n, f in zip(shape, factors, strict=True))
    if all(np.array_equal(a, b) for a, b in zip(indices, repeats, strict=True)):
        return Upsample(factors)
    return Take(tuple(tuple(map(int, index)) for index in indices))


def resample(matrices: Sequence[Array], channels: int) -> tuple[Resample, float]:
    """The synapse, and by how much its entries differ from `matrices` at most (0: by float32 rounding only)."""
    mixing = max(1, sum(not np.all(np.rint(m) == m) for m in matrices))
    limit = min(FINE, int(BUDGET ** (1 / mixing) + 1e-9))
    found = [_whole(m, limit) for m in matrices]
    weight = np.full(channels, 1 / prod(d for _, d in found))
    worst = max(float(np.abs(whole / d - m).max()) for (whole, d), m in zip(found, matrices, strict=True))
    return Resample(weight, tuple(whole for whole, _ in found)), worst if worst > NEAR else 0.0


def _whole(matrix: Array, limit: int) -> tuple[Array, int]:
    """(integers, common denominator up to `limit`): the smallest that is exact, else the best."""
    entries, error = np.unique(matrix), np.inf
    for d in range(1, limit + 1):
        off = float(np.abs(np.rint(entries * d) / d - entries).max())
        if off < error:
            best, error = d, off
        if error < NEAR:
            break
    whole = np.rint(matrix * best)
    for row, exact in zip(whole, matrix * best, strict=True):
        while missing := int(np.rint(exact.sum()) - row.sum()):  # a row keeps its sum: constants stay constant
            row[np.argmax((exact - row) * np.sign(missing))] += np.sign(missing)
    return whole.astype(np.int64), best
