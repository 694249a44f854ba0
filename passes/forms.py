"""Linear forms: what a value of the teacher is in terms of spikes, while `lower` walks the graph.

A form is a list of blocks along the channel axis (a Concat is nothing but a longer list); a block is a sum of terms
plus a bias; a term is one population's spikes, routed, through at most one synapse (None: the spikes themselves).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from math import prod

import numpy as np

from snncc.errors import UnsupportedError
from snncc.graph import Array
from snncc.network import Population, Projection
from snncc.passes.compose import compose
from snncc.synapses import Conv, ConvTranspose, Dense, Diagonal, Resample, Synapse
from snncc.synapses.apply import apply
from snncc.synapses.routing import RELAYOUTS, REPEATS, Reshape, Route, Slice, Upsample

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Term:
    """shape: of the source; `routed`: of its spikes after routing, which the synapse reads."""

    source: str
    shape: Shape
    routing: tuple[Route, ...] = ()
    synapse: Synapse | None = None

    @property
    def routed(self) -> Shape:
        return reduce(lambda shape, route: route.shape(shape), self.routing, self.shape)


@dataclass(frozen=True, eq=False)
class Block:
    """bias: None, [C] or [C, *spatial]. value: the graph value this block is, "" if it is only a part of one.
    origin: the teacher's nodes that made it out of spikes."""

    shape: Shape
    terms: tuple[Term, ...]
    bias: Array | None = None
    value: str = ""
    origin: tuple[str, ...] = ()

    @property
    def spikes(self) -> Term | None:
        """The one term, if this block is a population's spikes and nothing else."""
        plain = len(self.terms) == 1 and self.bias is None and self.terms[0].synapse is None
        return self.terms[0] if plain else None


Form = tuple[Block, ...]


def named(value: str, form: Form) -> Form:
    """The form of a graph value, each block knowing which channels of it it is, so that it can be calibrated."""
    if len(form) == 1:
        return (replace(form[0], value=value),)
    cuts = [int(c) for c in np.cumsum([0, *(b.shape[0] for b in form)])]
    return tuple(replace(b, value=f"{value}[{i}:{j}]") for b, i, j in zip(form, cuts, cuts[1:], strict=False))


def bias_map(block: Block) -> Array | None:
    if block.bias is None or block.bias.shape == block.shape:
        return block.bias
    return np.broadcast_to(block.bias.reshape(-1, *(1,) * (len(block.shape) - 1)), block.shape)


def simplest(bias: Array | None) -> Array | None:
    """[C] if the map is constant over space; None if it is zero."""
    if bias is None or not np.any(bias):
        return None
    flat = bias.reshape(len(bias), -1)
    return flat[:, 0].copy() if np.allclose(flat, flat[:, :1], rtol=1e-12, atol=0) else bias


def through(block: Block, synapse: Synapse) -> Block | None:
    """`synapse` applied to a block, or None where a term cannot be multiplied out."""
    terms = []
    for term in block.terms:
        if term.synapse is None:
            terms.append(replace(term, synapse=synapse))
            continue
        found = compose(term.synapse, synapse, term.routed)
        if found is None:
            return None
        terms.append(replace(term, routing=term.routing + found[0], synapse=found[1]))
    bias = bias_map(block)
    return Block(synapse.shape(block.shape), tuple(terms), None if bias is None else simplest(apply(synapse, bias)))


def routed(block: Block, route: Route) -> Block | None:
    """`route` applied to a block, or None where it cannot be moved before a term's synapse."""
    moved = [_routed(term, block.shape, route) for term in block.terms]
    terms = tuple(t for t in moved if t is not None)
    if len(terms) < len(moved):
        return None
    bias = bias_map(block)
    after = None if bias is None else simplest(route.apply(bias, len(block.shape)))
    return Block(route.shape(block.shape), terms, after)


def fitted(blocks: Form, route: Route | None, target: Shape | None) -> list[tuple[Block, Route]] | None:
    """The blocks of a value that `route` leaves, each with its part of it; or of a reshape to `target`. None where a
    concatenation would be rearranged."""
    if route is None:
        assert target is not None
        if len(blocks) == 1:
            return [(blocks[0], Reshape(target))]
        return [(b, Reshape((prod(b.shape),))) for b in blocks] if len(target) == 1 else None
    if not isinstance(route, Slice):
        return [(b, route) for b in blocks]
    out: list[tuple[Block, Route]] = []
    first = 0
    for block in blocks:
        start, stop = max(route.start[0] - first, 0), min(route.stop[0] - first, block.shape[0])
        first += block.shape[0]
        ones = (1,) * (len(block.shape) - len(route.start))  # (C, 1, ...) stands for (C,)
        if start < stop:
            part = Slice((start, *route.start[1:], *(0 for _ in ones)), (stop, *route.stop[1:], *ones))
            out.append((block, part))
    return out


def _routed(term: Term, shape: Shape, route: Route) -> Term | None:
    """The term of a block of `shape` after `route`."""
    synapse, here = term.synapse, route
    if isinstance(route, RELAYOUTS):
        if synapse is not None or any(isinstance(r, REPEATS) for r in term.routing):
            return None
    elif isinstance(route, Slice) and not route.takes_all_channels(shape[0]) and synapse is not None:
        rows = slice(route.start[0], route.stop[0])
        if isinstance(synapse, Diagonal):
            synapse = replace(synapse, weight=synapse.weight[rows])
        else:  # only some output channels: only some rows of the weights
            whole = (route.start[1:], route.stop[1:]) == ((0,) * (len(shape) - 1), shape[1:])
            cut = _rows(synapse, rows)
            return replace(term, synapse=cut) if whole and cut is not None else None
    elif isinstance(synapse, Resample) and not isinstance(route, Upsample):  # which a relay does with fewer neurons
        return replace(term, synapse=synapse.then(route))
    elif not (synapse is None or isinstance(synapse, Diagonal) or _mixes_channels_only(synapse)):
        return None
    if isinstance(route, Slice) and isinstance(synapse, Conv):
        here = Slice((0, *route.start[1:]), (term.routed[0], *route.stop[1:]))
    elif isinstance(route, Slice) and not route.takes_all_channels(shape[0]):
        return replace(term, routing=_slice_last(term, route), synapse=synapse)
    return replace(term, routing=(*term.routing, here), synapse=synapse)


