"""Random synapses and routing, from the shape behind them to the shape they read; weights are zeros."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TypeVar

import numpy as np

from snncc.graph import Array
from snncc.synapses import Conv, ConvTranspose, Dense, Diagonal, Pool, Resample, Synapse
from snncc.synapses.routing import Pad, Reshape, Route, Slice, Take, Transpose, Upsample

Rng = np.random.Generator
Shape = tuple[int, ...]
X = TypeVar("X")
MACS, NEURONS = 2_000_000, 12_000  # of one step and projection, of one population: the reference engine is slow
CHANNELS = ((1, 8), (1, 8), (1, 8), (9, 40), (41, 130), (16, 16), (32, 32), (48, 48), (64, 64), (96, 96), (128, 128))


def some(rng: Rng, share: float) -> bool:
    return bool(rng.random() < share)


def one_of(rng: Rng, choices: Sequence[X]) -> X:
    return choices[int(rng.integers(len(choices)))]


def each(rng: Rng, rank: int, *choices: int) -> Shape:
    return tuple(one_of(rng, choices) for _ in range(rank))


def synapse_into(rng: Rng, post: Shape) -> tuple[Synapse, Shape] | None:
    """A synapse without weights and the (routed) shape it reads; None: too large."""
    rank, (channels, *space) = len(post) - 1, post
    kind = one_of(rng, ("dense", "dense", "diagonal") if not rank else (
        *("conv",) * 7, "transpose", "transpose", "grouped", "depthwise", "depthwise transpose", "diagonal", "pool",
        "resample",
    ))  # fmt: skip
    one = np.zeros(channels)
    if kind == "dense":
        size = one_of(rng, (1, 7, 24, 100, 300))
        return Dense(np.zeros((channels, size))), (size,)
    if kind == "diagonal":
        return Diagonal(one), post
    if kind == "resample":
        sizes = [int(rng.integers(1, n + 4)) for n in space]
        return Resample(one, tuple(_matrix(rng, n, m) for n, m in zip(space, sizes, strict=True))), (channels, *sizes)
    kernel = each(rng, rank, *((1, 2, 3, 3, 3, 4, 5, 7) if rank < 3 else (1, 2, 3, 3, 3, 4)))
    stride = each(rng, rank, 1, 1, 1, 2, 3)
    dilation = each(rng, rank, *((1,) if some(rng, 0.7) else (1, 2, 3)))
    group = 1
    if kind in ("grouped", "depthwise", "depthwise transpose"):
        group = channels if kind != "grouped" else one_of(rng, [g for g in range(1, channels + 1) if channels % g == 0])
    cin = group * (1 if "depthwise" in kind else int(rng.integers(*one_of(rng, CHANNELS), endpoint=True)))
    cin = channels if kind == "pool" else cin
    back = "transpose" in kind
    sizes, pads, extra = [], [], []
    for axis in zip(space, kernel, stride, dilation, strict=True):
        n, before, after, more = (_transposed if back else _strided)(rng, *axis)
        sizes.append(n)
        pads.append((before, after))
        extra.append(more)
    spread = tuple(p[0] for p in pads) + tuple(p[1] for p in pads)
    met = prod(sizes if back else space) * prod(kernel)
    if met * channels * (1 if kind == "pool" else cin // group) > MACS or cin * prod(sizes) > NEURONS:
        return None
    if kind == "pool":
        return Pool(one, kernel, stride, spread, dilation), (channels, *sizes)
    if back:
        weight = np.zeros((cin, channels // group, *kernel))
        return ConvTranspose(weight, stride, dilation, spread, tuple(extra), group), (cin, *sizes)
    return Conv(np.zeros((channels, cin // group, *kernel)), stride, dilation, spread, group), (cin, *sizes)


def _strided(rng: Rng, out: int, kernel: int, stride: int, dilation: int) -> tuple[int, int, int, int]:
    """(size read, pads, 0) of a convolution that makes `out`."""
    full = stride * (out - 1) + int(rng.integers(stride)) + dilation * (kernel - 1) + 1
    before, after = (int(v) for v in rng.integers(0, dilation * (kernel - 1) + 2, 2))
    before = min(before, full - 1)
    return full - before - min(after, full - 1 - before), before, min(after, full - 1 - before), 0


def _transposed(rng: Rng, out: int, kernel: int, stride: int, dilation: int) -> tuple[int, int, int, int]:
    """(size read, pads, output padding) of a transposed convolution that makes `out`."""
    extra, reach = int(rng.integers(stride)), dilation * (kernel - 1) + 1
    least = max(1, -(-(out - extra - reach) // stride) + 1)
    size = least + int(rng.integers(2))
    cut = stride * (size - 1) + extra + reach - out
    before = int(rng.integers(cut + 1))
    return size, before, cut - before, extra


def _matrix(rng: Rng, out: int, size: int) -> Array:
    """As of linear resizing: neighbouring whole numbers in each row; some negative, some rows empty."""
    matrix = np.zeros((out, size), np.int64)
    for o in range(out):
        i = min(o * size // out, size - 1)
        matrix[o, i : i + 2] = rng.integers(-1, 4, 2)[: size - i]
    matrix[0, 0] = 1
    return matrix


def routes_to(rng: Rng, shape: Shape) -> tuple[tuple[Route, ...], Shape]:
    """Routing that makes `shape`, and the shape it reads: relayouts before what works on each axis alone."""
    routing: tuple[Route, ...] = ()
    for _ in range(one_of(rng, (0, 0, 1, 1, 2)) if len(shape) > 1 else 0):
        made, shape = _spatial_route(rng, shape)
        routing = made + routing
    for _ in range(one_of(rng, (0, 0, 0, 1, 2))):
        relayout, shape = _relayout(rng, shape)
        routing = (relayout, *routing)
    return routing, shape


def _spatial_route(rng: Rng, shape: Shape) -> tuple[tuple[Route, ...], Shape]:
    channels, *space = shape
    match one_of(rng, ("upsample", "upsample", "pad", "slice", "take")):
        case "upsample":
            factors = each(rng, len(space), 1, 2, 2, 3)
            sizes = [-(-n // f) for n, f in zip(space, factors, strict=True)]
            first = [int(rng.integers(m * f - n + 1)) for n, m, f in zip(space, sizes, factors, strict=True)]
            route: tuple[Route, ...] = (Upsample(factors),)
            if [m * f for m, f in zip(sizes, factors, strict=True)] != space:
                stop = (channels, *(a + n for a, n in zip(first, space, strict=True)))
                route += (Slice((0, *first), stop),)
            return route, (channels, *sizes)
        case "pad":
            pads = [(int(rng.integers(n)), int(rng.integers(3))) for n in space]
            pads = [(min(2, b), min(a, n - 1 - min(2, b))) for (b, a), n in zip(pads, space, strict=True)]
            before, after = zip(*pads, strict=True)
            return (Pad(before, after),), (channels, *(n - b - a for n, (b, a) in zip(space, pads, strict=True)))
        case "slice":
            first, more = rng.integers(0, 3, (2, len(space))).tolist()
            stop = (channels, *(a + n for a, n in zip(first, space, strict=True)))
            sizes = [a + n + b for n, a, b in zip(space, first, more, strict=True)]
            return (Slice((0, *first), stop),), (channels, *sizes)
        case _:
            sizes = [int(rng.integers(1, n + 3)) for n in space]
            chosen = tuple(tuple(rng.integers(0, m, n).tolist()) for n, m in zip(space, sizes, strict=True))
            return (Take(chosen),), (channels, *sizes)


def _relayout(rng: Rng, shape: Shape) -> tuple[Route, Shape]:
    match one_of(rng, ("channels", "transpose", "reshape")):
        case "channels":
            first, more = (int(v) for v in rng.integers(0, 20, 2))
            stop = (first + shape[0], *shape[1:])
            return Slice((first, *(0 for _ in shape[1:])), stop), (stop[0] + more, *shape[1:])
        case "transpose":
            perm = rng.permutation(len(shape)).tolist()
            return Transpose(tuple(perm)), tuple(shape[perm.index(axis)] for axis in range(len(shape)))
        case _:
            size = prod(shape)
            factor = one_of(rng, [f for f in range(1, min(size, 40) + 1) if size % f == 0])
            return Reshape(shape), one_of(rng, [(size,), (factor, size // factor), (size // factor, factor)])
