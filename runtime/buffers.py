"""Spike trains as bit-planes, and scratch memory.

A train is uint8 [levels, T, planes, positions, bytes]: level k holds bit k of the spikes' sizes (one level but for
multi-threshold neurons); planes are (plus,) or (plus, minus); positions are z, y, x in row-major order; bit k of byte b
is channel 8 * b + k. Bytes are padded to whole 16-bit words, and padding bits are always 0.
"""

from __future__ import annotations

import threading
from functools import reduce
from math import prod
from typing import Any

import numpy as np

from snncc.graph import Array
from snncc.network import Population
from snncc.runtime.layout import aligned, padded
from snncc.synapses.routing import Route, apply_all


def new_train(timesteps: int, planes: int, population: Population, levels: int = 1) -> Array:
    """An all-silent train."""
    return np.zeros((levels, timesteps, planes, prod(population.shape[1:]), padded(population.channels) // 8), np.uint8)


def pack(spikes: Array, train: Array) -> None:
    """bool [levels, T, planes, C, *spatial] into a train of zeros."""
    rows = np.ascontiguousarray(np.moveaxis(spikes.reshape(*spikes.shape[:4], -1), 3, 4))
    packed = np.packbits(rows, axis=-1, bitorder="little")
    train[..., : packed.shape[-1]] = packed


def unpack(train: Array, shape: tuple[int, ...]) -> Array:
    """A train to bool [levels, T, planes, *shape]."""
    bits = np.unpackbits(train, axis=-1, count=shape[0], bitorder="little").view(bool)
    return np.moveaxis(bits, 4, 3).reshape(*train.shape[:3], *shape)


def dense(train: Array, shape: tuple[int, ...]) -> Array:
    """A train to int8 [T, *shape]: the spikes' values."""
    bits = unpack(train, shape).view(np.int8)
    values = bits[:, :, 0] if bits.shape[2] == 1 else bits[:, :, 0] - bits[:, :, 1]
    total = values[0]
    for k in range(1, len(values)):
        total = total + (values[k] << k)
    return np.ascontiguousarray(total)


def relayout(train: Array, routing: tuple[Route, ...], shape: tuple[int, ...]) -> Array:
    """The train of a population of `shape` after weightless routing (no work is counted)."""
    if not routing:
        return train
    channels, *size = reduce(lambda known, route: route.shape(known), routing, shape)
    result = np.zeros((*train.shape[:3], prod(size), padded(channels) // 8), np.uint8)
    for t in range(train.shape[1]):  # one step at a time: spikes unpacked take 8 times the memory
        pack(apply_all(routing, unpack(train[:, t : t + 1], shape), shape), result[:, t : t + 1])
    return result


def words(train: Array) -> Array:
    """The same train as uint16 words of 16 channels (little-endian machines only, as the kernels)."""
    return train.view(np.uint16)


class Scratch(threading.local):
    """Memory that a thread uses again and again; contents are whatever was left there."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], Array] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: Any) -> Array:
        key, size = (name, np.dtype(dtype).str), prod(shape)
        held = self._held.get(key)
        if held is None or held.size < size:
            held = self._held[key] = aligned((size,), dtype)
        return held[:size].reshape(shape)
