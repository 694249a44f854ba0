"""Weightless routing of spikes: upsample, take, zero pad, slice, reshape, transpose. None of it counts as work."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from snncc.graph import Array


class Route:
    """One step of routing. `shape` maps (C, *spatial); `apply` maps arrays [..., C, *spatial]."""

    kind: ClassVar[str]

    def shape(self, pre: tuple[int, ...]) -> tuple[int, ...]:
        raise NotImplementedError

    def apply(self, x: Array, rank: int) -> Array:
        """x [..., C, *spatial] with `rank` = 1 + spatial axes."""
        raise NotImplementedError

    def along(self, axis: int, source: Array) -> Array | None:
        """Sources along one spatial axis: source int64 [n] (-1: nothing) after this route; None if it mixes axes."""
        return None

    def attributes(self) -> dict[str, Any]:
        return {k: list(v) for k, v in self.__dict__.items()}


@dataclass(frozen=True)
class Upsample(Route):
    """Nearest-neighbour repetition by an integer factor per spatial axis."""

    factors: tuple[int, ...]
    kind = "upsample"

    def shape(self, pre: tuple[int, ...]) -> tuple[int, ...]:
        return (pre[0], *(n * f for n, f in zip(pre[1:], self.factors, strict=True)))

    def apply(self, x: Array, rank: int) -> Array:
        for axis, factor in enumerate(self.factors):
            if factor > 1:
                x = np.repeat(x, factor, axis=x.ndim - rank + 1 + axis)
        return x

    def along(self, axis: int, source: Array) -> Array | None:
        return np.repeat(source, self.factors[axis])


@dataclass(frozen=True)
class Take(Route):
    """Any choice of positions along each spatial axis: reflecting pads, nearest resizing by any factor."""

    indices: tuple[tuple[int, ...], ...]
    kind = "take"

    def shape(self, pre: tuple[int, ...]) -> tuple[int, ...]:
        if any(not 0 <= min(i) <= max(i) < n for i, n in zip(self.indices, pre[1:], strict=True)):
            raise ValueError(f"cannot take positions outside {pre}")
        return (pre[0], *(len(i) for i in self.indices))

    def apply(self, x: Array, rank: int) -> Array:
        for axis, index in enumerate(self.indices):
            x = np.take(x, index, axis=x.ndim - rank + 1 + axis)
        return x

    def along(self, axis: int, source: Array) -> Array | None:
        return source[list(self.indices[axis])]


@dataclass(frozen=True)
class Pad(Route):
    """Zeros before and after each spatial axis."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    kind = "pad"

    def shape(self, pre: tuple[int, ...]) -> tuple[int, ...]:
        return (pre[0], *(n + b + a for n, b, a in zip(pre[1:], self.before, self.after, strict=True)))

    def apply(self, x: Array, rank: int) -> Array:
        lead = [(0, 0)] * (x.ndim - rank + 1)
        return np.pad(x, lead + list(zip(self.before, self.after, strict=True)))

    def along(self, axis: int, source: Array) -> Array | None:
        return np.pad(source, (self.before[axis], self.after[axis]), constant_values=-1)


@dataclass(frozen=True)
class Slice(Route):
    """start <= index < stop per axis of (C, *spatial)."""

    start: tuple[int, ...]
    stop: tuple[int, ...]
    kind = "slice"

    def shape(self, pre: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))

    def apply(self, x: Array, rank: int) -> Array:
        index: tuple[Any, ...] = (..., *(slice(a, b) for a, b in zip(self.start, self.stop, strict=True)))
        return np.asarray(x[index])

    def along(self, axis: int, source: Array) -> Array | None:
        return source[self.start[axis + 1] : self.stop[axis + 1]]

    def takes_all_channels(self, channels: int) -> bool:
        return (self.start[0], self.stop[0]) == (0, channels)


@dataclass(frozen=True)
class Reshape(Route):
    """The same neurons in row-major order under another shape (C, *spatial)."""

    to: tuple[int, ...]
    kind = "reshape"

    def shape(self, pre: tuple[int, ...]) -> tuple[int, ...]:
        if prod(pre) != prod(self.to):
            raise ValueError(f"cannot reshape {pre} to {self.to}")
        return self.to

    def apply(self, x: Array, rank: int) -> Array:
        return x.reshape(*x.shape[: x.ndim - rank], *self.to)


@dataclass(frozen=True)
class Transpose(Route):
    """Axis k of the result is axis perm[k] of (C, *spatial)."""

    perm: tuple[int, ...]
    kind = "transpose"

    def shape(self, pre: tuple[int, ...]) -> tuple[int, ...]:
        if sorted(self.perm) != list(range(len(pre))):
            raise ValueError(f"cannot transpose {pre} by {self.perm}")
        return tuple(pre[axis] for axis in self.perm)

    def apply(self, x: Array, rank: int) -> Array:
        lead = x.ndim - rank
        return x.transpose(*range(lead), *(lead + axis for axis in self.perm))


RELAYOUTS = (Reshape, Transpose)  # they rename neurons one to one
REPEATS = (Upsample, Take)  # one neuron may stand at several places after them
KINDS: tuple[type[Route], ...] = (Upsample, Take, Pad, Slice, Reshape, Transpose)


def apply_all(routing: tuple[Route, ...], x: Array, shape: tuple[int, ...]) -> Array:
    """x [..., *shape] through every route in turn."""
    for route in routing:
        x = route.apply(x, len(shape))
        shape = route.shape(shape)
    return x


def split(routing: tuple[Route, ...], shape: tuple[int, ...]) -> tuple[tuple[Route, ...], tuple[Route, ...]]:
    """(relayout, spatial): `spatial` works on each spatial axis alone, `relayout` renames neurons one to one."""
    cut = 0
    for k, route in enumerate(routing):
        if isinstance(route, RELAYOUTS) or (isinstance(route, Slice) and not route.takes_all_channels(shape[0])):
            cut = k + 1
        shape = route.shape(shape)
    return routing[:cut], routing[cut:]