def _slice_last(term: Term, route: Slice) -> tuple[Route, ...]:
    """The term's routing, then `route`, its channels taken before the first repetition (see `routing.split`)."""
    cut = next((k for k, r in enumerate(term.routing) if isinstance(r, REPEATS)), len(term.routing))
    if cut == len(term.routing):
        return (*term.routing, route)
    channels = route.stop[0] - route.start[0]
    _, *spatial = replace(term, routing=term.routing[:cut]).routed
    chosen = Slice((route.start[0], *(0 for _ in spatial)), (route.stop[0], *spatial))
    later = [
        Slice((0, *r.start[1:]), (channels, *r.stop[1:])) if isinstance(r, Slice) else r
        for r in (*term.routing[cut:], route)
    ]
    return (*term.routing[:cut], chosen, *later)


def lifted(block: Block, rank: int) -> Block | None:
    """A flat block (C, 1, ...) with `rank` dimensions, or None where its synapses cannot be written so."""
    ones, terms = (1,) * (rank - 1), []
    for term in block.terms:
        synapse = term.synapse
        if not (synapse is None or isinstance(synapse, Dense | Diagonal)) or any(
            isinstance(r, REPEATS) for r in term.routing
        ):
            return None
        if isinstance(synapse, Dense):
            weight = synapse.weight.reshape(*synapse.weight.shape, *ones)
            synapse = Conv(weight, ones, ones, (0,) * 2 * len(ones))
        terms.append(replace(term, routing=(*term.routing, Reshape((term.routed[0], *ones))), synapse=synapse))
    bias = None if block.bias is None else block.bias.reshape(-1)
    return replace(block, shape=(block.shape[0], *ones), terms=tuple(terms), bias=bias)


def _rows(synapse: Synapse, rows: slice) -> Synapse | None:
    if synapse.groups > 1:
        return None
    if isinstance(synapse, Conv | Dense):
        return replace(synapse, weight=synapse.weight[rows])
    return replace(synapse, weight=synapse.weight[:, rows]) if isinstance(synapse, ConvTranspose) else None


def _mixes_channels_only(synapse: Synapse) -> bool:
    return (
        isinstance(synapse, Conv)
        and set(synapse.weight.shape[2:]) <= {1}
        and set(synapse.stride) <= {1}
        and not any(synapse.pads)
    )


def scaled(block: Block, factor: Array) -> Block:
    """factor: [C]"""
    terms = []
    for term in block.terms:
        if term.synapse is None:
            terms.append(replace(term, synapse=Diagonal(factor.astype(np.float64))))
        else:
            terms.append(replace(term, synapse=term.synapse.scaled(np.ones(term.routed[0]), factor)))
    bias = block.bias
    if bias is not None:
        bias = bias * factor.reshape(-1, *(1,) * (bias.ndim - 1))
    return replace(block, terms=tuple(terms), bias=bias, value="")


def shifted(block: Block, offset: Array) -> Block:
    """offset: [C] or [C, *spatial]"""
    return added(block, Block(block.shape, (), offset.astype(np.float64)))


def added(a: Block, b: Block) -> Block:
    """Sum of two blocks of one shape."""
    if a.bias is None or b.bias is None:
        bias = a.bias if b.bias is None else b.bias
    elif a.bias.shape == b.bias.shape:
        bias = a.bias + b.bias
    else:
        left, right = bias_map(a), bias_map(b)
        assert left is not None and right is not None
        bias = left + right
    return Block(a.shape, a.terms + b.terms, simplest(bias))


def cut_alike(a: Form, b: Form) -> list[tuple[Block, Block]] | None:
    """The blocks of two forms, cut at the boundaries of both; None where a block cannot be cut."""
    pairs = []
    left, right = list(a), list(b)
    while left:
        size = min(left[0].shape[0], right[0].shape[0])
        heads = []
        for queue in (left, right):
            block = queue.pop(0)
            if block.shape[0] > size:
                head, tail = _channels(block, 0, size), _channels(block, size, block.shape[0])
                if head is None or tail is None:
                    return None
                queue.insert(0, tail)
                block = head
            heads.append(block)
        pairs.append((heads[0], heads[1]))
    return pairs


def _channels(block: Block, start: int, stop: int) -> Block | None:
    zeros = (0,) * (len(block.shape) - 1)
    return routed(block, Slice((start, *zeros), (stop, *block.shape[1:])))


def check_numbers(populations: Iterable[Population], projections: Iterable[Projection]) -> None:
    """Raises UnsupportedError where nothing spikes, or multiplying out went beyond the largest float."""
    arrays = [(p.name, p.bias) for p in populations]
    if not arrays:
        raise UnsupportedError("nothing in it spikes", remedy="give a network with ReLU, max pooling or weights")
    for name, array in (*arrays, *((j.name, j.synapse.weight) for j in projections)):
        if array is not None and not np.isfinite(array).all():
            raise UnsupportedError("numbers too large to be multiplied out", node=name, remedy="train it again")
