"""Tables of the gather kernel (kernels/conv.py): which rows of weights an event adds, for each output position.

A projection's taps (snncc/synapses/taps.py) are brought into the kernel's form, axis by axis: classes of equal weights
become one (an average pool in front of a convolution has k of them); neighbouring outputs are taken together as a block
whose positions are further channels; along x, classes are numbered so that the receptive field of a block is one
stretch of the list; along z and y, outputs that meet their inputs through the same classes are a phase with weights of
its own, so the sub-pixel phases of an upsampling or a transposed convolution are small tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod

import numpy as np

from snncc.errors import PlanError
from snncc.graph import Array
from snncc.runtime.layout import Axes, Shape3, aligned, padded
from snncc.synapses.taps import AxisTaps

NONE = -1  # no tap, no input line


@dataclass(frozen=True)
class Form:
    """How a gather is laid out.

    Args:
        block: output lines and positions along x that share one list.
        lanes: sums kept in registers: those of all positions of a block for some post channels (a chunk of them; all,
            if a block has several positions along x).
        parts: the taps along z and y are dealt out to so many gathers, so that the sums of each fit int16.
        packed: weights are bytes, added as pairs.
    """

    block: tuple[int, int]
    lanes: int
    parts: int = 1
    packed: bool = False


@dataclass(frozen=True, eq=False)
class Gather:
    """Some of a projection's taps, ready to run.

    Slots are the pairs (sign, input line) that a line of blocks needs. Arrays are int64 but for the weights.

    Args:
        slot_start: [lines of blocks + 1] into slot_line: the input line, plus the number of input lines for minus
            spikes; NONE where there is none.
        phase: [lines of blocks]; weight_at, unit: [phases] byte offset of its weights, bytes of one place.
        x_classes, chunks: weights are flat: a row of zeros, then for each phase
            [chunks of post channels, x classes, slots, padded Cin, lanes].
        visit: input positions along x in the order in which they are listed; place: [X], rises along it.
        runs: start [blocks along x + 1] of each block's stretches first..stop of visited positions, met through class
            place + shift.
        scale: 2^shift of each lane of each chunk.
        bytes: of its pre channels in a position.
        rows: of the whole projection, per axis int64 [size], the product of which (times the chunks, folded into the
            first) is the rows of weights that an event there meets.
        opens: is it the first of its channels' parts? closes: the last?
        first_byte, first_channel: of its pre channels in a position, and of its post channels, if groups make several
            gathers of one projection.
        largest: what no sum of one step can exceed in size, if weights are whole.
    """

    form: Form
    slot_start: Array
    slot_line: Array
    phase: Array
    weight_at: Array
    unit: Array
    x_classes: int
    chunks: int
    visit: Array
    place: Array
    runs: tuple[Array, Array, Array, Array]
    weights: Array
    scale: Array
    largest: int
    rows: tuple[Array, Array, Array]
    bytes: int
    opens: bool
    closes: bool
    first_byte: int = 0
    first_channel: int = 0

    @property
    def mode(self) -> str:
        """What sums are kept in."""
        return "int8" if self.form.packed else str(self.weights.dtype)

    @property
    def row_bytes(self) -> int:
        return self.form.lanes * (1 if self.form.packed else self.weights.itemsize)

    @cached_property
    def most_slots(self) -> int:
        return int(np.diff(self.slot_start).max(initial=0))


def gathers(axes: Axes, weight: Array, size: Shape3, signs: int, scale: Array, form: Form) -> tuple[Gather, ...]:
    """The gathers of one projection, one for each part.

    Args:
        axes, weight: as in Taps with three axes, one group: [z, y, x classes, Cin, Cout].
        size: of the input, (Z, Y, X). signs: 2 if spikes can be negative.
        scale: [padded Cout], of the weights' type or wider.
    """
    axes, weight = _merged(axes, weight)
    blocked = _blocked(axes[0], 1), _blocked(axes[1], form.block[0]), _blocked(axes[2], form.block[1])
    z, y = Phases(blocked[0]), Phases(blocked[1])
    order, visit, place, x = _runs(blocked[2], size[2])
    slots = [(a, b, sign) for sign in range(signs) for a, b in product(range(z.most), range(y.most))]
    spread = _Spread(weight, z, y, [x.classes[k] for k in order], form)
    rows = [axis.pairs_of_source(n).sum(0) for axis, n in zip(blocked, size, strict=True)]
    parts = np.array_split(np.arange(len(slots)), max(1, min(form.parts, len(slots))))
    met = spread.chunks * rows[0], rows[1], rows[2]
    found = []
    for k, part in enumerate(parts):
        ends = k == 0, k == len(parts) - 1
        found.append(_part([slots[j] for j in part], z, y, x, visit, place, size, spread, scale, met, *ends))
    return tuple(found)


def _merged(axes: Axes, weight: Array) -> tuple[Axes, Array]:
    """Makes classes of equal weights one."""
    merged = list(axes)
    for k, axis in enumerate(axes):
        rows = np.moveaxis(weight, k, 0)
        seen: dict[bytes, int] = {}
        new = np.array([seen.setdefault(np.ascontiguousarray(row).tobytes(), len(seen)) for row in rows])
        kept = np.unique(new, return_index=True)[1]
        weight = np.take(weight, kept, axis=k)
        merged[k] = AxisTaps(axis.start, axis.source, new[axis.tap], tuple(axis.classes[i] for i in kept))
    return (merged[0], merged[1], merged[2]), weight


def _blocked(axis: AxisTaps, n: int) -> AxisTaps:
    """Outputs taken n at a time: a class says for each of them through which class of `axis` it is met, or NONE."""
    classes: dict[tuple[int, ...], int] = {}
    start, sources, taps = [0], [], []
    for first in range(0, axis.outputs, n):
        met: dict[int, list[int]] = {}
        for o in range(first, first + n):
            for j in range(axis.start[o], axis.start[o + 1]):
                met.setdefault(int(axis.source[j]), [NONE] * n)[o - first] = int(axis.tap[j])
        for source in sorted(met):
            sources.append(source)
            taps.append(classes.setdefault(tuple(met[source]), len(classes)))
        start.append(len(sources))
    if not classes:
        classes[(NONE,) * n] = 0
    return AxisTaps(_ints(start), _ints(sources), _ints(taps), tuple(classes))


def _ints(values: list[int]) -> Array:
    return np.array(values, np.int64)


class Phases:
    """Outputs of an axis by the classes through which they meet their inputs.

    taps, classes: of each phase, slot by slot; phase: of each output; sources: of each output, slot by slot, or NONE:
    outputs at a border are in the phase of those that meet more.
    """

    def __init__(self, axis: AxisTaps):
        met = [tuple(axis.tap[a:b]) for a, b in zip(axis.start[:-1], axis.start[1:], strict=True)]
        found: list[tuple[int, ...]] = []
        where: dict[tuple[int, ...], tuple[int, list[int]]] = {}
        for taps in sorted(set(met), key=lambda t: (-len(t), t)):
            slots = next(((k, s) for k, p in enumerate(found) if (s := _embedded(taps, p)) is not None), None)
            if slots is None:
                slots = (len(found), list(range(len(taps))))
                found.append(taps)
            where[taps] = slots
        self.taps, self.classes = found, [[axis.classes[k] for k in taps] for taps in found]
        self.most = max(map(len, found))
        self.phase = [where[taps][0] for taps in met]
        self.sources = []
        for taps, a in zip(met, axis.start[:-1], strict=True):
            line = [NONE] * len(found[where[taps][0]])
            for slot, source in zip(where[taps][1], axis.source[a : a + len(taps)], strict=True):
                line[slot] = int(source)
            self.sources.append(line)

    def table(self) -> Array:
        """The sources [outputs, most slots]."""
        return np.array([[*line, *(NONE,) * (self.most - len(line))] for line in self.sources], np.int64)


def _embedded(few: tuple[int, ...], many: tuple[int, ...]) -> list[int] | None:
    """Where `few` stand in `many`, in this order; None if they do not."""
    found, at = [], 0
    for tap in few:
        while at < len(many) and many[at] != tap:
            at += 1
        if at == len(many):
            return None
        found.append(at)
        at += 1
    return found


def _runs(axis: AxisTaps, size: int) -> tuple[list[int], Array, Array, AxisTaps]:
    """The order of classes, visited positions, their places, and the axis on visited positions in the new classes, so
    that the outputs' stretches are few.

    Inputs a dilation apart are visited one after the other; inputs that k pooled taps share have one place.
    """
    steps = np.diff(axis.source)[np.diff(np.repeat(np.arange(axis.outputs), np.diff(axis.start))) == 0]
    dilation = int(np.gcd.reduce(steps)) if steps.size else 1
    best = None
    for apart in {1, dilation}:
        visit = np.argsort(np.arange(size) % max(apart, 1), kind="stable")
        rank = np.argsort(visit)
        ranked = _sorted(AxisTaps(axis.start, rank[axis.source], axis.tap, axis.classes))
        for pooled in (1, 2, 3, 4):
            place = np.arange(size) // pooled
            order, moved = _chain(ranked, place)
            count = len(_stretches(moved, place)[1])
            if best is None or count < best[0]:
                best = (count, order, visit, place, moved)
    assert best is not None
    return best[1], best[2], best[3], best[4]


def _sorted(axis: AxisTaps) -> AxisTaps:
    """Pairs by output, then source."""
    order = np.lexsort((axis.source, np.repeat(np.arange(axis.outputs), np.diff(axis.start))))
    return AxisTaps(axis.start, axis.source[order], axis.tap[order], axis.classes)


def _chain(axis: AxisTaps, place: Array) -> tuple[list[int], AxisTaps]:
    """Renumbers classes so that neighbouring places of an output meet it, where possible, through class k and k + 1.

    Greedy: the most frequent successions first, each class having one successor and one predecessor.
    Returns the order (old class of each new one) and the table in the new numbers.
    """
    same = np.repeat(np.arange(axis.outputs), np.diff(axis.start))
    a, b = axis.tap[:-1], axis.tap[1:]
    near = (np.diff(same) == 0) & (np.diff(axis.source) == 1) & (np.diff(place[axis.source]) == 1) & (a != b)
    votes, count = np.unique(np.stack([a[near], b[near]]), axis=1, return_counts=True)
    after: dict[int, int] = {}
    chain = list(range(len(axis.classes)))  # which chain a class belongs to
    for k in np.argsort(-count, kind="stable"):
        first, then = int(votes[0, k]), int(votes[1, k])
        if first not in after and then not in after.values() and chain[first] != chain[then]:
            after[first] = then
            chain = [chain[first] if c == chain[then] else c for c in chain]
    order: list[int] = []
    for k in range(len(axis.classes)):
        step: int | None = k if k not in after.values() else None
        while step is not None:
            order.append(step)
            step = after.get(step)
    return order, AxisTaps(axis.start, axis.source, np.argsort(order)[axis.tap], axis.classes)


def _stretches(axis: AxisTaps, place: Array) -> tuple[Array, Array, Array, Array]:
    """Gather.runs: start, first, stop, shift."""
    start: list[int] = [0]
    first: list[int] = []
    stop: list[int] = []
    shift: list[int] = []
    for o in range(axis.outputs):
        for j in range(axis.start[o], axis.start[o + 1]):
            x = int(axis.source[j])
            offset = int(axis.tap[j] - place[x])
            if len(stop) > start[-1] and stop[-1] == x and shift[-1] == offset:
                stop[-1] = x + 1
            else:
                first.append(x)
                stop.append(x + 1)
                shift.append(offset)
        start.append(len(first))
    return _ints(start), _ints(first), _ints(stop), _ints(shift)


class _Spread:
    """Weights of blocks: [x classes, padded Cin, chunks, lanes] for one slot."""

    def __init__(self, weight: Array, z: Phases, y: Phases, x_classes: Iterable[tuple[int, ...]], form: Form):
        cin, cout = weight.shape[3:]
        pad = [(0, 0), (0, 1), (0, 1), (0, padded(cin) - cin), (0, padded(cout) - cout)]
        self.weight = np.pad(weight, pad)  # class NONE: zeros
        self.z, self.y, self.form = z, y, form
        self.x = np.array(list(x_classes))  # [x classes, bx]
        self.cin, self.chunks = padded(cin), padded(cout) * prod(form.block) // form.lanes

    def of(self, phase_z: int, phase_y: int, a: int, b: int, sign: int) -> Array:
        (tap_z,) = self.z.classes[phase_z][a]
        found = self.weight[tap_z][np.array(self.y.classes[phase_y][b])][:, self.x]  # [by, x, bx, Cin, Cout]
        found = found.transpose(1, 3, 0, 2, 4).reshape(len(self.x), self.cin, prod(self.form.block), self.chunks, -1)
        found = found.swapaxes(2, 3).reshape(len(self.x), self.cin, self.chunks, self.form.lanes)
        return np.asarray(-found if sign else found)


def _part(
    slots: list[tuple[int, int, int]], z: Phases, y: Phases, x: AxisTaps, visit: Array, place: Array, size: Shape3,
    spread: _Spread, scale: Array, met: tuple[Array, Array, Array], opens: bool, closes: bool,
) -> Gather:  # fmt: skip
    form = spread.form
    present = {
        key: [s for s in slots if s[0] < len(z.classes[key[0]]) and s[1] < len(y.classes[key[1]])]
        for key in product(range(len(z.classes)), range(len(y.classes)))
    }
    phases = np.add.outer(np.array(z.phase) * len(y.classes), y.phase).ravel()
    start = np.cumsum([0, *np.array([len(used) for used in present.values()])[phases]])
    lines = np.empty(start[-1], np.int64)
    from_z, from_y = z.table(), y.table()
    for k, used in enumerate(present.values()):
        here = np.flatnonzero(phases == k)
        a, b, sign = np.array(used, np.int64).reshape(-1, 3).T
        in_z, in_y = from_z[here // len(from_y)][:, a], from_y[here % len(from_y)][:, b]
        there = (in_z != NONE) & (in_y != NONE)
        at = start[here][:, None] + np.arange(len(used))
        lines[at] = np.where(there, (sign * size[0] + in_z) * size[1] + in_y, NONE)
    fields = {tuple(x.tap[a:b]) for a, b in zip(x.start[:-1], x.start[1:], strict=True)}
    chunks, rows, largest = spread.chunks, [], 0.0
    for key, used in present.items():
        table = np.zeros((len(used), len(x.classes), spread.cin, chunks, form.lanes), spread.weight.dtype)
        for k, slot in enumerate(used):
            table[k] = spread.of(*key, *slot)
        rows.append(table.transpose(3, 1, 0, 2, 4).reshape(-1, form.lanes))  # [chunks, x, slots, Cin, lanes]
        for one_sign in (np.maximum(table, 0), np.maximum(-table, 0)):
            sums = one_sign.sum((0, 2), dtype=np.float64)
            largest = max([largest, *(float(sums[list(taps)].sum(0).max()) for taps in fields if taps)])
    flat = np.concatenate([np.zeros((1, form.lanes), spread.weight.dtype), *rows])
    stored = _packed(flat) if form.packed else flat
    weights = aligned((stored.size,), stored.dtype)
    weights[:] = stored.ravel()
    row = stored.itemsize * stored.shape[1]
    ends = np.cumsum([1] + [len(r) for r in rows])
    units = np.array([len(used) * spread.cin * row for used in present.values()], np.int64)
    by_lane = np.tile(scale.reshape(chunks, -1), (1, prod(form.block)))
    assert len(x.classes) == len(spread.x)
    if (int(place.max(initial=0)) + 1) * int(units.max(initial=0)) > 2**31:  # offsets in lists are int32
        raise PlanError("lines too long for the fast engine's lists of events", remedy="use the reference engine")
    return Gather(
        form, start, lines, phases, ends[:-1] * row, units, len(x.classes), chunks, visit, place,
        _stretches(x, place), weights, np.ascontiguousarray(by_lane.ravel()), int(largest), met, spread.cin // 8,
        opens, closes,
    )  # fmt: skip


def _packed(rows: Array) -> Array:
    """[rows, lanes] in -127..127 to pairs of bytes in int16: the first half of the lanes are the low bytes, 128 too
    high (but for the row of zeros, which adds nothing)."""
    low, high = np.split(rows, 2, axis=1)
    raised = low + 128
    raised[0] = 0
    return np.asarray(raised + 256 * high, np.int16)
