"""Two linear maps in a row, multiplied out where that is exact at the border.

The product is exact only if the intermediate, extended beyond its frame, is zero there: the second map's zero padding
reads zeros, while the first map could have produced something. Each rule below says why it holds.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.synapses import Conv, ConvTranspose, Dense, Diagonal, Pool, Synapse
from snncc.synapses.apply import apply, pairs
from snncc.synapses.routing import Route, Slice

COST = 4  # a product may have this many times the synapses of the chain; beyond it a relay is cheaper


def compose(first: Synapse, second: Synapse, pre: tuple[int, ...]) -> tuple[tuple[Route, ...], Synapse] | None:
    """(routing, synapse) equal to `second` after `first` for inputs of shape `pre`, or None."""
    found = _compose(first, second, pre)
    if found is None:
        return None
    routing, synapse = found
    shape = pre
    for route in routing:
        shape = route.shape(shape)
    if synapse.shape(shape) != second.shape(first.shape(pre)):
        return None
    if pairs(synapse, shape) > COST * (pairs(first, pre) + pairs(second, first.shape(pre))):
        return None
    _probe(first, second, routing, synapse, pre)
    return found


def _probe(
    first: Synapse, second: Synapse, routing: tuple[Route, ...], product_: Synapse, pre: tuple[int, ...]
) -> None:
    """Impulses at a corner, the opposite corner and the centre go the same way through chain and product."""
    x = np.zeros(pre)
    for place in ((0,) * (len(pre) - 1), tuple(n - 1 for n in pre[1:]), tuple(n // 2 for n in pre[1:])):
        index: tuple[Any, ...] = (slice(None), *place)
        x[index] += np.linspace(0.5, 1.5, pre[0])
    routed = x
    for route in routing:
        routed = route.apply(routed, len(pre))
    want, got = apply(second, apply(first, x)), apply(product_, routed)
    if not np.allclose(want, got, rtol=1e-9, atol=1e-9 * float(np.abs(want).max() + 1)):
        raise ArithmeticError(f"{second.kind} after {first.kind} was multiplied out wrongly")


def _compose(first: Synapse, second: Synapse, pre: tuple[int, ...]) -> tuple[tuple[Route, ...], Synapse] | None:
    ones_in = np.ones(pre[0])
    if isinstance(first, Diagonal):  # scales what comes in; zero stays zero
        cout = second.shape(first.shape(pre))[0]
        return (), second.scaled(first.weight, np.ones(cout))
    if isinstance(second, Diagonal):
        return (), first.scaled(ones_in, second.weight)
    if isinstance(first, Dense) and isinstance(second, Dense):
        return (), Dense(second.weight @ first.weight)
    if isinstance(first, Pool) and isinstance(second, Pool):
        return _pool_pool(first, second, pre)
    if second.groups > 1 or (first.groups > 1 and not isinstance(first, Pool)):
        return None
    if (matrix := _pointwise(first)) is not None:
        return _after_pointwise(matrix, second)
    if (matrix := _pointwise(second)) is not None:
        return _before_pointwise(first, matrix)
    if isinstance(first, Pool) and isinstance(second, Conv):
        return _pool_conv(first, second, pre)
    if isinstance(first, ConvTranspose) and isinstance(second, Conv):
        return _transpose_conv(first, second)
    if isinstance(first, Conv) and isinstance(second, Conv):
        return _conv_valid(first, second)
    return None


def _pointwise(synapse: Synapse) -> Array | None:
    """[Cout, Cin] if the map mixes channels at each position alone."""
    if (
        isinstance(synapse, Conv)
        and synapse.group == 1
        and set(synapse.weight.shape[2:]) <= {1}
        and set(synapse.stride) <= {1}
        and not any(synapse.pads)
    ):
        return synapse.weight.reshape(synapse.weight.shape[:2])
    return None


def _after_pointwise(matrix: Array, second: Synapse) -> tuple[tuple[Route, ...], Synapse] | None:
    if isinstance(second, Conv):
        return (), replace(second, weight=np.einsum("om...,mi->oi...", second.weight, matrix))
    if isinstance(second, ConvTranspose):
        return (), replace(second, weight=np.einsum("mo...,mi->io...", second.weight, matrix))
    return None


def _before_pointwise(first: Synapse, matrix: Array) -> tuple[tuple[Route, ...], Synapse] | None:
    if isinstance(first, Conv):
        return (), replace(first, weight=np.einsum("om,mi...->oi...", matrix, first.weight))
    if isinstance(first, ConvTranspose):
        return (), replace(first, weight=np.einsum("om,im...->io...", matrix, first.weight))
    if isinstance(first, Pool):
        rank = len(first.kernel)
        scaled = (matrix * first.weight).reshape(*matrix.shape, *(1,) * rank)
        weight = np.broadcast_to(scaled, (*matrix.shape, *first.kernel)).copy()
        return (), Conv(weight, first.stride, first.dilation, first.pads)
    return None


def _tap(weight: Array, at: tuple[int, ...]) -> Array:
    """The [out, in] view of one kernel index."""
    index: tuple[Any, ...] = (..., *at)
    return np.asarray(weight[index])


def _tiles(pool: Pool) -> bool:
    """Windows side by side, no padding: beyond the frame there is nothing, so the extension is zero."""
    return pool.kernel == pool.stride and not any(pool.pads) and set(pool.dilation) <= {1}


def _crop(pool: Pool, pre: tuple[int, ...]) -> tuple[Route, ...]:
    """Floor pooling drops a border of odd sizes; the product must not see it."""
    size = (pre[0], *(n * k for n, k in zip(pool.shape(pre)[1:], pool.kernel, strict=True)))
    return () if size == pre else (Slice((0,) * len(pre), size),)


def _pool_pool(first: Pool, second: Pool, pre: tuple[int, ...]) -> tuple[tuple[Route, ...], Synapse] | None:
    if not (_tiles(first) and set(second.dilation) <= {1}) or any(second.pads):
        return None
    kernel = tuple(a * b for a, b in zip(first.kernel, second.kernel, strict=True))
    stride = tuple(a * b for a, b in zip(first.stride, second.stride, strict=True))
    weight = first.weight * second.weight
    return _crop(first, pre), Pool(weight, kernel, stride, second.pads, second.dilation)


def _pool_conv(first: Pool, second: Conv, pre: tuple[int, ...]) -> tuple[tuple[Route, ...], Synapse] | None:
    if not _tiles(first) or not set(second.dilation) <= {1}:
        return None
    weight = second.weight * first.weight.reshape(1, -1, *(1,) * len(first.kernel))
    for axis, k in enumerate(first.kernel):
        weight = np.repeat(weight, k, axis=2 + axis)
    stride = tuple(a * b for a, b in zip(first.stride, second.stride, strict=True))
    pads = tuple(p * k for p, k in zip(second.pads, first.kernel * 2, strict=True))
    return _crop(first, pre), Conv(weight, stride, second.dilation, pads)


def _transpose_conv(first: ConvTranspose, second: Conv) -> tuple[tuple[Route, ...], Synapse] | None:
    """ConvTranspose whose kernels lie side by side, then Conv: o = s j + i - a + p, a transposed convolution with
    kernel k1 + k2 - 1 and padding k2 - 1 - p."""
    k1, k2 = first.weight.shape[2:], second.weight.shape[2:]
    rank = len(k1)
    before = [k - 1 - p for k, p in zip(k2, second.pads[:rank], strict=True)]
    after = [k - 1 - p for k, p in zip(k2, second.pads[rank:], strict=True)]
    plain = k1 == first.stride and not any(first.pads) and not any(first.output_padding)
    if not plain or {*first.dilation, *second.dilation, *second.stride} != {1} or min(before + after) < 0:
        return None
    weight = np.zeros(
        (first.weight.shape[0], second.weight.shape[0], *(a + b - 1 for a, b in zip(k1, k2, strict=True)))
    )
    for i in product(*map(range, k1)):
        for a in product(*map(range, k2)):
            at = tuple(u - v + k - 1 for u, v, k in zip(i, a, k2, strict=True))
            _tap(weight, at)[...] += _tap(first.weight, i) @ _tap(second.weight, a).T
    return (), ConvTranspose(weight, first.stride, first.dilation, (*before, *after), (0,) * rank)


def _conv_valid(first: Conv, second: Conv) -> tuple[tuple[Route, ...], Synapse] | None:
    """Without padding the second map never leaves the frame. Gaps between the taps would be synapses that the chain
    does not have, so strides wider than the first kernel are left alone."""
    k1, k2 = first.weight.shape[2:], second.weight.shape[2:]
    step = [s * d for s, d in zip(first.stride, second.dilation, strict=True)]
    if any(second.pads) or set(first.dilation) != {1} or any(s > k for s, k in zip(step, k1, strict=True)):
        return None
    kernel = [s * (b - 1) + a for s, a, b in zip(step, k1, k2, strict=True)]
    weight = np.zeros((second.weight.shape[0], first.weight.shape[1], *kernel))
    for b in product(*map(range, k1)):
        for a in product(*map(range, k2)):
            at = tuple(s * u + v for s, u, v in zip(step, a, b, strict=True))
            _tap(weight, at)[...] += _tap(second.weight, a) @ _tap(first.weight, b)
    stride = tuple(a * b for a, b in zip(first.stride, second.stride, strict=True))
    return (), Conv(weight, stride, first.dilation, first.pads)
