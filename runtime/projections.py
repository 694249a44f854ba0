"""Launches the kernel of a projection for one tile, after asserting what the kernel does not look at."""

from __future__ import annotations

from math import prod

import numpy as np

from snncc.graph import Array
from snncc.runtime import buffers
from snncc.runtime.dynamics import Tile
from snncc.runtime.gather import NONE, Gather
from snncc.runtime.kernels.conv import gatherer, listed_as
from snncc.runtime.kernels.depthwise import depthwise
from snncc.runtime.layout import padded, spatial, times
from snncc.runtime.plan import Link

_NO_TRAIN = np.zeros((1, 1, 1, 1, 1), np.uint16)
_LISTED = 128  # positions whose events are listed before weights are added: a chunk of weights serves them all


def project(
    link: Link, level: int, planes: Array, t0: int, t1: int, low: int, high: int, current: Array, first: bool,
    scratch: buffers.Scratch, tile: Tile | None, events: Array,
) -> int:  # fmt: skip
    """Adds (first: writes) the current of one level of a link's spikes for lines low..high (z and y flat) and steps
    t0..t1 to `current`, flat [steps, lines, X, padded channels]. planes [T, signs, positions, bytes] (buffers.py).

    With a tile, its neurons respond to the current and `events` is counted up. Returns the rows of weights added (for
    kernels that add rows).
    """
    assert planes.dtype == np.uint8 and planes.flags.c_contiguous and planes.shape[1] == link.signs
    assert planes.shape[2:] == (prod(link.inner[1:]), padded(link.inner[0]) // 8)
    shape = (t1 - t0, high - low, link.out[2], padded(link.channels))
    alone = first and tile is not None and all(g.opens and g.closes for g in link.gathers)  # nothing is stored
    assert current.flags.c_contiguous and current.ndim == 1 and (alone or current.size == prod(shape))
    assert current.dtype == link.scale.dtype and 0 <= t0 < t1 <= planes.shape[0]
    assert 0 <= low < high <= link.out[0] * link.out[1] and len(events) >= t1
    assert tile is None or tile.fits(shape[1] * shape[2], t1)
    scaled = link.scaled or level > 0
    if link.kernel == "gather":
        rows = 0
        for gather in link.gathers:
            by = gather.form.block[0]
            assert low % by == 0 and high % by == 0
            span, here = (low // by, high // by), tile if gather.closes else None
            new = first and gather.opens
            rows += _gather(gather, level, scaled, planes, t0, *span, current, shape, new, scratch, here, events)
        return rows
    assert tile is None and link.kernel == "depthwise"
    axes = [(axis.start, axis.source, axis.tap) for axis in link.axes]
    depthwise(
        buffers.words(planes), t0, low, high, *spatial(link.inner)[1:], *axes[:2], (*axes[2], link.tables["alike"]),
        len(link.axes[1].classes), len(link.axes[2].classes), link.weights, times(link.scale, level), scaled,
        current.reshape(shape), first,
    )  # fmt: skip
    return 0


def _gather(
    gather: Gather, level: int, scaled: bool, planes: Array, t0: int, low: int, high: int, current: Array,
    shape: tuple[int, int, int, int], first: bool, scratch: buffers.Scratch, tile: Tile | None, events: Array,
) -> int:  # fmt: skip
    form, size, channels = gather.form, len(gather.visit), gather.bytes * 8
    group = max(1, _LISTED // size)
    ids = scratch.array("ids", (group * gather.most_slots * size * channels + 64,), np.int32)
    ptr = scratch.array("ptr", (group * (size + 1),), np.int32)
    silence = scratch.array("silence", (size * planes.shape[3],), np.uint8)
    assert 0 <= low <= high < len(gather.slot_start) and not silence.any()
    kernel = gatherer(form.lanes, *form.block, form.packed, scaled, listed_as(channels), tile.rule if tile else None)
    neurons = tile.neurons() if tile else (gather.scale, 0, (), _NO_TRAIN, 0)
    return int(
        kernel(
            planes, t0, gather.first_byte, gather.bytes, gather.first_channel, low, high, gather.slot_start,
            gather.slot_line, gather.phase, gather.weight_at, gather.unit, gather.x_classes, gather.chunks,
            gather.visit, gather.place, gather.runs, gather.row_bytes.bit_length() - 1, gather.weights,
            times(gather.scale, level), current, shape, first, group, ids, ptr, silence, *neurons, events,
        )
    )  # fmt: skip


def prove(link: Link) -> None:
    """What the kernels rely on when they follow a link's tables without looking."""
    sizes = spatial(link.inner)
    for axis, size, out in zip(link.axes, sizes, link.out, strict=True):
        assert axis.outputs == out and axis.start[0] == 0 and np.all(np.diff(axis.start) >= 0)
        assert axis.start[-1] == axis.source.size == axis.tap.size
        assert np.all((axis.source >= 0) & (axis.source < size))
        assert np.all((axis.tap >= 0) & (axis.tap < len(axis.classes)))
    classes = prod(len(axis.classes) for axis in link.axes)
    channels = padded(link.channels)
    if link.kernel == "depthwise":
        channels += 48
        assert link.weights.shape == (classes, channels) and link.inner[0] == link.channels
    assert link.scale.shape == (channels,)
    assert all(table.flags.c_contiguous for table in (link.weights, link.scale, *link.tables.values()))
    for gather in link.gathers:
        _prove_gather(gather, link)


def _prove_gather(gather: Gather, link: Link) -> None:
    depth, height, width = spatial(link.inner)
    by, bx = gather.form.block
    start, first, stop, shift = gather.runs
    assert by * (len(gather.phase) // link.out[0]) == link.out[1] and bx * (len(start) - 1) == link.out[2]
    slots, phases = np.diff(gather.slot_start), len(gather.unit)
    assert len(slots) == len(gather.phase) and gather.slot_start[0] == 0 and np.all(slots >= 0)
    assert gather.slot_start[-1] == len(gather.slot_line)
    assert np.all(gather.phase >= 0) and np.all(gather.phase < phases)
    assert np.all(gather.slot_line >= NONE) and np.all(gather.slot_line < link.signs * depth * height)
    assert np.array_equal(np.sort(gather.visit), np.arange(width)) and np.all(np.diff(gather.place) >= 0)
    assert start[0] == 0 and start[-1] == len(first) and np.all(np.diff(start) >= 0)
    assert np.all((first >= 0) & (first < stop) & (stop <= width))
    low, high = gather.place[first] + shift, gather.place[stop - 1] + shift  # classes
    assert np.all(low >= 0) and np.all(high < gather.x_classes)
    slot_bytes = 8 * gather.bytes * gather.row_bytes
    assert gather.first_byte + gather.bytes <= padded(link.inner[0]) // 8
    assert np.array_equal(slots * slot_bytes, gather.unit[gather.phase]) and slot_bytes * 8 < 2**31
    assert (gather.place[-1] + 1) * gather.unit.max() <= 2**31  # offsets in lists are int32
    ends = gather.weight_at + gather.chunks * gather.x_classes * gather.unit
    assert np.all(ends <= gather.weights.nbytes) and np.all(gather.weight_at > 0)
    lanes = gather.form.lanes
    channels = gather.chunks * lanes // (by * bx)
    assert channels * by * bx == gather.chunks * lanes and gather.first_channel + channels <= padded(link.channels)
    assert bx == 1 or channels == padded(link.channels) == lanes // (by * bx)
    assert gather.scale.shape == (gather.chunks * lanes,) and gather.scale.dtype == link.scale.dtype
