"""Is a spiking network well formed? Checked after every pass; a fault shows its line and the lines around it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

import numpy as np

from snncc.encoders import Encoder
from snncc.errors import VerifyError
from snncc.graph import Array
from snncc.interlude import stretches
from snncc.network import Network, Population, Projection
from snncc.network_text import network_lines
from snncc.neurons import Leaky, Neuron
from snncc.neurons.leaky import DIVISOR
from snncc.synapses import Window
from snncc.synapses.routing import REPEATS, Pad, Slice, Upsample, split
from snncc.verify import verify_graph

AROUND = 3  # lines shown before and after a faulty one
MAX_SHIFT = 126  # 2^shift is a normal float32
MAX_LEVELS = 7  # a spike below 2^levels is an int8


def verify_network(network: Network) -> None:
    """Raises VerifyError where `network` breaks a rule of the IR."""
    _populations(network)
    for projection in network.projections:
        _projection(network, projection)
    _order(network)
    for population in network.populations:
        _wiring(network, population)
        _arrays(network, population)
        _border(network, population)
    _integers(network)
    _code(network)
    _analog_parts(network)


def _fail(network: Network, message: str, at: Population | Projection | None = None) -> NoReturn:
    lines = network_lines(network)
    where = next((k for k, (_, subject) in enumerate(lines) if at is not None and subject is at), None)
    shown = ""
    if where is not None:
        near = range(max(0, where - AROUND), min(len(lines), where + AROUND + 1))
        shown = "\n" + "\n".join(f"{'-->' if k == where else '   '} {lines[k][0]}" for k in near)
    raise VerifyError(f"malformed network: {message}{shown}", node=None if at is None else at.name)


def _repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _populations(network: Network) -> None:
    seen: set[str] = set()
    for population in network.populations:
        if not population.name:
            _fail(network, "a population without a name", population)
        if population.name in seen:
            _fail(network, f"two populations are called {population.name!r}", population)
        seen.add(population.name)
        if not population.shape or any(n < 1 for n in population.shape):
            _fail(network, f"the shape {population.shape} is empty", population)
    name = _repeated(j.name for j in network.projections)
    if name is not None:
        at = [j for j in network.projections if j.name == name][1]
        _fail(network, f"two projections are called {name}: tell them apart by `tag`", at)


def _order(network: Network) -> None:
    place = {p.name: k for k, p in enumerate(network.populations)}
    for projection in network.projections:
        if place[projection.pre] >= place[projection.post]:
            _fail(network, f"{projection.pre} must stand before {projection.post}", projection)


def _projection(network: Network, projection: Projection) -> None:
    known = {p.name for p in network.populations}
    for end in (projection.pre, projection.post):
        if end not in known:
            _fail(network, f"there is no population {end!r}", projection)
    pre, post = network[projection.pre], network[projection.post]
    shape = pre.shape
    try:
        for route in projection.routing:
            if isinstance(route, Slice) and not all(
                0 <= a < b <= n for a, b, n in zip(route.start, route.stop, shape, strict=True)
            ):
                _fail(network, f"the slice leaves the shape {shape}", projection)
            if isinstance(route, Upsample) and min(route.factors, default=1) < 1:
                _fail(network, "an upsampling factor below 1", projection)
            if isinstance(route, Pad) and min((*route.before, *route.after), default=0) < 0:
                _fail(network, "a negative pad", projection)
            shape = route.shape(shape)
        kernel = projection.synapse.kernel_weights(len(shape) - 1)
        made = projection.synapse.shape(shape)
    except (ValueError, IndexError, ZeroDivisionError) as fault:
        _fail(network, f"{projection.synapse.kind} does not fit a population of shape {pre.shape}: {fault}", projection)
    cin, cout = kernel.shape[-2], kernel.shape[-1] * projection.synapse.groups
    if kernel.ndim != len(shape) + 1 or cin != shape[0] or cout != made[0]:
        _fail(network, f"weights from {cin} to {cout} channels do not fit the routed shape {shape}", projection)
    if made != post.shape:
        _fail(network, f"gives the shape {made}, but {post.name} has {post.shape}", projection)
    if any(isinstance(route, REPEATS) for route in split(projection.routing, pre.shape)[0]):
        _fail(network, "upsampling (or taking) before a reshape or a slice of channels", projection)
    shift = projection.synapse.shift
    if shift is not None and (
        shift.dtype.kind != "i" or shift.shape != post.shape[:1] or np.abs(shift).max() > MAX_SHIFT
    ):
        _fail(network, f"shift must be {post.channels} integers within +-{MAX_SHIFT}", projection)
    if not np.all(np.isfinite(projection.synapse.weight)):
        _fail(network, "a weight is NaN or infinite", projection)


def _wiring(network: Network, population: Population) -> None:
    incoming, outgoing = network.incoming(population), network.outgoing(population)
    if population.is_encoder and incoming:
        _fail(network, "an encoder has no incoming projection", incoming[0])
    if population.is_readout and outgoing:
        _fail(network, "a readout has no outgoing projection", outgoing[0])
    windows = [j for j in incoming if isinstance(j.synapse, Window)]
    if windows and not population.is_gate:
        _fail(network, "only a max gate has windows", windows[0])
    if population.is_gate:
        if len(incoming) != 1 or not windows:
            _fail(network, "a max gate has exactly one incoming projection, a window", population)
        if network.analog(windows[0]):
            _fail(network, "a max gate takes spikes, not an analog current", windows[0])
        if population.bias is not None:
            _fail(network, "a max gate has no bias", population)
        if windows[0].synapse.shift is not None or not np.all(windows[0].synapse.weight == 1):
            _fail(network, "a window has no weights but ones and no shift", windows[0])
    if population.is_encoder and population.bias is not None:
        _fail(network, "an encoder has no bias", population)


def _arrays(network: Network, population: Population) -> None:
    per_channel = population.shape[:1]
    parameters: dict[str, Array | None] = {"unit": population.unit}
    if not population.is_encoder:
        parameters |= population.kind.parameters()  # type: ignore[union-attr]
    for name, array in parameters.items():
        if array is None:
            continue
        if array.shape != per_channel and not (name == "v0" and array.shape == population.shape):
            _fail(network, f"{name} has the shape {array.shape}, not {per_channel}", population)
        if not np.all(np.isfinite(array)):
            _fail(network, f"{name} holds NaN or infinity", population)
        if (name == "theta" and array.min() <= 0) or (name == "dip" and array.min() < 0):
            _fail(network, f"{name} holds values below {'0' if name == 'dip' else 'or at 0'}", population)
    bias = population.bias
    if bias is not None:
        if bias.shape not in (per_channel, population.shape):
            _fail(network, f"bias has the shape {bias.shape}: neither {per_channel} nor {population.shape}", population)
        if not np.all(np.isfinite(bias)):
            _fail(network, "the bias holds NaN or infinity", population)


def _border(network: Network, population: Population) -> None:
    """Encoders read, and readouts make, a value of the analog parts: of their own shape with a batch of 1."""
    if not population.is_encoder and not population.is_readout:
        return
    value, wanted = population.value, (1, *population.shape)
    shapes = dict(network.inputs)
    if population.is_encoder:
        for graph in (network.prologue, network.interlude):
            shapes |= {v: graph.shape(v) for v in graph.outputs} if graph is not None else {}
        if value not in shapes:
            _fail(network, f"reads {value!r}: no input, nor made by prologue or interlude", population)
    else:
        if not value or value in shapes or [p.value for p in network.readouts].count(value) > 1:
            _fail(network, f"makes {value!r}, which is empty or made elsewhere, too", population)
        read = [g for g in network.analog_parts.values() if value in g.types]
        shapes = {value: read[0].shape(value)} if read else {}
    if population.is_encoder and network.input_shapes.get(value, (1,))[0] == 0:
        parts = [g for g in network.analog_parts.values() if value in g.inputs]
        if parts or value in network.outputs or [p.value for p in network.encoders].count(value) > 1:
            _fail(network, f"{value!r} is a spike train, which nothing else can read", population)
    if shapes.get(value, wanted) != wanted:
        _fail(network, f"{value} has the shape {shapes[value]}, not {wanted}", population)


def _integers(network: Network) -> None:
    with_theta = [p for p in network.populations if hasattr(p.kind, "theta")]
    whole = [p for p in with_theta if p.kind.theta.dtype.kind == "i"]  # type: ignore[union-attr]
    if not whole:
        return
    for population in with_theta:
        if population not in whole:
            _fail(network, "a float threshold among integer ones", population)
    for population in network.populations:
        if population.is_readout and not population.kind.integer:  # type: ignore[union-attr]
            _fail(network, "a float readout in an integer network", population)
        if population.bias is not None and not _whole(population.bias):
            _fail(network, "a fractional bias in an integer network", population)
        if hasattr(population.kind, "v0") and not _whole(population.kind.v0):
            _fail(network, "a fractional v0 in an integer network", population)
    for projection in network.projections:
        if not _whole(projection.synapse.weight):
            _fail(network, "fractional weights in an integer network", projection)


def _code(network: Network) -> None:
    """All of a network speaks one code, in spikes that int8 holds."""
    for population in network.populations:
        kind = population.kind
        if isinstance(kind, Neuron) and not 1 <= kind.levels <= MAX_LEVELS:
            _fail(network, f"{kind.levels} levels of a spike, not 1 to {MAX_LEVELS}", population)
        if isinstance(kind, Leaky) and not 1 <= kind.multiplier <= DIVISOR:
            _fail(network, f"a leak of {kind.multiplier} / {DIVISOR}", population)
        if isinstance(kind, Neuron) and kind.base != network.base:
            _fail(network, f"a neuron of base {kind.base} in a network of base {network.base}", population)
        if isinstance(kind, Encoder) and kind.fires and network.base != 1:
            _fail(network, "spikes of a random or given train are no digits of a radix code", population)


def _whole(array: Array) -> bool:
    return array.dtype.kind in "iu" or bool(np.all(array == np.rint(array)))


def _analog_parts(network: Network) -> None:
    made = set(network.inputs)
    for title, graph in network.analog_parts.items():
        verify_graph(graph)
        if title != "prologue":
            made |= {p.value for p in network.readouts}
        for name in graph.inputs:
            if name not in made:
                _fail(network, f"the {title} reads {name!r}, which nothing makes")
        made |= set(graph.outputs)
    made |= {p.value for p in network.readouts}
    _stretches(network)
    for name in network.outputs:
        if name not in made:
            _fail(network, f"nothing makes the output {name!r}: no readout, no analog part")
    if not network.outputs or _repeated(network.outputs):
        _fail(network, f"outputs must be there, each once: {network.outputs}")
    _disjoint(network)


def _stretches(network: Network) -> None:
    """All of the interlude runs in time for some encoder."""
    if network.interlude is None:
        return
    found = stretches(network)
    made: set[str] = set()
    for population in network.populations:
        if population.name in found:
            made |= set(found[population.name].outputs)
        if network.is_midway(population) and population.value not in made:
            _fail(network, f"reads {population.value!r}, which needs a readout behind it", population)
    if not found or sum(len(part.nodes) for part in found.values()) < len(network.interlude.nodes):
        _fail(network, "a part of the interlude that no encoder needs")


def _disjoint(network: Network) -> None:
    """Analog parts and readouts lie in one file, where a name means one value."""
    parts = network.analog_parts.values()
    made = [*network.inputs, *(p.value for p in network.readouts)]
    made += [v for g in parts for node in g.nodes for v in node.outputs if v]
    weights = [(name, array) for g in parts for name, array in g.weights.items()]
    first: dict[str, Array] = {}
    for name, array in weights:
        other = first.setdefault(name, array)
        if name in made or other.dtype != array.dtype or not np.array_equal(other, array):
            _fail(network, f"the name {name!r} means two things in the analog parts")
    name = _repeated(made) or ""
    if name:
        _fail(network, f"the value {name!r} is made twice")
