"""How large currents and membranes of an integer network can get: the proofs that nothing overflows or is rounded, and
how many steps they hold for."""

from __future__ import annotations

import numpy as np

from snncc.encoders import Constant
from snncc.errors import OptionError, PassError
from snncc.graph import Array
from snncc.network import Network, Population, Projection
from snncc.neurons import Leaky, Neuron
from snncc.neurons.leaky import DIVISOR

EXACT = 1 << 24  # float32 sums of integers below this are exact in any order
MEMBRANE = 1 << 31
MAX_STEPS = 1 << 20
RADIX_STEPS = 24  # 2^T - 1 levels that float32 still tells apart


def analog_sums(j: Projection, kind: Constant, rows: Array, shift: Array) -> Array:
    """[Cout]: the largest whole number that float32 must hold for floor(J 2^shift + 1/2), J the sum of a constant
    current: J + 2^(-shift - 1), and where nothing is shifted J + 1/2 with its fraction."""
    sums = np.abs(j.synapse.loads(rows)).sum(1) * max(abs(kind.low), kind.high)
    return np.asarray((sums + 2.0 ** (-1.0 - shift)) * np.where(shift == 0, 2, 1))


def projection_bound(network: Network, j: Projection, rows: Array, shift: Array | None) -> Array:
    """[Cout]: the largest |current| of a step that the projection gives with the weights `rows` (Synapse.rows) and this
    shift; every partial sum stays below it, too. Encoders must be on their grid."""
    pre = network[j.pre]
    loads, factor = j.synapse.loads(rows), 1.0 if shift is None else 2.0**shift
    if not pre.fires:
        assert isinstance(pre.kind, Constant)
        return np.asarray(np.abs(loads).sum(1) * max(abs(pre.kind.low), pre.kind.high) * factor + 1)
    up, down = np.where(loads > 0, loads, 0).sum(1), -np.where(loads < 0, loads, 0).sum(1)
    most = up + down if network.signed(pre) else np.maximum(up, down)
    return np.asarray(((1 << network.levels(pre)) - 1) * most * factor)


def current_bound(network: Network, population: Population) -> Array:
    """[C]: the largest |current| of a step, bias included."""
    total = np.zeros(population.channels)
    for j in network.incoming(population):
        rows, shift = np.asarray(j.synapse.rows(), np.float64), j.synapse.shift
        total += projection_bound(network, j, rows, shift)
        kind = network[j.pre].kind
        if isinstance(kind, Constant) and shift is not None:
            total = np.where(analog_sums(j, kind, rows, shift) >= EXACT, EXACT, total)
    if population.bias is not None:
        total += np.abs(population.bias.astype(np.float64)).reshape(population.channels, -1).max(1)
    return total


def most_steps(kind: Neuron, theta: Array, bound: Array) -> int:
    """Steps for which a membrane, also with one more threshold added, stays below 2^31; 0: not even one.

    theta: [C], of a readout the scale of its row; bound: [C], see `current_bound`. Only what the code can say counts.
    """
    zeros = np.zeros(1)
    v0 = np.abs(getattr(kind, "v0", zeros).astype(np.float64)).max()
    room = MEMBRANE - 1 - theta - 2.0 * getattr(kind, "dip", zeros) - v0
    sums = np.maximum(bound, 1)
    counts = room // sums
    if isinstance(kind, Leaky):  # multiplier * v must fit, too; but what leaks converges
        room -= MEMBRANE * (1 - 1 / kind.multiplier)
        reach = 1 / max(1 - kind.multiplier / DIVISOR, 1e-9)
        counts = np.where(room // sums >= reach, MAX_STEPS, room // sums)
    most = int(np.min(counts))
    return max(most, 0) if kind.base == 1 else min(RADIX_STEPS, (max(most, 0) + 1).bit_length() - 1)


def proved_steps(network: Network, population: Population) -> int:
    """Steps for which the integers of a population of neurons, or of a readout, are exact.

    Raises:
        PassError: a sum does not fit 24 bits, or a membrane could overflow in one step.
    """
    kind, bound = population.kind, current_bound(network, population)
    assert isinstance(kind, Neuron)
    given = kind.parameters()
    theta = given["theta"] if "theta" in given else 1.0 / given["scale"].astype(np.float64)
    steps = most_steps(kind, theta.astype(np.float64), bound)
    if (bound >= EXACT).any() or steps < 1:
        what = "the sum of its weights does not fit 24 bits" if steps else "a membrane could overflow in one step"
        raise PassError(what, node=population.name, remedy="smaller weights, another scale, or float32")
    return steps


def check_steps(given: int | None, network: Network) -> int:
    """How many steps to run: those given, or those the network was compiled for.

    Raises:
        OptionError: none, more than `t_max`, or another number than the digits of a radix code.
    """
    most, made = network.meta.get("t_max"), network.meta.get("timesteps")
    steps = int(network.meta.get("timesteps", 32) if given is None else given)
    if steps < 1:
        raise OptionError(f"T = {steps}: at least one time step is needed", remedy="give -T 1 or more")
    if network.base == 2 and made is not None and steps != made:
        raise OptionError(
            f"T = {steps}: this network speaks a radix code of {made} digits, one a step",
            remedy=f"leave -T out; compile with --code radix:K for K digits, with -T {steps} for a rate code",
        )
    if most is not None and steps > most:
        raise OptionError(
            f"T = {steps}: beyond {most} steps a membrane of this network could overflow",
            remedy=f"give -T {most} or less, or compile with fewer bits",
        )
    return steps
