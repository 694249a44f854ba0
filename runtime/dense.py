"""Tables and launches of the dense kernels (kernels/dense.py): analog currents, and spikes too many to list."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snncc.graph import Array
from snncc.runtime import buffers
from snncc.runtime.gather import Phases
from snncc.runtime.kernels import dense as kernels
from snncc.runtime.layout import LANES, aligned, padded, spatial, times
from snncc.runtime.plan import Link, whole
from snncc.synapses.routing import apply_all, split
from snncc.synapses.taps import taps

SMALL = 1 << 15  # int16 holds what is less


@dataclass(frozen=True, eq=False)
class Phase:
    """Outputs along x that meet the same x classes (or some of them: the others read 0). Shapes as in kernels/dense.py.

    Args:
        outputs: int64 [n]. source: int64 [classes, n], -1 for nothing.
    """

    outputs: Array
    source: Array
    weights: Array


@dataclass(frozen=True, eq=False)
class Panels:
    """A projection with groups = 1, ready to run densely.

    Args:
        paired: as kernels/dense.py has it.
        shifts: a phase -> [classes]: output j reads input j + shift; empty if that does not hold everywhere.
        pad, columns: zeros in front of a line, length of a line with zeros.
        classes: of z and y.
    """

    link: Link
    phases: tuple[Phase, ...]
    paired: bool
    shifts: tuple[Array, ...]
    pad: int
    columns: int
    classes: int

    def pairs(self, z: int, y0: int, y1: int) -> tuple[Array, int, Array, Array, Array]:
        """(first input line of each z tap, how many lines from there, starts, slots, bases) for some output lines."""
        axis_z, axis_y, _ = self.link.axes
        tables = (axis_z.start, axis_z.source, axis_z.tap, axis_y.start, axis_y.source, axis_y.tap)
        low, span, starts, slots, bases = kernels.line_pairs(*tables, len(axis_y.classes), z, y0, y1)
        planes = axis_z.source[axis_z.start[z] : axis_z.start[z + 1]]
        return planes * spatial(self.link.inner)[1] + low, span, starts, slots, bases

    def add(
        self, values: Array, firsts: Array, span: int, tables: tuple[Array, Array, Array],
        finish: tuple[Array, ...], rounds: bool, current: Array, first: bool, exact: bool, scratch: buffers.Scratch,
    ) -> None:  # fmt: skip
        """Adds (first: writes) to current [output lines, X, channels]. values [lines, I, X]; finish: scale, half,
        down, offset; exact: float32 products are exact."""
        dtype, (_, width, channels) = current.dtype, current.shape
        product = kernels.fused_product if exact and dtype == np.float32 else kernels.product
        block = scratch.array("block", (256,), dtype)
        assert current.flags.c_contiguous and all(f.shape == (channels,) and f.dtype == dtype for f in finish)
        assert (width, channels) == (self.link.out[2], padded(self.link.channels)) and values.dtype == dtype
        assert len(tables[0]) == len(current) + 1
        assert values.flags.c_contiguous and self.columns == values.shape[2]
        assert all(start >= 0 and start + span <= len(values) for start in firsts)
        starts, slots, bases = tables
        inner, row = values.shape[1], LANES * (2 if self.paired else 1)
        if self.shifts:  # the lines themselves, wherever they are
            slots = firsts[slots // max(span, 1)] + slots % max(span, 1)
        for k, phase in enumerate(self.phases):
            classes, count = phase.source.shape
            if self.shifts:
                lines, columns, size, offsets = values, self.columns, inner * self.columns, self.pad + self.shifts[k]
            else:
                columns = _odd(count)
                size, offsets = classes * inner * columns, np.arange(classes) * inner * columns
                lines = scratch.array("expanded", (len(firsts) * span, classes, inner, columns), dtype)
                for a, start in enumerate(firsts):
                    kernels.expand(values, start, phase.source, lines[a * span : (a + 1) * span])
            assert phase.weights.size == channels // LANES * self.classes * classes * inner * row
            product(
                lines.ravel(), size, columns, inner, offsets, starts, slots, bases, phase.weights, self.classes, row,
                finish, rounds, phase.outputs, current.ravel(), width, channels, first, block,
            )  # fmt: skip


def _odd(columns: int) -> int:
    """Room for panels of so many columns: an odd number of cache lines, so that rows meet all sets of the cache."""
    return (-(-columns // kernels.COLUMNS) | 1) * kernels.COLUMNS


def make_panels(link: Link, dtype: np.dtype[np.generic] | type, reach: float) -> Panels:
    """reach: of the values that the projection reads, if they are whole."""
    _, routing = split(link.projection.routing, link.pre_shape)
    table = taps(link.projection.synapse, routing, link.inner)
    missing = (1,) * (3 - len(table.axes))
    weight = whole(table.weight, dtype, link.name).reshape(*missing, *table.weight.shape)
    multiplicity = table.multiplicity.reshape(-1, weight.shape[2])
    x = table.axes[-1] if table.axes else link.axes[2]
    paired = weight.dtype == np.int32 and bool(np.abs(weight).max(initial=0) < SMALL) and reach < SMALL
    cin, cout = weight.shape[3:]
    rows = np.zeros((len(multiplicity), weight.shape[2], cin + cin % 2 * paired, padded(cout)), weight.dtype)
    rows[:, :, :cin, :cout] = weight.reshape(*multiplicity.shape, cin, cout)
    if paired:
        rows = rows.reshape(*multiplicity.shape, -1, 2, padded(cout)).swapaxes(-1, -2).astype(np.int16)
    rows = np.moveaxis(rows.reshape(*rows.shape[:3], -1, LANES * (2 if paired else 1)), 3, 0)
    phases = []
    found = Phases(x)
    for k, part in enumerate(found.taps):
        outputs = np.flatnonzero(np.array(found.phase) == k)
        source = np.array([found.sources[o] for o in outputs], np.int64).T
        weights = aligned(rows[:, :, list(part)].shape, rows.dtype)
        weights[:] = rows[:, :, list(part)]
        phases.append(Phase(outputs, np.ascontiguousarray(source), weights.ravel()))
    size = spatial(link.inner)[2]
    shifted = [_shifts(phase.source, size) for phase in phases]
    shifts = tuple(shift for shift in shifted if shift is not None)
    pad, columns = 0, size
    if len(shifts) == len(phases):
        pad = max(0, -min(int(shift.min(initial=0)) for shift in shifts))
        most = (_odd(p.outputs.size) + int(shift.max(initial=0)) for p, shift in zip(phases, shifts, strict=True))
        columns = _odd(pad + max(size, *most))
    else:
        shifts = ()
    return Panels(link, tuple(phases), paired, shifts, pad, columns, len(multiplicity))


def _shifts(source: Array, size: int) -> Array | None:
    """[classes], if output j reads input j + shift wherever there is one."""
    at = np.argmax(source >= 0, axis=1)
    shifts = np.take_along_axis(source, at[:, None], 1)[:, 0] - at
    read = np.arange(source.shape[1]) + shifts[:, None]
    return shifts if np.array_equal(source, np.where((read >= 0) & (read < size), read, -1)) else None


def volume(panels: Panels, values: Array, dtype: np.dtype[np.generic] | type) -> Array:
    """Analog values [C, *spatial] of the pre population to lines [Z * Y, I, columns]."""
    link = panels.link
    z, y, x = spatial(link.inner)
    routed = apply_all(link.relayout, values, link.pre_shape).reshape(-1, z * y, x)
    values, pairs = (routed, 2) if panels.paired else (whole(routed, dtype, link.name), 1)
    lines = np.zeros((z * y, -(-len(routed) // pairs), panels.columns, pairs), np.int16 if panels.paired else dtype)
    for c, channel in enumerate(values):
        lines[:, c // pairs, panels.pad : panels.pad + x, c % pairs] = channel
    return lines.view(dtype)[..., 0]


def analog_current(
    panels: Panels, lines: Array, z: int, y0: int, y1: int, finish: tuple[Array, ...], current: Array,
    scratch: buffers.Scratch,
) -> None:  # fmt: skip
    """Adds the constant current of some output lines, from `volume`; arguments as Panels.add."""
    firsts, span, *tables = panels.pairs(z, y0, y1)
    rounds = panels.link.projection.synapse.shift is not None
    panels.add(lines, firsts, span, (tables[0], tables[1], tables[2]), finish, rounds, current, False, False, scratch)


def dense_projection(
    panels: Panels, level: int, base: int, planes: Array, t0: int, t1: int, z: int, y0: int, y1: int, current: Array,
    first: bool, scratch: buffers.Scratch,
) -> None:  # fmt: skip
    """As projections.project, but for one number a neuron, what its spikes of steps t0..t1 say (n <- base * n + s), to
    `current` [lines, X, padded channels]. Exact for integers; float32 in the order z, y, x class, channel."""
    link, words = panels.link, buffers.words(planes)
    cin, (_, _, in_x) = link.inner[0], spatial(link.inner)
    assert words.shape[1:] == (link.signs, int(np.prod(link.inner[1:])), padded(cin) // 16)
    firsts, span, starts, slots, bases = panels.pairs(z, y0, y1)
    rows = -(-cin // 2) if panels.paired else cin
    lines = scratch.array("lines", (len(firsts) * span, rows, panels.columns), current.dtype)
    lines[..., : panels.pad] = 0
    lines[..., panels.pad + in_x :] = 0
    numbers = scratch.array("numbers", (in_x, padded(cin)), np.int16)
    for k, start in enumerate(firsts):
        part = lines[k * span : (k + 1) * span]
        kernels.unpack(words[t0:t1], base, start, cin, numbers, part, panels.pad)
    scale = times(link.scale, level)
    finish, at = (scale, scale, scale, np.zeros_like(scale)), np.arange(len(firsts)) * span
    panels.add(lines, at, span, (starts, slots, bases), finish, False, current, first, t1 - t0 == 1, scratch)
