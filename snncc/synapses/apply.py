"""A synapse as a plain dense map, tap by tap: slow, obvious, for folding constants and for the reference engine."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np

from snncc.graph import Array
from snncc.synapses.base import Synapse
from snncc.synapses.resample import Resample


def apply(synapse: Synapse, x: Array) -> Array:
    """The weighted sums (without shift) for x [C, *spatial], in float64: exact for integers below 2^53."""
    if isinstance(synapse, Resample):
        return synapse.applied(np.asarray(x, np.float64))
    rank = x.ndim - 1
    kernel = np.asarray(synapse.kernel_weights(rank), np.float64)
    shape = synapse.shape(x.shape)
    groups = synapse.groups
    cin, cout = kernel.shape[-2] // groups, kernel.shape[-1]
    grouped = kernel.reshape(*kernel.shape[:-2], groups, cin, cout)
    tables = [synapse.taps(axis, x.shape[1 + axis]) for axis in range(rank)]
    out = np.zeros((groups, cout, *shape[1:]))
    source = np.asarray(x, np.float64).reshape(groups, cin, *x.shape[1:])
    for k in product(*(range(t.shape[1]) for t in tables)):
        reached = [np.flatnonzero(t[:, j] >= 0) for t, j in zip(tables, k, strict=True)]
        if not all(len(o) for o in reached):
            continue
        inputs = [t[o, j] for t, o, j in zip(tables, reached, k, strict=True)]
        region = source[np.ix_(np.arange(groups), np.arange(cin), *inputs)]
        sums = np.matmul(np.swapaxes(grouped[k], 1, 2), region.reshape(groups, cin, -1))
        met = np.ix_(np.arange(groups), np.arange(cout), *reached)
        out[met] += sums.reshape(groups, cout, *(len(o) for o in reached))
    return out.reshape(groups * cout, *shape[1:])


def pairs(synapse: Synapse, shape: tuple[int, ...]) -> int:
    """Synapses of an unrouted projection from a population of `shape`."""
    cin_cout: int = shape[0] * synapse.kernel_weights(len(shape) - 1).shape[-1]
    return cin_cout * prod(int(np.count_nonzero(synapse.taps(a, n) >= 0)) for a, n in enumerate(shape[1:]))
