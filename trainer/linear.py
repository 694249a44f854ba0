"""Routing and synapses on tensors [N, C, *spatial]: any leading axes (steps, samples) are one."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from snncc.synapses import Conv, ConvTranspose, Dense, Diagonal, Pool, Resample, Synapse
from snncc.synapses.routing import Pad, Reshape, Route, Slice, Take, Transpose, Upsample

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MAX_POOLS = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def routed(x: Tensor, routing: tuple[Route, ...]) -> Tensor:
    """x [N, C, *spatial] through every route in turn."""
    for route in routing:
        match route:
            case Upsample():
                for axis, factor in enumerate(route.factors):
                    x = x.repeat_interleave(factor, 2 + axis) if factor > 1 else x
            case Take():
                for axis, index in enumerate(route.indices):
                    x = x.index_select(2 + axis, torch.tensor(index, device=x.device))
            case Pad():
                x = F.pad(x, _backwards(route.before, route.after))
            case Slice():
                x = x[(slice(None), *(slice(a, b) for a, b in zip(route.start, route.stop, strict=True)))]
            case Reshape():
                x = x.reshape(len(x), *route.to)
            case Transpose():
                x = x.permute(0, *(1 + axis for axis in route.perm))
            case other:
                raise TypeError(f"no torch form of the route {other.kind}")
    return x


def linear(synapse: Synapse, weight: Tensor, x: Tensor) -> Tensor:
    """The weighted sums of x [N, C, *spatial] with `weight` in the place of the synapse's own."""
    match synapse:
        case Conv():
            x, pads = _padded(x, synapse.pads, 0.0)
            return CONVOLUTIONS[x.ndim - 2](x, weight, None, synapse.stride, pads, synapse.dilation, synapse.group)
        case ConvTranspose():
            return _transposed(synapse, weight, x)
        case Dense():
            return F.linear(x, weight)
        case Diagonal():
            return x * _spread(weight, x)
        case Pool():
            x, pads = _padded(x, synapse.pads, 0.0)
            kernel = _spread(weight, x).transpose(0, 1).expand(-1, 1, *synapse.kernel)
            return CONVOLUTIONS[x.ndim - 2](x, kernel, None, synapse.stride, pads, synapse.dilation, x.shape[1])
        case Resample():
            for axis, matrix in enumerate(synapse.matrices):
                m = torch.as_tensor(np.asarray(matrix, np.float64), dtype=x.dtype, device=x.device)
                x = torch.movedim(torch.tensordot(x, m, ([2 + axis], [1])), -1, 2 + axis)
            return x * _spread(weight, x)
    raise TypeError(f"no torch form of the synapse {synapse.kind}")


def window_maximum(window: Pool, x: Tensor) -> Tensor:
    """The maximum of each window of x [N, C, *spatial]; padding never wins."""
    x, pads = _padded(x, window.pads, -torch.inf, most=[k // 2 for k in window.kernel])
    pool = MAX_POOLS[x.ndim - 2]
    found: Tensor = pool(x, window.kernel, window.stride, pads, window.dilation)
    return found


def _transposed(synapse: ConvTranspose, weight: Tensor, x: Tensor) -> Tensor:
    """Without padding, then cropped: pads may differ before and after."""
    rank = x.ndim - 2
    # torch wants an output padding below stride or dilation; a larger one is zeros behind the end
    extra = tuple(
        n if n < max(s, d) else 0
        for n, s, d in zip(synapse.output_padding, synapse.stride, synapse.dilation, strict=True)
    )
    full = TRANSPOSED[rank](x, weight, None, synapse.stride, 0, extra, synapse.group, synapse.dilation)
    before, after = synapse.pads[:rank], synapse.pads[rank:]
    rest = [n - e for n, e in zip(synapse.output_padding, extra, strict=True)]
    return F.pad(full, _backwards([-b for b in before], [r - a for r, a in zip(rest, after, strict=True)]))


def _padded(x: Tensor, pads: tuple[int, ...], value: float, most: list[int] | None = None) -> tuple[Tensor, list[int]]:
    """(x, pads) for an operator that pads both ends alike, by at most `most`."""
    rank = x.ndim - 2
    before, after = list(pads[:rank]), list(pads[rank:])
    if before == after and (most is None or all(b <= m for b, m in zip(before, most, strict=True))):
        return x, before
    return F.pad(x, _backwards(before, after), value=value), [0] * rank


def _backwards(before: tuple[int, ...] | list[int], after: tuple[int, ...] | list[int]) -> list[int]:
    """As F.pad takes them: the last axis first."""
    return [n for pair in reversed(list(zip(before, after, strict=True))) for n in pair]


def _spread(values: Tensor, x: Tensor) -> Tensor:
    """[C] -> [1, C, 1, ...]"""
    return values.reshape(1, -1, *(1,) * (x.ndim - 2))
