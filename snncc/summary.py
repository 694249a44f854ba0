"""What the recipe of a compiled network is, and what it costs: for `snncc compile` and `snncc inspect`."""

from __future__ import annotations

from typing import Any

from snncc.network import Network
from snncc.neurons import Neuron
from snncc.neurons.base import total_count


def summary(network: Network) -> dict[str, Any]:
    """code, timesteps and latency (steps); neurons: kind, number, and the extra state that they need in hardware.
    measured, where `snncc compile` made the file: on how many samples, events_per_neuron, synops_per_teacher_mac."""
    steps = int(network.meta.get("timesteps", 32))
    numbers: dict[tuple[str, str], int] = {}
    for population in network.populations:
        if isinstance(population.kind, Neuron) and population.fires:
            most = total_count(network.base, steps) * ((1 << network.levels(population)) - 1)
            key = population.kind.op, population.kind.extra_state(most)
            numbers[key] = numbers.get(key, 0) + population.size
    return {
        "code": f"radix:{steps}" if network.base == 2 else "rate",
        "timesteps": steps,
        "latency": network.windows * steps,
        "neurons": [{"kind": op, "number": n, "extra_state": text} for (op, text), n in numbers.items()],
        "measured": network.meta.get("measured"),
    }
